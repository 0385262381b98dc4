"""Index orders by their transaction, which is how workflows and people ask for them."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(op.f("ix_orders_transaction_id"), "orders", ["transaction_id"], unique=False)
