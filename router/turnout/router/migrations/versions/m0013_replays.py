"""Replays for one version of a flow, in order, and what left the archive before their start."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    op.add_column("replays", sa.Column("version", sa.Text(), nullable=True))
    op.add_column(
        "replays", sa.Column("in_order", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column(
        "replays", sa.Column("gone_since", sa.Integer(), nullable=False, server_default="0")
    )


def downgrade() -> None:
    """Drop them: what runs goes on for every version, and in no order."""
    for column in ("version", "in_order", "gone_since"):
        op.drop_column("replays", column)
