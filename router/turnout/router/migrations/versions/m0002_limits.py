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
        op.add_column(table, sa.Column("rate", sa.Double(), nullable=True))
        op.add_column(table, sa.Column("burst", sa.Integer(), nullable=True))
    for table in ("groups", "api_keys"):
        op.add_column(table, sa.Column("in_flight", sa.Integer(), nullable=True))
    for table in ("groups", "triggers"):
        op.add_column(table, sa.Column("max_body_bytes", sa.Integer(), nullable=True))


def downgrade() -> None:
    """Drop the columns, and what was set with them."""
    for table in ("groups", "api_keys", "triggers"):
        op.drop_column(table, "rate")
        op.drop_column(table, "burst")
    for table in ("groups", "api_keys"):
        op.drop_column(table, "in_flight")
    for table in ("groups", "triggers"):
        op.drop_column(table, "max_body_bytes")
