"""Roles of admin tokens, and the audit log. A token that exists may do everything, as before."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns and the table."""
    op.add_column(
        "admin_tokens", sa.Column("role", sa.String(10), nullable=False, server_default="admin")
    )
    op.add_column("admin_tokens", sa.Column("groups", sa.JSON(), nullable=True))
    for column in ("expires_at", "revoked_at"):
        op.add_column("admin_tokens", sa.Column(column, sa.DateTime(timezone=True), nullable=True))
    op.create_table(
        "audit_log",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("actor_id", sa.String(36), nullable=False),
        sa.Column("actor_name", sa.String(100), nullable=False),
        sa.Column("remote", sa.String(100), nullable=True),
        sa.Column("reason", sa.String(500), nullable=True),
        sa.Column("verb", sa.String(40), nullable=False),
        sa.Column("object_id", sa.String(36), nullable=False),
        sa.Column("label", sa.String(650), nullable=False),
        sa.Column("group", sa.String(40), nullable=True),
        sa.Column("before", sa.JSON(), nullable=True),
        sa.Column("after", sa.JSON(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit_log"),
    )
    op.create_index("ix_audit_log_group_id", "audit_log", ["group", "id"])
    op.create_index("ix_audit_log_object_id_id", "audit_log", ["object_id", "id"])


def downgrade() -> None:
    """Drop them: every token that exists may do everything again."""
    op.drop_table("audit_log")
    for column in ("role", "groups", "expires_at", "revoked_at"):
        op.drop_column("admin_tokens", column)
