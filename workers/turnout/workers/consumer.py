"""The consumer: one channel that takes the messages of one flow's queue."""

import asyncio
from collections.abc import Callable

from pamqp import commands

from turnout.shared.amqp import Channel, Delivery, Link
from turnout.shared.errors import BrokerError

#: Names the consumer on its channel, of which it is the only one.
_TAG = "turnout"


class Consumer(Channel):
    """Takes messages and hands each to `take`, which returns at once and starts no user code.

    Attributes:
        stopped: no run may start any more, for one reason or another.
        ended: resolved with the reason when no further message will come.
        closed: resolved with the reason when the channel is gone. What was not acknowledged by
            then is the broker's again.
    """

    def __init__(
        self, queue: str, prefetch: int, take: Callable[["Consumer", Delivery], None]
    ) -> None:
        super().__init__()
        loop = asyncio.get_running_loop()
        self.queue = queue
        self.stopped = False
        self.ended: asyncio.Future[BrokerError] = loop.create_future()
        self.closed: asyncio.Future[BrokerError] = loop.create_future()
        self._prefetch = prefetch
        self._take = take

    async def start(self, link: Link) -> None:
        """Begin to consume.

        Raises:
            ChannelRefused: the broker refuses, with 404 if there is no such queue.
            BrokerError: the connection is gone.
        """
        await link.open(self)
        await self.call(commands.Basic.Qos(prefetch_count=self._prefetch), commands.Basic.QosOk)
        await self.call(
            commands.Basic.Consume(queue=self.queue, consumer_tag=_TAG), commands.Basic.ConsumeOk
        )

    async def stop(self) -> None:
        """Take no further message; those that run can still be acknowledged.

        Raises:
            BrokerError: the connection is gone.
        """
        self.stopped = True
        await self.call(commands.Basic.Cancel(consumer_tag=_TAG), commands.Basic.CancelOk)

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge, unless the channel is gone: its number may be another one's by now."""
        if not self.closed.done():
            super().ack(tag, multiple=multiple)

    def reject(self, tag: int, *, requeue: bool) -> None:
        """Refuse, unless the channel is gone."""
        if not self.closed.done():
            super().reject(tag, requeue=requeue)

    def on_delivery(self, delivery: Delivery) -> None:
        """Hand it on; one that comes after `stop` goes back when the channel is closed."""
        if not self.stopped:
            self._take(self, delivery)

    def on_cancel(self, consumer_tag: str) -> None:
        """Note that the queue is gone; runs in progress go on."""
        self._end(BrokerError(f"the queue {self.queue} was deleted"))

    def on_closed(self, reason: BrokerError) -> None:
        """Note that the channel is gone."""
        self.stopped = True
        self._end(reason)
        self.closed.set_result(reason)

    def _end(self, reason: BrokerError) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)
