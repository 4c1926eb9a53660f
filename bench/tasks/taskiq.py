"""Taskiq: acknowledged when executed, a quorum queue, which is its default.

https://taskiq-python.github.io/guide/message-acknowledgement.html
https://github.com/taskiq-python/taskiq-aio-pika
"""

import asyncio
import time
from typing import Any

from bench import tally
from bench.tasks.peer import AMQP_URL, QUEUE, produce
from taskiq_aio_pika import AioPikaBroker, Queue

_PREFETCH = 1000

broker = AioPikaBroker(AMQP_URL, task_queues=[Queue(name=QUEUE)], qos=_PREFETCH)

note = tally.writer()


@broker.task(task_name="empty")
async def empty(at: int, payload: dict[str, Any]) -> None:
    note(1)


@broker.task(task_name="pause")
async def pause(at: int, payload: dict[str, Any]) -> None:
    await asyncio.sleep(0.005)
    note(1)


@broker.task(task_name="timed")
async def timed(at: int, payload: dict[str, Any]) -> None:
    note(max(1, (time.time_ns() - at) // 1000))


async def _send(task: str, at: int, payload: dict[str, Any]) -> None:
    await broker.startup()
    found = broker.find_task(task)
    assert found is not None
    await found.kiq(at, payload)
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(produce(_send))
