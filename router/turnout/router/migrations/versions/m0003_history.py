"""The history: events, runs, attempts, how far the streams are read, and what was erased."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_NOT_SUCCEEDED = sa.text("state <> 'succeeded'")
_IS_REPLAY = sa.text("replay IS NOT NULL")


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "events",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("received_at", sa.BigInteger(), nullable=False),
        sa.Column("method", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("content_type", sa.Text(), nullable=False),
        sa.Column("remote", sa.Text(), nullable=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("stream_offset", sa.BigInteger(), nullable=False),
        sa.Column("stream_index", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "runs",
        sa.Column("id", sa.String(36), nullable=False),
        sa.Column("event_id", sa.String(36), nullable=False),
        sa.Column("group_slug", sa.String(40), nullable=False),
        sa.Column("flow_slug", sa.String(40), nullable=False),
        sa.Column("trigger_id", sa.Text(), nullable=True),
        sa.Column("key_id", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=True),
        sa.Column("origin", sa.String(36), nullable=True),
        sa.Column("replay", sa.String(36), nullable=True),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("progress", sa.BigInteger(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("error_type", sa.Text(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_runs"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_runs_group_slug_id", "runs", ["group_slug", "id"])
    op.create_index("ix_runs_group_slug_flow_slug_id", "runs", ["group_slug", "flow_slug", "id"])
    op.create_index("ix_runs_trigger_id_id", "runs", ["trigger_id", "id"])
    op.create_index("ix_runs_key_id_id", "runs", ["key_id", "id"])
    for name, columns, condition in (
        ("ix_runs_state_id", ["state", "id"], _NOT_SUCCEEDED),
        ("ix_runs_event_id", ["event_id"], _IS_REPLAY),
        ("ix_runs_replay_id", ["replay", "id"], _IS_REPLAY),
    ):
        op.create_index(name, "runs", columns, sqlite_where=condition, postgresql_where=condition)
    op.create_table(
        "attempts",
        sa.Column("run_id", sa.String(36), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("ended_at", sa.BigInteger(), nullable=False),
        sa.Column("state", sa.String(10), nullable=False),
        sa.Column("worker_id", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("redelivered", sa.Boolean(), nullable=False),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("traceback", sa.Text(), nullable=True),
        sa.Column("delay", sa.Integer(), nullable=True),
        sa.Column("result", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "number", "started_at", name="pk_attempts"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "stream_offsets",
        sa.Column("stream", sa.String(40), nullable=False),
        sa.Column("last", sa.BigInteger(), nullable=False),
        sa.Column("checksum", sa.BigInteger(), nullable=False),
        sa.Column("written_at", sa.BigInteger(), nullable=False),
        sa.Column("unreadable", sa.Integer(), nullable=False),
        sa.Column("missed", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("stream", name="pk_stream_offsets"),
    )
    op.create_table(
        "erasures",
        sa.Column("event_id", sa.String(36), nullable=False),
        sa.Column("erased_at", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(500), nullable=False),
        sa.PrimaryKeyConstraint("event_id", name="pk_erasures"),
    )
    op.create_index("ix_erasures_erased_at", "erasures", ["erased_at"])


def downgrade() -> None:
    """Drop the tables: the archive has what they were made from, as far as it goes back."""
    for table in ("erasures", "stream_offsets", "attempts", "runs", "events"):
        op.drop_table(table)
