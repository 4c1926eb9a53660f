"""The context: what a flow may know of its run, and use in it, besides the event.

One is made for every attempt, and most flows ask for none of it: nothing is made before it is asked
for.
"""

import time
from datetime import UTC, datetime, timedelta
from typing import Protocol

import structlog

from turnout.shared import log
from turnout.shared.envelope import Envelope
from turnout.shared.errors import FlowError
from turnout.workers.event import Event
from turnout.workers.once import Marks, Once
from turnout.workers.resources import Resources

#: Greatest number of characters of the key of a side effect.
_MOST_KEY = 200


class Held(Protocol):
    """What the broker has handed out for the run."""

    @property
    def is_lost(self) -> bool:
        """Whether it may be another worker's by now."""


class Context:
    """One attempt of one run.

    Attributes:
        event: the call that the run is for.
        resources: what the lifespans have opened for this process: `context.resources[database]`.
    """

    __slots__ = ("_ends", "_envelope", "_held", "_logger", "_marks", "event", "resources")

    def __init__(
        self,
        envelope: Envelope,
        resources: Resources,
        marks: Marks,
        *,
        redelivered: bool = False,
        held: Held | None = None,
    ) -> None:
        self.event = Event(envelope, redelivered=redelivered)
        self.resources = resources
        self._envelope = envelope
        self._marks = marks
        self._held = held
        self._ends: float | None = None
        self._logger: structlog.stdlib.BoundLogger | None = None

    def __repr__(self) -> str:
        return f"<Context of {self.run_id}, attempt {self.attempt}>"

    @property
    def run_id(self) -> str:
        """Of the run, "run_…": the same in all its attempts; a replay of the event has another."""
        return self._envelope.run_id

    @property
    def attempt(self) -> int:
        """Which try of the run this is, counted from 1."""
        return self._envelope.attempt

    @property
    def redelivered(self) -> bool:
        """Whether this very attempt may have run before; see `Event`."""
        return self.event.redelivered

    @property
    def is_abandoned(self) -> bool:
        """Whether the worker has given this attempt up, so that another one may be at the run.

        It is out of time, or the connection to the broker is lost. A thread cannot be stopped then:
        let it ask before each step that must not be taken late.
        """
        return self.remaining == 0 or (self._held is not None and self._held.is_lost)

    @property
    def is_test(self) -> bool:
        """Whether an operator runs the flow once, to try it, and waits for what comes of it."""
        return self._envelope.kind == "once"

    @property
    def is_replay(self) -> bool:
        """Whether an operator has an event of the past run again."""
        return self._envelope.kind == "replay"

    @property
    def remaining(self) -> float | None:
        """The seconds until this attempt is out of time, never below 0; None: it may take any."""
        return None if self._ends is None else max(0.0, self._ends - time.monotonic())

    @property
    def deadline(self) -> datetime | None:
        """When this attempt is out of time, in UTC; None: never."""
        seconds = self.remaining
        return None if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)

    @property
    def logger(self) -> structlog.stdlib.BoundLogger:
        """A logger whose lines say which flow, event, run and attempt they are about."""
        if self._logger is None:
            self._logger = log.get("turnout.flow").bind(
                flow=f"{self.event.group}/{self.event.flow}",
                event_id=self.event.id,
                run_id=self.run_id,
                attempt=self.attempt,
            )
        return self._logger

    def once(self, key: str) -> Once:
        """Guard a side effect, so that no other attempt or redelivery of this run repeats it.

            async with context.once("charge") as is_first:
                if is_first:
                    await charge(...)

        Plain functions write `with`. See `turnout.workers.once` for what it can promise.

        Args:
            key: names the side effect within the run.

        Raises:
            FlowError: the key is empty or longer than 200 characters.
        """
        if not 0 < len(key) <= _MOST_KEY:
            raise FlowError(f"once: the key has {len(key)} characters; use 1 to {_MOST_KEY}")
        return Once(self._marks, self.run_id, key)

    @property
    def envelope(self) -> Envelope:
        """What the event was read from, for whoever hands the attempt to another process."""
        return self._envelope

    def begin(self, timeout: float) -> None:
        """Let the time of the attempt run from now; its executor calls this."""
        self._ends = time.monotonic() + timeout
