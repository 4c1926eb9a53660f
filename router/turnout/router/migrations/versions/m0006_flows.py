"""How flows run: paused, ordered; and which of their runs are cancelled."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column("flows", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("flows", sa.Column("paused_reason", sa.String(500), nullable=True))
    op.add_column("flows", sa.Column("ordered_by", sa.String(200), nullable=True))
    op.add_column("flows", sa.Column("partitions", sa.Integer(), nullable=True))
    op.create_table(
        "cancellations",
        sa.Column("flow_id", sa.String(36), nullable=False),
        sa.Column("run", sa.String(36), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("flow_id", "run", name="pk_cancellations"),
        sa.ForeignKeyConstraint(["flow_id"], ["flows.id"], name="fk_cancellations_flow_id"),
    )


def downgrade() -> None:
    """Drop them, and what was set with them."""
    op.drop_table("cancellations")
    for column in ("paused_at", "paused_reason", "ordered_by", "partitions"):
        op.drop_column("flows", column)
