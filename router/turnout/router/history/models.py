"""The tables of the history. Only `turnout.router.history` writes them.

    events ◀─event_id─ runs ◀─run_id─ attempts        stream_offsets: how far the streams are read
    erasures: events whose payload and metadata somebody wanted gone

A moment is a number of nanoseconds since the Unix epoch, as in envelopes and outcomes. Identifiers
sort by time, so the newest are read from the end of an index. There are no foreign keys: an outcome
is recorded even if its event is not in the archive any more.
"""

from sqlalchemy import BigInteger, Index, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from turnout.router.models import APART, Base

_NOT_SUCCEEDED = text("state <> 'succeeded'")
_IS_REPLAY = text("replay IS NOT NULL")
_HAS_ERROR = text("error_type IS NOT NULL")


class Event(Base):
    """An accepted call; its payload is in the archive, at a position."""

    __tablename__ = "events"
    # SQLite keeps the rows in the index of the primary key: one tree instead of two.
    __table_args__ = {"sqlite_with_rowid": False, "info": APART}  # noqa: RUF012 - SQLAlchemy's own form

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    received_at: Mapped[int] = mapped_column(BigInteger)
    method: Mapped[str] = mapped_column(Text)
    path: Mapped[str] = mapped_column(Text)
    content_type: Mapped[str] = mapped_column(Text)
    remote: Mapped[str] = mapped_column(Text)
    size: Mapped[int]
    """Bytes of the body."""
    stream_offset: Mapped[int] = mapped_column(BigInteger)
    """Of its block in the archive."""
    stream_index: Mapped[int]
    """Of the event in its block."""


class Run(Base):
    """One execution of a flow for an event: the first, whose UUID is the event's, or a replay."""

    __tablename__ = "runs"
    __table_args__ = (
        Index("ix_runs_group_slug_id", "group_slug", "id"),
        Index("ix_runs_group_slug_flow_slug_id", "group_slug", "flow_slug", "id"),
        Index("ix_runs_trigger_id_id", "trigger_id", "id"),
        Index("ix_runs_key_id_id", "key_id", "id"),
        # Nearly all runs have succeeded, and nobody looks for those among all others.
        Index(
            "ix_runs_state_id",
            "state",
            "id",
            sqlite_where=_NOT_SUCCEEDED,
            postgresql_where=_NOT_SUCCEEDED,
        ),
        Index(
            "ix_runs_error_type_id",
            "error_type",
            "id",
            sqlite_where=_HAS_ERROR,
            postgresql_where=_HAS_ERROR,
        ),
        Index("ix_runs_event_id", "event_id", sqlite_where=_IS_REPLAY, postgresql_where=_IS_REPLAY),
        Index(
            "ix_runs_replay_id",
            "replay",
            "id",
            sqlite_where=_IS_REPLAY,
            postgresql_where=_IS_REPLAY,
        ),
        {"sqlite_with_rowid": False, "info": APART},
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    event_id: Mapped[str] = mapped_column(String(36))
    group_slug: Mapped[str] = mapped_column(String(40))
    flow_slug: Mapped[str] = mapped_column(String(40))
    trigger_id: Mapped[str | None] = mapped_column(Text)
    """None until its event was read: an outcome may be read first."""
    key_id: Mapped[str | None] = mapped_column(Text)
    kind: Mapped[str | None] = mapped_column(Text)
    """event, once or replay, as in the envelope; None until its event was read."""
    origin: Mapped[str | None] = mapped_column(String(36))
    """Of a replay: the run that it repeats."""
    replay: Mapped[str | None] = mapped_column(String(36))
    """Of a replay: the operation that it belongs to."""
    state: Mapped[str] = mapped_column(String(10))
    attempt: Mapped[int]
    """The newest; 0 before the first."""
    progress: Mapped[int] = mapped_column(BigInteger)
    """See `states.progress`."""
    started_at: Mapped[int] = mapped_column(BigInteger)
    """Of the newest attempt; 0 before the first."""
    ended_at: Mapped[int] = mapped_column(BigInteger)
    """Of the newest attempt; 0 while it runs."""
    error_type: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
    """Why the newest attempt failed, in one line."""


class Attempt(Base):
    """One try within a run; one that was handed out twice is there twice."""

    __tablename__ = "attempts"
    __table_args__ = {"sqlite_with_rowid": False, "info": APART}  # noqa: RUF012 - SQLAlchemy's own form

    run_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True)
    started_at: Mapped[int] = mapped_column(BigInteger, primary_key=True)
    ended_at: Mapped[int] = mapped_column(BigInteger)
    """0 while it runs, or if its worker died."""
    state: Mapped[str] = mapped_column(String(10))
    worker_id: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)
    redelivered: Mapped[bool]
    error: Mapped[str | None] = mapped_column(Text)
    traceback: Mapped[str | None] = mapped_column(Text)
    delay: Mapped[int | None]
    result: Mapped[str | None] = mapped_column(Text)
    """What the flow returned, as JSON."""


class StreamOffset(Base):
    """How far a stream is recorded; written in the transaction that records it."""

    __tablename__ = "stream_offsets"
    __table_args__ = ({"info": APART},)

    stream: Mapped[str] = mapped_column(String(40), primary_key=True)
    last: Mapped[int] = mapped_column(BigInteger)
    """Offset of the last message that is recorded."""
    checksum: Mapped[int] = mapped_column(BigInteger)
    """CRC-32 of its body: a stream that was made anew has another message there."""
    written_at: Mapped[int] = mapped_column(BigInteger)
    """When the newest thing that is recorded of it happened."""
    unreadable: Mapped[int]
    """How many messages, or events, could not be read and were left out."""
    missed: Mapped[int] = mapped_column(BigInteger)
    """How many messages were gone before they were recorded."""


class Erasure(Base):
    """An event that was erased: whatever still holds it tells nothing of it any more."""

    __tablename__ = "erasures"
    __table_args__ = ({"info": APART},)

    event_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    erased_at: Mapped[int] = mapped_column(BigInteger, index=True)
    reason: Mapped[str] = mapped_column(String(500))
