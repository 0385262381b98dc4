"""Add who carries an order, where that is not its own workflow."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("orders", sa.Column("coordinator", sa.Text(), nullable=True))
