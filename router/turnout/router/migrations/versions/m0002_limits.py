"""The limits of groups, API keys and triggers: no value, as above it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns."""
    for table in ("groups", "api_keys", "triggers"):
        op.add_column(table, sa.Column("rate", sa.Float(), nullable=True))
        op.add_column(table, sa.Column("burst", sa.Integer(), nullable=True))
    for table in ("groups", "api_keys"):
        op.add_column(table, sa.Column("in_flight", sa.Integer(), nullable=True))
    for table in ("groups", "triggers"):
        op.add_column(table, sa.Column("max_body_bytes", sa.Integer(), nullable=True))
