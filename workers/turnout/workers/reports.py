"""Reports: the outcomes of all flows of a process, published in batches.

    add() ──▶ waits ──▶ all that wait in one message, when fewer than two are under way
                           ├─ confirmed ──▶ each run is told, and its trigger acknowledged
                           └─ not ────────▶ published again, while the run's delivery is ours

A message and its confirmation cost the broker a write to disk and us a wake-up, whether it is for
one outcome or for hundreds. So the longer the broker takes, the more outcomes share the next one;
and while one is written there, the next is on its way.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from turnout.shared import log, names, outcome
from turnout.shared.backoff import Backoff
from turnout.shared.publisher import Confirm, Publisher, Verdict

logger = log.get(__name__)

#: A message is closed when its outcomes reach this many bytes.
_MOST_BYTES = 1024 * 1024

#: So many messages are under way at once.
_UNDER_WAY = 2


class Reported(Protocol):
    """What an outcome is about."""

    @property
    def is_ours(self) -> bool:
        """Whether the broker still counts its delivery as handed to us."""

    def confirmed(self) -> None:
        """Take note that the broker has the outcome."""


class Reports:
    """Publishes outcomes."""

    def __init__(self, publisher: Publisher) -> None:
        self._publisher = publisher
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[tuple[bytes, Reported]] = deque()
        self._under_way = 0
        self._is_due = False
        self._backoff = Backoff()

    def add(self, packed: bytes, about: Reported) -> None:
        """Publish an outcome with others, until the broker has it.

        Args:
            packed: see `outcome.pack`.
            about: told when it is confirmed.
        """
        self._waiting.append((packed, about))
        self._go_on()

    def mention(self, packed: Sequence[bytes]) -> None:
        """Publish outcomes that nothing depends on, once."""
        if packed:
            self._publisher.publish(names.OUTCOMES, "", outcome.join(packed), kind=outcome.TYPE)

    def _go_on(self) -> None:
        """Publish what waits at the end of this turn of the event loop, if it may go out."""
        if self._waiting and self._under_way < _UNDER_WAY and not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._write)

    def _write(self) -> None:
        self._is_due = False
        while self._waiting and self._under_way < _UNDER_WAY:
            batch = [self._waiting.popleft()]
            size = len(batch[0][0])
            while self._waiting and (size := size + len(self._waiting[0][0])) <= _MOST_BYTES:
                batch.append(self._waiting.popleft())
            self._publish(batch)

    def _publish(self, batch: Sequence[tuple[bytes, Reported]]) -> None:
        self._under_way += 1
        body = outcome.join([packed for packed, _ in batch])
        self._publisher.send(
            names.OUTCOMES, "", body, kind=outcome.TYPE, ended=partial(self._ended, batch)
        )

    def _ended(self, batch: Sequence[tuple[bytes, Reported]], confirm: Confirm) -> None:
        self._under_way -= 1
        self._go_on()
        if confirm.verdict is Verdict.ACCEPTED:
            self._backoff.reset()
            for _, about in batch:
                about.confirmed()
            return
        logger.warning(
            "publishing again", to=names.OUTCOMES, outcomes=len(batch), reason=confirm.reason
        )
        self._loop.call_later(self._backoff.delay(), self._again, batch)

    def _again(self, batch: Sequence[tuple[bytes, Reported]]) -> None:
        for packed, about in batch:
            if about.is_ours:
                self.add(packed, about)
