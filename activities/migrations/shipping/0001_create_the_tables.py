"""Create the tables."""

import sqlalchemy as sa
from alembic import op

from activities.migrations.shared_tables import create_all_shared_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_all_shared_tables()
    op.create_table(
        "shipments",
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("tracking_code", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.PrimaryKeyConstraint("transaction_id"),
    )
