"""Give the records of the fence a time, and create the record of erasures."""

import sqlalchemy as sa
from alembic import op

from activities.migrations.shared_tables import add_time_to_fence

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    add_time_to_fence()
    op.create_table(
        "erasures",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("transactions", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("customer_id", "at"),
    )
