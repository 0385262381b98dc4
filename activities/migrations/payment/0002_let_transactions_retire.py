"""Give the records of the fence a time, and create the sums that retired transactions leave."""

from activities.migrations.shared_tables import add_time_to_fence, create_carried_forward

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    add_time_to_fence()
    create_carried_forward("customer_id", "captured_minor")
