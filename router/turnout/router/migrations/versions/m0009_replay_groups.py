"""The group of a replay, so that a token that is limited to groups sees its own."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of replays that exist it is not known."""
    op.add_column("replays", sa.Column("group_slug", sa.String(40), nullable=True))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("replays", "group_slug")
