"""The time that a body may take, of groups and triggers: no value, as above it."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    for table in ("groups", "triggers"):
        op.add_column(table, sa.Column("read_timeout", sa.Double(), nullable=True))


def downgrade() -> None:
    """Drop the columns, and what was set with them."""
    for table in ("groups", "triggers"):
        op.drop_column(table, "read_timeout")
