"""The size of the headers of a call, of groups and triggers: no value, as above it."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    for table in ("groups", "triggers"):
        op.add_column(table, sa.Column("max_header_bytes", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Drop the columns, and what was set with them."""
    for table in ("groups", "triggers"):
        op.drop_column(table, "max_header_bytes")
