"""Make room for the Temporal that the database belongs to."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "temporal_binding",
        sa.Column("only", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("namespace_id", sa.Text(), nullable=False),
        sa.Column("namespace", sa.Text(), nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("only"),
    )
