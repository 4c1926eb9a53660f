"""The consumer of one partition of an ordered flow: one message at a time, and no overtaking.

Each partition has a single active consumer; the others wait. RabbitMQ activates the next one as
soon as the first is cancelled, even while that has a message in progress. So this one is cancelled
only when its run has ended; when a worker stops, it ends with its channel, after the run.
"""

import asyncio
from collections.abc import Callable

from turnout.shared.amqp import Delivery
from turnout.shared.errors import BrokerError
from turnout.workers.consumer import Consumer


class Partition(Consumer):
    """Takes the next message when the one before is settled."""

    def __init__(
        self,
        queue: str,
        take: Callable[[Consumer, Delivery], None],
        lost: Callable[[Consumer], None],
    ) -> None:
        super().__init__(queue, take, lost)
        self._idle = asyncio.Event()
        self._idle.set()
        self._kept: int | None = None  # it came when none was wanted any more

    async def stop(self) -> None:
        """Take no further message ever."""
        self._stopped, self.prefetch = True, 0

    def on_delivery(self, delivery: Delivery) -> None:
        """Hand it on; one that comes when none is wanted goes back with the cancellation."""
        if self.prefetch:
            self._idle.clear()
            super().on_delivery(delivery)
        else:
            self._kept = delivery.tag

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

    async def _cancel(self) -> None:
        await self._idle.wait()
        await super()._cancel()
        if self._kept is not None:
            self.give_back(self._kept)
            self._kept = None
