"""Outcomes: what becomes of each run and attempt, published by workers to `turnout.outcomes`.

One message carries many: those of a worker that ended while earlier ones were under way.

    started ──▶ succeeded
       ├──────▶ retrying     the next attempt waits in a delay bucket
       └──────▶ dead         a dead letter is in turnout.dead
    cancelled                it never started
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import msgpack

from turnout.shared.errors import InvalidEnvelope

VERSION = 2

#: The `type` property of the AMQP message.
TYPE = "turnout.outcomes"

STARTED = "started"
SUCCEEDED = "succeeded"
RETRYING = "retrying"
DEAD = "dead"
CANCELLED = "cancelled"


class Outcome(NamedTuple):
    """What became of one attempt."""

    state: str
    """started, succeeded, retrying, dead or cancelled."""
    event_id: str
    run_id: str
    attempt: int
    group: str
    flow: str
    worker_id: str
    started_at: int
    """Nanoseconds since the Unix epoch."""
    ended_at: int
    """The same; 0 when it has only started."""
    version: str = ""
    """Of the flow's code, as its author names it."""
    redelivered: bool = False
    """This attempt may have run before, in part or whole."""
    result: Any = None
    """What the flow returned, if it succeeded."""
    error: str | None = None
    """The exception in one line, if it failed; why, if it was cancelled."""
    traceback: str | None = None
    delay: int | None = None
    """Seconds until the next attempt, if there is one."""
    logs: tuple[str, ...] = ()
    """What a run once logged, for whoever waits for it."""


_PACKER = msgpack.Packer()
_LOGS = Outcome._fields.index("logs")


def pack(each: Outcome) -> bytes:
    """Return the bytes of one outcome, to be joined with others."""
    packed: bytes = _PACKER.pack(each)
    return packed


def join(packed: Sequence[bytes]) -> bytes:
    """Return the bytes of one AMQP message body, from those of its outcomes."""
    return b"".join(
        (
            *(_PACKER.pack_array_header(2), _PACKER.pack(VERSION)),
            *(_PACKER.pack_array_header(len(packed)), *packed),
        )
    )


def encode(outcomes: Sequence[Outcome]) -> bytes:
    """Return the bytes of one AMQP message body."""
    return join([pack(each) for each in outcomes])


def decode(data: bytes) -> list[Outcome]:
    """Read the bytes of an AMQP message body; what a newer version appended is left out.

    Raises:
        InvalidEnvelope: they are not outcomes, or of another version.
    """
    try:
        version, rows = msgpack.unpackb(data)
        if version == VERSION:
            return [_read(row[: len(Outcome._fields)]) for row in rows]
    except (TypeError, ValueError, msgpack.UnpackException) as error:
        raise InvalidEnvelope(f"not outcomes: {error!r}") from None
    raise InvalidEnvelope(f"outcomes of version {version!r} instead of {VERSION}")


def _read(row: list[Any]) -> Outcome:
    if len(row) > _LOGS:
        row[_LOGS] = tuple(row[_LOGS])
    return Outcome(*row)
