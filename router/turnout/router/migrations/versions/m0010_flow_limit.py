"""How many runs of a flow may be in progress at once, over all workers."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column("flows", sa.Column("max_running", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Drop it: no flow has a limit over all workers then."""
    op.drop_column("flows", "max_running")
