"""Create the tables."""

import sqlalchemy as sa
from alembic import op

from activities.migrations.shared_tables import create_all_shared_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    create_all_shared_tables()
    op.create_table(
        "messages",
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.String(32), nullable=False),
        sa.Column("channel", sa.String(32), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("transaction_id", "subject", "channel"),
    )
    op.create_table(
        "deliveries",
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("subject", sa.String(32), nullable=False),
        sa.Column("channel", sa.String(32), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("claimed_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("transaction_id", "subject", "channel"),
    )
