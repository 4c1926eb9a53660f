"""FastStream: acknowledged when done, back into its quorum queue on an error.

https://faststream.ag2.ai/latest/rabbit/ack/
https://faststream.ag2.ai/latest/rabbit/declare/
"""

import asyncio
import time
from typing import Any

from bench import tally
from bench.tasks.peer import AMQP_URL, QUEUE, produce
from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, QueueType, RabbitBroker, RabbitQueue

_PREFETCH = 1000

broker = RabbitBroker(AMQP_URL, logger=None, default_channel=Channel(prefetch_count=_PREFETCH))
app = FastStream(broker)

note = tally.writer()


def _queue(task: str) -> RabbitQueue:
    return RabbitQueue(f"{QUEUE}.{task}", queue_type=QueueType.QUORUM, durable=True)


@broker.subscriber(_queue("empty"), ack_policy=AckPolicy.NACK_ON_ERROR)
async def empty(at: int, payload: dict[str, Any]) -> None:
    note(1)


@broker.subscriber(_queue("pause"), ack_policy=AckPolicy.NACK_ON_ERROR)
async def pause(at: int, payload: dict[str, Any]) -> None:
    await asyncio.sleep(0.005)
    note(1)


@broker.subscriber(_queue("timed"), ack_policy=AckPolicy.NACK_ON_ERROR)
async def timed(at: int, payload: dict[str, Any]) -> None:
    note(max(1, (time.time_ns() - at) // 1000))


async def _send(task: str, at: int, payload: dict[str, Any]) -> None:
    async with broker:
        await broker.connect()
        await broker.declare_queue(_queue(task))
        await broker.publish({"at": at, "payload": payload}, _queue(task), persist=True)


if __name__ == "__main__":
    asyncio.run(produce(_send))
