"""Intake: what comes into one of the router's queues is kept in SQL, and then acknowledged.

    delivery ──▶ waits ──▶ some hundred of them ──▶ one transaction ──▶ ack

A router that dies between the last two gets them again, so to keep one twice changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from pamqp import commands

from turnout.router.database import DatabaseUnavailable
from turnout.router.link import Links
from turnout.shared import log
from turnout.shared.amqp import Channel, Delivery
from turnout.shared.backoff import Backoff
from turnout.shared.errors import BrokerError

logger = log.get(__name__)

#: Messages that may wait here. Of 8 MiB each at most, so no more.
_PREFETCH = 100

Keep = Callable[[Sequence[Delivery]], Awaitable[None]]


async def run(links: Links, queue: str, keep: Keep) -> None:
    """Keep what comes into a queue, for ever.

    Args:
        links: the connection to the broker.
        queue: name of the queue.
        keep: writes deliveries; to write one again changes nothing.
    """
    backoff = Backoff(0.2, 5.0)
    told = ""
    while True:
        try:
            await _take(links, queue, keep, backoff)
        except (BrokerError, DatabaseUnavailable) as error:
            if str(error) != told:  # else each attempt of an outage would say it again
                told = str(error)
                logger.warning("intake waits", queue=queue, reason=told)
        await asyncio.sleep(backoff.delay())


async def _take(links: Links, queue: str, keep: Keep, backoff: Backoff) -> None:
    consumer = _Consumer()
    await (await links.connected()).open(consumer)
    try:
        await consumer.call(commands.Basic.Qos(prefetch_count=_PREFETCH), commands.Basic.QosOk)
        await consumer.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
        while True:
            deliveries = await consumer.take()
            await keep(deliveries)
            consumer.ack(deliveries[-1].tag, multiple=True)
            backoff.reset()
    finally:
        await consumer.leave()


class _Consumer(Channel):
    """Collects deliveries until somebody takes them."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: list[Delivery] = []
        self._some = asyncio.Event()
        self._reason: BrokerError | None = None

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
        self._waiting.append(delivery)
        self._some.set()

    def on_cancel(self, consumer_tag: str) -> None:
        self._end(BrokerError("the queue was deleted"))

    def on_closed(self, reason: BrokerError) -> None:
        self._end(reason)

    def _end(self, reason: BrokerError) -> None:
        self._reason = self._reason or reason
        self._some.set()
