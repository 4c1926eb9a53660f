"""Intake: what comes into one of the router's queues is kept in SQL, and then acknowledged.

    delivery ──▶ waits ──▶ some hundred of them ──▶ one transaction ──▶ ack

A router that dies between the last two gets them again, so to keep one twice changes nothing.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from turnout.router.consumer import consuming
from turnout.router.database import DatabaseUnavailable
from turnout.router.link import Links
from turnout.shared import log
from turnout.shared.amqp import Delivery
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
    async with consuming(links, queue, _PREFETCH) as consumer:
        while True:
            deliveries = await consumer.take()
            await keep(deliveries)
            consumer.ack(deliveries[-1].tag, multiple=True)
            backoff.reset()
