"""The tables that several services have, for the first revision of each."""

import sqlalchemy as sa
from alembic import op


def create_all_shared_tables() -> None:
    """Create the tables of every service: effects, operation records, outbox, and the binding to one Temporal."""
    op.create_table(
        "effects",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index(op.f("ix_effects_transaction_id"), "effects", ["transaction_id"], unique=False)
    op.create_table(
        "operations",
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("step", sa.Text(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("answer", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("transaction_id", "step"),
    )
    op.create_table(
        "temporal_binding",
        sa.Column("only", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("namespace_id", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("only"),
    )
    op.create_table(
        "outbox",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("operation", sa.Text(), nullable=False),
        sa.Column("reply", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )


def create_carried_forward(subject: str, amount: str) -> None:
    """Create the sums that removed rows leave."""
    op.create_table(
        "carried_forward",
        sa.Column(subject, sa.Text(), nullable=False),
        sa.Column(amount, sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint(subject),
    )
