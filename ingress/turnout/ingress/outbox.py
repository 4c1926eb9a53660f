"""The outbox: accepted events leave for the broker together, with the block that archives them.

    send() ──▶ waits ──▶ leaves ──▶ the block and the event are confirmed, refused or unknown
                 │ at the end of this turn of the event loop, if few are under way;
                 │ else when one departure of those has ended, or after a moment

The broker syncs what comes together once, and the archive holds it as one block, so the busier the
broker is, the more events share that price; on a quiet system an event does not wait.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial

from turnout.shared import block, envelope, names
from turnout.shared.block import Block
from turnout.shared.publisher import Confirm, Probe, Publisher, Verdict, end

#: Departures that may be under way: the broker works on some while others are on their way.
_MOST_UNDER_WAY = 4

#: Seconds after which what waits leaves, whatever is under way.
_LONGEST_WAIT = 0.02

#: A block is closed when its events reach this many bytes.
_MOST_BYTES = 1024 * 1024

#: Deflating more than this at once would hold up the event loop for too long.
_COMPRESS_UP_TO = 128 * 1024

#: Verdicts are written after this many seconds if no event takes them along.
_VERDICT_DELAY = 1.0


def probe(process: str) -> Probe:
    """Make a block without events, to find out whether the archive takes any."""
    body = Block(process, sequence=0, first=0, last=0, events=()).encode(compress=False)
    return Probe(names.ARCHIVE, block.TYPE, body)


class Outbox:
    """Publishes the events of one ingress process, and writes its blocks.

    Args:
        publisher: publishes them.
        process: a name of this process that no other one has.
    """

    def __init__(self, publisher: Publisher, process: str) -> None:
        self._publisher = publisher
        self._process = process
        self._loop = asyncio.get_running_loop()
        self._sequence = 0
        self._waiting: list[_Event] = []
        self._under_way = 0
        self._timer: asyncio.TimerHandle | None = None
        # Bounded: during a long outage the newest verdicts matter most.
        self._verdicts: deque[tuple[str, str]] = deque(maxlen=100_000)
        self._verdict_timer: asyncio.TimerHandle | None = None

    def publish(
        self, event_id: str, routing_key: str, received_at: int, encoded: bytes
    ) -> asyncio.Future[Confirm]:
        """Publish an event as `send` does.

        Returns:
            A future with what became of it. It never fails.
        """
        future: asyncio.Future[Confirm] = self._loop.create_future()
        self.send(event_id, routing_key, received_at, encoded, partial(end, future))
        return future

    def send(
        self,
        event_id: str,
        routing_key: str,
        received_at: int,
        encoded: bytes,
        ended: Callable[[Confirm], None],
    ) -> None:
        """Publish an event with the next ones that leave.

        Args:
            event_id: its id.
            routing_key: where it goes.
            received_at: nanoseconds since the Unix epoch.
            encoded: its envelope.
            ended: called once, and not before this returns, with what became of it: accepted when
                it is safe in its queue and in the archive. It returns at once, and never raises.
        """
        if not self._waiting:
            if self._under_way >= _MOST_UNDER_WAY:
                self._timer = self._loop.call_later(_LONGEST_WAIT, self._leave)
            else:
                self._loop.call_soon(self._leave)
        self._waiting.append(_Event(event_id, routing_key, received_at, encoded, ended))

    def retract(self, event_id: str, verdict: Verdict) -> None:
        """Note in a later block that an event was not accepted after all."""
        self._verdicts.append((event_id, verdict.value))
        self._write_verdicts_later()

    def _leave(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        events: list[_Event] = []
        size = 0
        for each in waiting:
            if events and size + len(each.encoded) > _MOST_BYTES:
                self._publish(events, size)
                events, size = [], 0
            events.append(each)
            size += len(each.encoded)
        if events:
            self._publish(events, size)

    def _publish(self, events: list["_Event"], size: int) -> None:
        """Publish events and their block, which goes first."""
        self._under_way += 1
        departure = _Departure(self, events)
        for each in events:
            each.departure = departure
        self._sequence += 1
        verdicts = tuple(self._verdicts)
        self._verdicts.clear()
        body = Block(
            process=self._process,
            sequence=self._sequence,
            first=events[0].received_at if events else 0,
            last=events[-1].received_at if events else 0,
            events=tuple([each.encoded for each in events]),
            verdicts=verdicts,
        ).encode(compress=size <= _COMPRESS_UP_TO)
        ended = partial(self._archived, departure, verdicts)
        self._publisher.send(names.ARCHIVE, "", body, kind=block.TYPE, ended=ended)
        for each in events:
            self._publisher.send(
                names.TRIGGERS,
                each.routing_key,
                each.encoded,
                kind=envelope.TYPE,
                ended=each.routed,
            )

    def _archived(
        self, departure: "_Departure", verdicts: tuple[tuple[str, str], ...], confirm: Confirm
    ) -> None:
        departure.archived(confirm)
        if verdicts and confirm.verdict is not Verdict.ACCEPTED:
            self._verdicts.extendleft(reversed(verdicts))
            self._write_verdicts_later()

    def arrived(self) -> None:
        """Let go what waited for a departure that has ended."""
        self._under_way -= 1
        if self._waiting and self._under_way < _MOST_UNDER_WAY:
            # When all has been heard that the broker said at once.
            self._loop.call_soon(self._leave)

    def _write_verdicts_later(self) -> None:
        if self._verdict_timer is None:
            self._verdict_timer = self._loop.call_later(_VERDICT_DELAY, self._write_verdicts)

    def _write_verdicts(self) -> None:
        self._verdict_timer = None
        if self._verdicts:
            self._publish([], 0)


class _Departure:
    """What left together, and what is not known of it yet."""

    __slots__ = ("_events", "_missing", "in_archive", "outbox")

    def __init__(self, outbox: Outbox, events: list["_Event"]) -> None:
        self.in_archive: Confirm | None = None
        self.outbox = outbox
        self._events = events
        self._missing = len(events) + 1

    def archived(self, confirm: Confirm) -> None:
        """Note what became of the block."""
        self.in_archive = confirm
        for each in self._events:
            each.end_if_known()
        self.one_less()

    def one_less(self) -> None:
        """Note that one more has ended."""
        self._missing -= 1
        if not self._missing:
            self._events.clear()  # they refer to this: without it, it would be garbage to collect
            self.outbox.arrived()


class _Event:
    """One event on its way."""

    __slots__ = (
        *("_ended", "_event_id", "_in_queue"),
        *("departure", "encoded", "received_at", "routing_key"),
    )

    departure: _Departure
    """Set when it leaves."""

    def __init__(
        self,
        event_id: str,
        routing_key: str,
        received_at: int,
        encoded: bytes,
        ended: Callable[[Confirm], None],
    ) -> None:
        self.routing_key = routing_key
        self.received_at = received_at
        self.encoded = encoded
        self._event_id = event_id
        self._ended = ended
        self._in_queue: Confirm | None = None

    def routed(self, confirm: Confirm) -> None:
        """Note what became of it at its queue."""
        self._in_queue = confirm
        self.end_if_known()
        self.departure.one_less()

    def end_if_known(self) -> None:
        """Tell who waits, when there is no more to come."""
        in_archive, in_queue = self.departure.in_archive, self._in_queue
        if in_archive is None or in_queue is None:
            return
        if not (in_queue.verdict is in_archive.verdict is Verdict.ACCEPTED):
            if in_archive.verdict is not Verdict.REFUSED:
                self.departure.outbox.retract(self._event_id, in_queue.verdict)
            if in_queue.verdict is Verdict.ACCEPTED:
                in_queue = Confirm(Verdict.UNKNOWN, in_archive.reason)
        self._ended(in_queue)
