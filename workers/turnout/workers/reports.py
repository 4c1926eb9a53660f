"""Reports: the outcomes of all flows of a process, published in batches.

    add() ──▶ waits ──▶ all of one turn of the event loop in one message
                           ├─ confirmed ──▶ each run is told, and its trigger acknowledged
                           └─ not ────────▶ published again, while the run's delivery is ours

A confirmation costs the broker a write to disk and us a wake-up, whether it is for one outcome or
for hundreds.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from turnout.shared import log, names, outcome
from turnout.shared.backoff import Backoff
from turnout.shared.publisher import Confirm, Publisher, Verdict

logger = log.get(__name__)

#: A message is closed when its outcomes reach this many bytes.
_MOST_BYTES = 1024 * 1024


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
        self._waiting: list[tuple[bytes, Reported]] = []
        self._backoff = Backoff()

    def add(self, packed: bytes, about: Reported) -> None:
        """Publish an outcome with the others of this turn, until the broker has it.

        Args:
            packed: see `outcome.pack`.
            about: told when it is confirmed.
        """
        if not self._waiting:
            self._loop.call_soon(self._write)
        self._waiting.append((packed, about))

    def mention(self, packed: Sequence[bytes]) -> None:
        """Publish outcomes that nothing depends on, once."""
        if packed:
            self._publisher.publish(names.OUTCOMES, "", outcome.join(packed), kind=outcome.TYPE)

    def _write(self) -> None:
        waiting, self._waiting = self._waiting, []
        batch: list[tuple[bytes, Reported]] = []
        size = 0
        for each in waiting:
            if batch and size + len(each[0]) > _MOST_BYTES:
                self._publish(batch)
                batch, size = [], 0
            batch.append(each)
            size += len(each[0])
        self._publish(batch)

    def _publish(self, batch: Sequence[tuple[bytes, Reported]]) -> None:
        body = outcome.join([packed for packed, _ in batch])
        published = self._publisher.publish(names.OUTCOMES, "", body, kind=outcome.TYPE)
        published.add_done_callback(partial(self._ended, batch))

    def _ended(
        self, batch: Sequence[tuple[bytes, Reported]], published: asyncio.Future[Confirm]
    ) -> None:
        confirm = published.result()
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
