"""Create the tables."""

import sqlalchemy as sa
from alembic import op

from activities.migrations.shared_tables import create_all_shared_tables, create_carried_forward

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_all_shared_tables()
    op.create_table(
        "reservations",
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("order_id", sa.Text(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("transaction_id", "sku"),
    )
    op.create_table(
        "stock",
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("sku", sa.Text(), nullable=False),
        sa.Column("received", sa.BigInteger(), nullable=False),
        sa.Column("on_hand", sa.BigInteger(), nullable=False),
        sa.Column("reserved", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("sku"),
    )
    create_carried_forward("sku", "committed")
