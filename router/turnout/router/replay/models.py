"""The tables of replays. Only `turnout.router.replay` writes them.

A moment is a number of nanoseconds since the Unix epoch, as in envelopes.
"""

from sqlalchemy import BigInteger, Float, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from turnout.router.models import APART, Base


class Replay(Base):
    """A number of runs that are to be repeated, and how far that is."""

    __tablename__ = "replays"
    __table_args__ = ({"info": APART},)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    created_at: Mapped[int] = mapped_column(BigInteger)
    group_slug: Mapped[str | None] = mapped_column(String(40))
    """Of the group that all of it is of; None: of any."""
    source: Mapped[str] = mapped_column(String(10))
    """history or dead: where its payloads come from."""
    selection: Mapped[str] = mapped_column(Text)
    """What was asked for, as JSON, for people."""
    target: Mapped[str | None] = mapped_column(Text)
    """The flow that runs instead, "group/flow"."""
    version: Mapped[str | None] = mapped_column(Text)
    """Of the flow's code: no other runs it."""
    dry_run: Mapped[bool]
    edit: Mapped[str | None] = mapped_column(Text)
    """How bodies are changed, as JSON: see `edit`. Forgotten when it has ended: then ""."""
    in_order: Mapped[bool]
    """Whether each run waits until the one before has ended."""
    rate: Mapped[float] = mapped_column(Float)
    """Runs a second; 0: as fast as it goes."""
    state: Mapped[str] = mapped_column(String(10), index=True)
    total: Mapped[int]
    """Items."""
    gone: Mapped[int]
    """Events that were not in the archive any more when it was planned."""
    gone_since: Mapped[int]
    """Items whose events left the archive before it was started; they are skipped."""
    position: Mapped[int]
    """All items before it are done."""
    intent: Mapped[int]
    """No item from here on has been published."""
    skipped: Mapped[int]
    """Items that could not be repeated: gone since, or not to be edited."""
    note: Mapped[str] = mapped_column(Text)
    """Why it does not go on, or why the last item was skipped."""
    started_at: Mapped[int] = mapped_column(BigInteger)
    ended_at: Mapped[int] = mapped_column(BigInteger)


class ReplayItem(Base):
    """One run that is to be repeated."""

    __tablename__ = "replay_items"
    # SQLite keeps the rows in the index of the primary key: one tree instead of two.
    __table_args__ = {"sqlite_with_rowid": False, "info": APART}  # noqa: RUF012 - SQLAlchemy's own form

    replay_id: Mapped[str] = mapped_column(String(36), primary_key=True)
    position: Mapped[int] = mapped_column(primary_key=True)
    """From 0, in the order in which the events were received."""
    origin: Mapped[str] = mapped_column(String(36))
    """The run that is repeated."""
    event_id: Mapped[str] = mapped_column(String(36))
    stream_offset: Mapped[int] = mapped_column(BigInteger)
    """Where the event is in the archive; -1: it is a dead letter."""
    stream_index: Mapped[int]
