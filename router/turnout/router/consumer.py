"""A consumer of one queue: what comes is collected until somebody takes it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pamqp import commands

from turnout.router.link import Links
from turnout.shared.amqp import Channel, Delivery
from turnout.shared.errors import BrokerError


@asynccontextmanager
async def consuming(links: Links, queue: str, prefetch: int) -> AsyncIterator["Consumer"]:
    """Consume a queue for the length of a context; what is not acknowledged then goes back.

    Raises:
        BrokerError: the broker cannot be reached, or there is no such queue.
    """
    consumer = Consumer()
    await (await links.connected()).open(consumer)
    try:
        await consumer.begin(queue, prefetch)
        yield consumer
    finally:
        await consumer.leave()


class Consumer(Channel):
    """Collects deliveries until somebody takes them."""

    def __init__(self) -> None:
        super().__init__()
        self._tags: list[str] = []
        self._came = 0
        self._waiting: list[Delivery] = []
        self._some = asyncio.Event()
        self._reason: BrokerError | None = None

    async def begin(self, queue: str, prefetch: int) -> None:
        """Have the broker deliver what is in a queue; once more: so much more of it.

        Args:
            queue: its name.
            prefetch: how many of these messages may be here, unacknowledged.

        Raises:
            BrokerError: there is no such queue.
        """
        await self.call(commands.Basic.Qos(prefetch_count=prefetch), commands.Basic.QosOk)
        answer = await self.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
        self._tags.append(answer.consumer_tag or "")

    async def cease(self) -> int:
        """Let nothing more come, and return how many deliveries came, taken or not.

        Raises:
            BrokerError: the broker has ended it before.
        """
        for tag in self._tags:
            await self.call(commands.Basic.Cancel(consumer_tag=tag), commands.Basic.CancelOk)
        return self._came

    async def take(self) -> list[Delivery]:
        """Wait for something, and return all that is there.

        Raises:
            BrokerError: nothing will come any more.
        """
        await self._some.wait()
        if self._reason is not None:
            raise self._reason
        taken, self._waiting = self._waiting, []
        self._some.clear()
        return taken

    async def leave(self) -> None:
        """Close the channel, if that was not done by the broker."""
        if self._reason is None:
            await self.close()

    def on_delivery(self, delivery: Delivery) -> None:
        """Keep it until somebody takes it."""
        self._came += 1
        self._waiting.append(delivery)
        self._some.set()

    def on_cancel(self, consumer_tag: str) -> None:
        """Note that nothing more comes."""
        self._end(BrokerError("the queue was deleted"))

    def on_closed(self, reason: BrokerError) -> None:
        """Note that nothing more comes."""
        self._end(reason)

    def _end(self, reason: BrokerError) -> None:
        self._reason = self._reason or reason
        self._some.set()
