"""The tables of letters. Only `turnout.router.letters` writes them.

A moment is a number of nanoseconds since the Unix epoch, as in envelopes.
"""

from sqlalchemy import BigInteger, Index, LargeBinary, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from turnout.router.models import APART, Base


class DeadLetter(Base):
    """A run that used up its attempts, with all that is needed to run it again."""

    __tablename__ = "dead_letters"
    __table_args__ = (
        Index("ix_dead_letters_state_died_at", "state", "died_at"),
        Index("ix_dead_letters_state_fingerprint", "state", "fingerprint"),
        {"info": APART},
    )

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    """Of the run; or, of what is no envelope, "raw_" and a hash of its bytes."""
    event_id: Mapped[str | None] = mapped_column(String(36))
    group_slug: Mapped[str] = mapped_column(String(40))
    flow_slug: Mapped[str] = mapped_column(String(40))
    trigger_id: Mapped[str | None] = mapped_column(Text)
    key_id: Mapped[str | None] = mapped_column(Text)
    kind: Mapped[str | None] = mapped_column(Text)
    attempt: Mapped[int]
    received_at: Mapped[int] = mapped_column(BigInteger)
    died_at: Mapped[int] = mapped_column(BigInteger)
    """When it was taken from the broker."""
    reason: Mapped[str] = mapped_column(Text)
    error: Mapped[str] = mapped_column(Text)
    place: Mapped[str] = mapped_column(Text)
    """Where the flow failed, as far as its worker said so."""
    fingerprint: Mapped[str] = mapped_column(String(12))
    """The same for failures that look alike: see `fingerprint`."""
    body: Mapped[bytes] = mapped_column(LargeBinary)
    """The envelope, or whatever it is."""
    state: Mapped[str] = mapped_column(String(10))
    """kept, replayed or discarded."""
    settled_at: Mapped[int] = mapped_column(BigInteger)
    """0 while it is kept."""
    settled_by: Mapped[str] = mapped_column(Text)
    """The replay, or why it was discarded."""


class Unrouted(Base):
    """An event for whose routing key there was no binding."""

    __tablename__ = "unrouted"
    __table_args__ = ({"info": APART},)

    id: Mapped[str] = mapped_column(String(36), primary_key=True)
    """Of the run; or, of what is no envelope, "raw_" and a hash of its bytes."""
    event_id: Mapped[str | None] = mapped_column(String(36))
    group_slug: Mapped[str] = mapped_column(String(40))
    flow_slug: Mapped[str] = mapped_column(String(40))
    trigger_id: Mapped[str | None] = mapped_column(Text)
    routing_key: Mapped[str] = mapped_column(String(255), index=True)
    """Of AMQP: where it was to go."""
    received_at: Mapped[int] = mapped_column(BigInteger)
    parked_at: Mapped[int] = mapped_column(BigInteger)
    body: Mapped[bytes] = mapped_column(LargeBinary)
