"""An outcome: what became of one attempt, published by the worker to `turnout.outcomes`."""

from typing import Any, NamedTuple, Self

import msgpack

from turnout.shared.errors import InvalidEnvelope

VERSION = 1

#: The `type` property of the AMQP message.
TYPE = "turnout.outcome"

SUCCEEDED = "succeeded"
RETRYING = "retrying"
DEAD = "dead"


class Outcome(NamedTuple):
    """What became of one attempt."""

    state: str
    """succeeded, retrying or dead."""
    event_id: str
    run_id: str
    attempt: int
    group: str
    flow: str
    worker_id: str
    started_at: int
    """Nanoseconds since the Unix epoch."""
    ended_at: int
    redelivered: bool = False
    """The broker had handed out this attempt before: it may have run twice."""
    result: Any = None
    """What the flow returned, if it succeeded."""
    error: str | None = None
    """The exception in one line, if it failed."""
    traceback: str | None = None
    delay: int | None = None
    """Seconds until the next attempt, if there is one."""

    def encode(self) -> bytes:
        """Return the bytes of the AMQP message body."""
        packed: bytes = msgpack.packb({"v": VERSION, **self._asdict()})
        return packed

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read the bytes of an AMQP message body.

        Raises:
            InvalidEnvelope: they are not an outcome, or of a newer version.
        """
        try:
            fields = msgpack.unpackb(data)
            version = fields.pop("v")
            known = {name: fields[name] for name in cls._fields if name in fields}
        except (KeyError, AttributeError, ValueError, msgpack.UnpackException) as error:
            raise InvalidEnvelope(f"not an outcome: {error!r}") from None
        if version != VERSION:
            raise InvalidEnvelope(f"an outcome of version {version!r} instead of {VERSION}")
        return cls(**known)
