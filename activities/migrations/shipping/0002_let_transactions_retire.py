"""Give the records of the fence a time."""

from activities.migrations.shared_tables import add_time_to_fence

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    add_time_to_fence()
