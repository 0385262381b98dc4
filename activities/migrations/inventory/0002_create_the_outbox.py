"""Create the outbox."""

from activities.migrations.shared_tables import create_outbox

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    create_outbox()
