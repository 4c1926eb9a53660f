"""Notices: what workers must know of flows, as the router puts it into the cache.

    hash                               field          value
    turnout:flows                      "group/flow"   a `FlowRecord`
    turnout:paused                     "group/flow"   a `Pause`
    turnout:cancelled:<group>/<flow>   run id         why it is cancelled
                                       "*"            until when all are cancelled, and why

They are complete as soon as the epoch stands there (`turnout:auth:epoch`), and are written again
after a flush. Until then a worker keeps to what it knew.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Self

import msgpack

from turnout.shared import ids
from turnout.shared.errors import InvalidRecord

#: The field that stands for every run.
EVERY_RUN = "*"


class FlowRecord(NamedTuple):
    """How a flow is registered."""

    ordered_by: str | None = None
    """Where the key stands in the body, if runs of one key go one after the other."""
    partitions: int | None = None
    """How many queues it has, if it is ordered."""
    max_running: int | None = None
    """How many of its runs may be in progress at once, over all workers; None: any number."""

    def encode(self) -> bytes:
        """Return the bytes of the field."""
        return _pack(self._asdict())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a field; what a newer router added is left out.

        Raises:
            InvalidRecord: the bytes are no such record.
        """
        fields = _unpack(data, dict)
        return cls(**{name: fields[name] for name in cls._fields if name in fields})


class Pause(NamedTuple):
    """Why no run of a flow starts."""

    reason: str
    at: float
    """Seconds since the Unix epoch."""

    def encode(self) -> bytes:
        """Return the bytes of the field."""
        return _pack(self._asdict())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read a field.

        Raises:
            InvalidRecord: the bytes are no such record.
        """
        fields = _unpack(data, dict)
        return cls(str(fields.get("reason", "")), float(fields.get("at", 0)))


def cancelled_run(reason: str) -> bytes:
    """Return the field that cancels one run."""
    return _pack(reason)


def cancelled_until(moment: int, reason: str) -> bytes:
    """Return the field that cancels every run made until a moment, in ns since the Unix epoch."""
    return _pack((moment, reason))


class Cancelled:
    """The cancelled runs of one flow. False when there is none, so that asking costs nothing.

    Args:
        fields: of the hash.

    Raises:
        InvalidRecord: a field is not as it should be.
    """

    def __init__(self, fields: Mapping[bytes, bytes] | None = None) -> None:
        found = {name.decode(): value for name, value in (fields or {}).items()}
        self._until, self._reason = 0, ""
        if (every := found.pop(EVERY_RUN, None)) is not None:
            self._until, self._reason = _unpack(every, tuple)
        self._runs: dict[str, str] = {run: _unpack(value, str) for run, value in found.items()}

    def __bool__(self) -> bool:
        return bool(self._until or self._runs)

    def reason(self, run_id: str) -> str | None:
        """Say why a run is cancelled, or None if it is not.

        A replay of an old event is a new run: what counts is when the run was made.
        """
        if (reason := self._runs.get(run_id)) is not None:
            return reason
        return self._reason if ids.made_at(run_id) <= self._until else None


def _pack(value: object) -> bytes:
    packed: bytes = msgpack.packb(value)
    return packed


def _unpack(data: bytes, kind: type) -> Any:
    try:
        value = msgpack.unpackb(data, use_list=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise InvalidRecord(f"the cache holds an unreadable notice: {error!r}") from None
    if not isinstance(value, kind):
        raise InvalidRecord(f"the cache holds a notice that is a {type(value).__name__}")
    return value
