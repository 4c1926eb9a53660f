"""The archive's writer: all events of one turn of the event loop leave in one block."""

import asyncio
from collections import deque
from functools import partial

from turnout.shared import block, names
from turnout.shared.block import Block
from turnout.shared.publisher import Confirm, Probe, Publisher, Verdict

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


class _Waiting:
    """One event that goes into the next block."""

    __slots__ = ("encoded", "future", "received_at")

    def __init__(self, received_at: int, encoded: bytes, future: asyncio.Future[Confirm]) -> None:
        self.received_at = received_at
        self.encoded = encoded
        self.future = future


class Archive:
    """Writes the blocks of one ingress process.

    Args:
        publisher: publishes them.
        process: a name of this process that no other one has.
    """

    def __init__(self, publisher: Publisher, process: str) -> None:
        self._publisher = publisher
        self._process = process
        self._sequence = 0
        self._waiting: list[_Waiting] = []
        # Bounded: during a long outage the newest verdicts matter most.
        self._verdicts: deque[tuple[str, str]] = deque(maxlen=100_000)
        self._timer: asyncio.TimerHandle | None = None

    def add(self, received_at: int, encoded: bytes) -> asyncio.Future[Confirm]:
        """Put an event into the block of this turn.

        Args:
            received_at: nanoseconds since the Unix epoch.
            encoded: its envelope.

        Returns:
            A future with the confirmation of its block.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Confirm] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._write)
        self._waiting.append(_Waiting(received_at, encoded, future))
        return future

    def retract(self, event_id: str, verdict: Verdict) -> None:
        """Note in a later block that an event was not accepted after all."""
        self._verdicts.append((event_id, verdict.value))
        self._write_verdicts_later()

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        group: list[_Waiting] = []
        size = 0
        for each in waiting:
            if group and size + len(each.encoded) > _MOST_BYTES:
                self._publish(group, size)
                group, size = [], 0
            group.append(each)
            size += len(each.encoded)
        self._publish(group, size)

    def _publish(self, group: list[_Waiting], size: int) -> None:
        self._sequence += 1
        verdicts = tuple(self._verdicts)
        self._verdicts.clear()
        body = Block(
            process=self._process,
            sequence=self._sequence,
            first=group[0].received_at if group else 0,
            last=group[-1].received_at if group else 0,
            events=tuple(each.encoded for each in group),
            verdicts=verdicts,
        ).encode(compress=size <= _COMPRESS_UP_TO)
        published = self._publisher.publish(names.ARCHIVE, "", body, kind=block.TYPE)
        published.add_done_callback(partial(self._confirmed, group, verdicts))

    def _confirmed(
        self,
        group: list[_Waiting],
        verdicts: tuple[tuple[str, str], ...],
        published: asyncio.Future[Confirm],
    ) -> None:
        confirm = published.result()
        for each in group:
            if not each.future.done():
                each.future.set_result(confirm)
        if verdicts and confirm.verdict is not Verdict.ACCEPTED:
            self._verdicts.extendleft(reversed(verdicts))
            self._write_verdicts_later()

    def _write_verdicts_later(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_VERDICT_DELAY, self._write_verdicts)

    def _write_verdicts(self) -> None:
        self._timer = None
        if self._verdicts:
            self._publish([], 0)
