"""Create the outbox."""

from activities.migrations.shared_tables import create_outbox

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    create_outbox()
