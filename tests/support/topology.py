"""What tests declare at the broker, and read from it, without the router."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from pamqp import commands

from turnout.router.declare import declare
from turnout.router.topology import Binding, Exchange, Queue, Topology
from turnout.shared.amqp import Channel, Delivery, Link

QUORUM = {"x-queue-type": "quorum"}


@asynccontextmanager
async def linked(url: str) -> AsyncIterator[Link]:
    """Connect for the length of a context."""
    link = await Link.connect(url, name="test")
    try:
        yield link
    finally:
        await link.close()


async def declare_route(url: str, exchange: str, queue: str, routing_key: str = "") -> None:
    """Declare a direct exchange, a quorum queue and the binding between them."""
    async with linked(url) as link:
        await declare(
            link,
            Topology(
                frozenset([Exchange(exchange, "direct")]),
                frozenset([Queue(queue, QUORUM)]),
                frozenset([Binding(exchange, queue, routing_key)]),
            ),
        )


async def ready_messages(url: str, queue: str) -> int:
    """Count the messages of a queue that no consumer has."""
    async with linked(url) as link:
        channel = Channel()
        await link.open(channel)
        answer = await channel.call(
            commands.Queue.Declare(queue=queue, passive=True), commands.Queue.DeclareOk
        )
        return answer.message_count or 0


class Collector(Channel):
    """A consumer that keeps what it gets."""

    def __init__(self) -> None:
        super().__init__()
        self.deliveries: list[Delivery] = []

    def on_delivery(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)


@asynccontextmanager
async def collecting(url: str, queue: str, *, stream: bool = False) -> AsyncIterator[Collector]:
    """Consume a queue, or a stream from its first message, for the length of a context.

    Nothing is acknowledged, so a queue has all its messages back afterwards.
    """
    async with linked(url) as link:
        collector = Collector()
        await link.open(collector)
        await collector.call(commands.Basic.Qos(prefetch_count=50_000), commands.Basic.QosOk)
        await collector.call(
            commands.Basic.Consume(
                queue=queue, arguments={"x-stream-offset": "first"} if stream else None
            ),
            commands.Basic.ConsumeOk,
        )
        yield collector
