"""The consumer of one partition of an ordered flow: one message at a time, and no overtaking.

Each partition has a single active consumer; the others wait in a line. RabbitMQ activates the next
one as soon as the first is cancelled, even while that has a message. When its channel is closed,
that message goes back first, to where it was. So a partition is left with its channel, and only
when its run has ended:

    waits in line ──a message comes──▶ active ⇄ run in progress
          ▲                              │
          └──────── `GivenUp`, anew ─────┘   paused, no share, or another worker's turn (`spread`)
"""

import asyncio
import contextlib
from collections.abc import Callable

from turnout.shared.amqp import Delivery
from turnout.shared.errors import BrokerError
from turnout.workers.consumer import Consumer


class GivenUp(BrokerError):
    """The partition is left to another worker."""


class Partition(Consumer):
    """Takes the next message when the one before is settled.

    Attributes:
        is_active: messages come to it, not to another worker.
    """

    def __init__(
        self,
        queue: str,
        take: Callable[[Consumer, Delivery], None],
        lost: Callable[[Consumer], None],
    ) -> None:
        super().__init__(queue, take, lost)
        self.is_active = False
        self._idle = asyncio.Event()
        self._idle.set()
        self._leaving: asyncio.Task[None] | None = None

    async def limit(self, prefetch: int) -> None:
        """Begin to consume; with 0, give the partition up when its run has ended.

        Raises:
            BrokerError: the connection is gone.
        """
        if prefetch or not self.prefetch:
            await super().limit(prefetch)
            return
        self.prefetch = 0
        await self._leave()

    async def stop(self) -> None:
        """Take no further message ever, and give the partition up when its run has ended."""
        self._stopped, self.prefetch = True, 0
        self._leaving = self._loop.create_task(self._leave(), name=f"leaving {self.queue}")

    def on_delivery(self, delivery: Delivery) -> None:
        """Hand it on; one that comes when none is wanted goes back with the channel."""
        self.is_active = True
        if self.prefetch:
            self._idle.clear()
            super().on_delivery(delivery)

    def settle(self, tag: int) -> None:
        """Acknowledge the delivery."""
        super().settle(tag)
        self._idle.set()

    def give_back(self, tag: int) -> None:
        """Put the delivery back into its queue: it is the next one again."""
        super().give_back(tag)
        self._idle.set()

    def on_closed(self, reason: BrokerError) -> None:
        """Note that the channel is gone."""
        super().on_closed(reason)
        self._idle.set()

    async def _leave(self) -> None:
        await self._idle.wait()
        self._end(GivenUp("the partition is left to another worker"))
        with contextlib.suppress(BrokerError):  # the connection is gone, and the channel with it
            await self.close()
