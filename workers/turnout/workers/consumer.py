"""The consumer: one channel that takes the messages of one flow's queue.

Acknowledgements of one turn of the event loop leave together. Where they join up with all that was
acknowledged before, one frame says so for many ("multiple"): that costs RabbitMQ an eighth.

    tags   1 2 3 4 5 6 7 8        settled in this turn: 3 4 5 8
           ✓ ✓ ● ● ● · · ●        sent: ack 5 and all before it, ack 8
"""

import asyncio
from collections.abc import Callable

from pamqp import commands

from turnout.shared.amqp import Channel, Delivery, Link
from turnout.shared.errors import BrokerError


class Consumer(Channel):
    """Takes messages and hands each to `take`, which returns at once and starts no user code.

    Args:
        queue: whose messages are taken.
        take: called with this consumer and each delivery.
        lost: called with this consumer when the channel is gone.

    Attributes:
        prefetch: how many messages may be here, unacknowledged; 0: it takes none.
        ended: resolved with the reason when no further message will come.
        closed: resolved with the reason when the channel is gone. What was not acknowledged by
            then is the broker's again.
    """

    def __init__(
        self,
        queue: str,
        take: Callable[["Consumer", Delivery], None],
        lost: Callable[["Consumer"], None],
    ) -> None:
        super().__init__()
        self._loop = asyncio.get_running_loop()
        self.queue = queue
        self.ended: asyncio.Future[BrokerError] = self._loop.create_future()
        self.closed: asyncio.Future[BrokerError] = self._loop.create_future()
        self._take = take
        self._lost = lost
        self.prefetch = 0
        self._stopped = False
        self._times = 0  # it began to consume
        self._tags: list[str] = []  # with these it consumes now
        self._settled: list[int] = []  # in this turn
        self._complete = 0  # this tag and all before it are settled
        self._ahead: set[int] = set()  # those beyond it that are

    async def start(self, link: Link, prefetch: int) -> None:
        """Begin to consume.

        Args:
            link: to the broker.
            prefetch: how many messages may be here, unacknowledged; 0: none for now.

        Raises:
            ChannelRefused: the broker refuses, with 404 if there is no such queue.
            BrokerError: the connection is gone.
        """
        await link.open(self)
        await self.limit(prefetch)

    async def limit(self, prefetch: int) -> None:
        """Change how many messages may be here; with 0 none comes until the next change.

        RabbitMQ fixes that for a consumer when it begins, and quorum queues know no limit for a
        whole channel. So for more a further consumer begins beside the first, with the difference,
        and for less all end and one begins anew. A tag is used once: a consumer with that of an
        earlier one, whose messages are not all acknowledged, would have that one's limit.

        Raises:
            BrokerError: the connection is gone.
        """
        if self._stopped or prefetch == self.prefetch or self.ended.done():
            return
        before, self.prefetch = self.prefetch, prefetch
        if prefetch < before:
            await self._cancel()
            before = 0
        qos = commands.Basic.Qos(prefetch_count=prefetch - before)
        await self.call(qos, commands.Basic.QosOk)
        if self.prefetch:  # it may have been stopped meanwhile
            self._times += 1
            tag = str(self._times)
            self._tags.append(tag)
            consume = commands.Basic.Consume(queue=self.queue, consumer_tag=tag)
            await self.call(consume, commands.Basic.ConsumeOk)

    async def stop(self) -> None:
        """Take no further message ever; those that run can still be acknowledged.

        Raises:
            BrokerError: the connection is gone.
        """
        self._stopped, self.prefetch = True, 0
        await self._cancel()

    def settle(self, tag: int) -> None:
        """Acknowledge a delivery, with all others of this turn."""
        if not self._settled:
            self._loop.call_soon(self._acknowledge)
        self._settled.append(tag)

    def give_back(self, tag: int) -> None:
        """Put a delivery back into its queue, unless the broker has it anyway."""
        if not self.closed.done():
            self.reject(tag, requeue=True)
            self._ahead.add(tag)

    def on_delivery(self, delivery: Delivery) -> None:
        """Hand it on; one that comes when none is wanted any more goes back."""
        if self.prefetch:
            self._take(self, delivery)
        else:
            self.give_back(delivery.tag)

    def on_cancel(self, consumer_tag: str) -> None:
        """Note that the queue is gone; runs in progress go on."""
        self._end(BrokerError(f"the queue {self.queue} was deleted"))

    def on_closed(self, reason: BrokerError) -> None:
        """Note that the channel is gone."""
        self._stopped = True
        self._end(reason)
        self.closed.set_result(reason)
        self._lost(self)

    async def _cancel(self) -> None:
        tags, self._tags = self._tags, []
        for tag in tags:
            cancel = commands.Basic.Cancel(consumer_tag=tag)
            await self.call(cancel, commands.Basic.CancelOk)

    def _acknowledge(self) -> None:
        tags, self._settled = self._settled, []
        if self.closed.done():  # its number may be another channel's by now
            return
        before = self._skip(self._complete)
        complete = before
        # A tag that was acknowledged before must not be named again, not even with "multiple".
        last = 0
        for tag in sorted(tags):
            if tag == complete + 1:
                last = tag
                complete = self._skip(tag)
            else:
                self._ahead.add(tag)
                self.ack(tag)
        if last:
            self.ack(last, multiple=True)
        self._complete = complete

    def _skip(self, tag: int) -> int:
        """Return the tag up to which all are settled, given that all up to `tag` are."""
        while tag + 1 in self._ahead:
            tag += 1
            self._ahead.remove(tag)
        return tag

    def _end(self, reason: BrokerError) -> None:
        if not self.ended.done():
            self.ended.set_result(reason)
