"""Rotation, revocation and scope of API keys; rotation, moves and content types of triggers."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and the table of scopes."""
    for table in ("api_keys", "triggers"):
        op.add_column(table, sa.Column("rotated_at", sa.DateTime(timezone=True), nullable=True))
        op.add_column(table, sa.Column("old_until", sa.DateTime(timezone=True), nullable=True))
    op.add_column("api_keys", sa.Column("old_prefix", sa.String(13), nullable=True))
    op.add_column("api_keys", sa.Column("old_digest", sa.String(64), nullable=True))
    op.add_column("api_keys", sa.Column("revoked_reason", sa.String(500), nullable=True))
    op.add_column(
        "api_keys", sa.Column("any_flow", sa.Boolean(), nullable=False, server_default=sa.true())
    )
    op.add_column("triggers", sa.Column("old_routing_key", sa.String(24), nullable=True))
    op.add_column(
        "triggers", sa.Column("moved", sa.Boolean(), nullable=False, server_default=sa.false())
    )
    op.add_column("triggers", sa.Column("disabled_reason", sa.String(500), nullable=True))
    op.add_column("triggers", sa.Column("content_types", sa.JSON(), nullable=True))
    op.create_table(
        "key_flows",
        sa.Column("key_id", sa.String(36), nullable=False),
        sa.Column("flow_id", sa.String(36), nullable=False),
        sa.PrimaryKeyConstraint("key_id", "flow_id", name="pk_key_flows"),
        sa.ForeignKeyConstraint(
            ["key_id"], ["api_keys.id"], name="fk_key_flows_key_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["flow_id"], ["flows.id"], name="fk_key_flows_flow_id", ondelete="CASCADE"
        ),
    )
    op.create_index("ix_key_flows_flow_id", "key_flows", ["flow_id"])


def downgrade() -> None:
    """Drop them: old secrets and routing keys end, and keys may trigger any flow again."""
    op.drop_index("ix_key_flows_flow_id", "key_flows")
    op.drop_table("key_flows")
    for table, columns in (
        ("api_keys", ("rotated_at", "old_until", "old_prefix", "old_digest", "revoked_reason")),
        ("api_keys", ("any_flow",)),
        ("triggers", ("rotated_at", "old_until", "old_routing_key", "moved")),
        ("triggers", ("disabled_reason", "content_types")),
    ):
        for column in columns:
            op.drop_column(table, column)
