"""Our AMQP link against aiormq: what one confirmed publish and one delivery cost this process.

    bench/link.py [AMQP_URL]

Both publish the same persistent, mandatory messages to a quorum queue from 200 concurrent callers,
then consume them with a prefetch of 1000 and an acknowledgement for each hundred. CPU is that of
this process alone, so it does not depend on how busy the broker is.
"""

import asyncio
import sys
import time
from collections.abc import Awaitable, Callable

import aiormq
import uvloop
from pamqp import commands

from turnout.shared.amqp import Channel, Delivery, Link
from turnout.shared.publisher import ACCEPTED, Publisher

QUEUE = "bench.link"
CALLERS = 200
BODY = b"x" * 500


async def spread(number: int, call: Callable[[], Awaitable[None]]) -> None:
    """Make `number` calls from `CALLERS` concurrent callers."""

    async def caller() -> None:
        for _ in range(number // CALLERS):
            await call()

    await asyncio.gather(*(caller() for _ in range(CALLERS)))


async def measured(what: str, number: int, work: Awaitable[None]) -> float:
    """Run `work`, print and return the microseconds of CPU of each of `number` messages."""
    began, used = time.perf_counter(), time.process_time()
    await work
    seconds, cpu = time.perf_counter() - began, time.process_time() - used
    print(f"{what:<28}{number / seconds:>10,.0f}/s{cpu / number * 1e6:>10.1f} µs CPU each")
    return cpu / number


class Counter(Channel):
    """Counts and acknowledges."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.left = number
        self.done = asyncio.Event()

    def on_delivery(self, delivery: Delivery) -> None:
        self.left -= 1
        if self.left % 100 == 0:
            self.ack(delivery.tag, multiple=True)
        if not self.left:
            self.done.set()


async def with_link(url: str, number: int) -> tuple[float, float]:
    publisher = Publisher([url], name="bench")
    await publisher.start()
    await publisher.ready()

    async def publish() -> None:
        if await publisher.publish("", QUEUE, BODY, kind="bench") is not ACCEPTED:
            raise SystemExit("a publish was not accepted")

    sent = await measured("link: publish", number, spread(number, publish))
    await publisher.close()

    link = await Link.connect(url, name="bench")
    counter = Counter(number)
    await link.open(counter)
    await counter.call(commands.Basic.Qos(prefetch_count=1000), commands.Basic.QosOk)

    async def consume() -> None:
        await counter.call(commands.Basic.Consume(queue=QUEUE), commands.Basic.ConsumeOk)
        await counter.done.wait()

    received = await measured("link: consume", number, consume())
    await link.close()
    return sent, received


async def with_aiormq(url: str, number: int) -> tuple[float, float]:
    connection = await aiormq.connect(url)
    channel = await connection.channel()

    async def publish() -> None:
        await channel.basic_publish(
            BODY,
            routing_key=QUEUE,
            mandatory=True,
            properties=commands.Basic.Properties(delivery_mode=2),
            wait=False,
        )

    sent = await measured("aiormq: publish", number, spread(number, publish))
    await channel.basic_qos(prefetch_count=1000)
    left = number
    done = asyncio.Event()

    async def received_one(message: aiormq.abc.DeliveredMessage) -> None:
        nonlocal left
        left -= 1
        if left % 100 == 0:
            await channel.basic_ack(message.delivery.delivery_tag, multiple=True, wait=False)
        if not left:
            done.set()

    async def consume() -> None:
        await channel.basic_consume(QUEUE, received_one)
        await done.wait()

    received = await measured("aiormq: consume", number, consume())
    await connection.close()
    return sent, received


async def main(url: str) -> None:
    link = await Link.connect(url, name="bench")
    channel = Channel()
    await link.open(channel)
    await channel.call(
        commands.Queue.Declare(queue=QUEUE, durable=True, arguments={"x-queue-type": "quorum"}),
        commands.Queue.DeclareOk,
    )
    try:
        theirs = await with_aiormq(url, 20_000)
        ours = await with_link(url, 100_000)
        print(
            f"CPU, aiormq / link: publish {theirs[0] / ours[0]:.1f}, "
            f"consume {theirs[1] / ours[1]:.1f}"
        )
    finally:
        await channel.call(commands.Queue.Delete(queue=QUEUE), commands.Queue.DeleteOk)
        await link.close()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1] if len(sys.argv) > 1 else "amqp://127.0.0.1/"))
