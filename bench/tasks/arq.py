"""arq: over Redis, not RabbitMQ. A job stays in its queue until it is done ("pessimistic").

    python -m bench.tasks.arq fill TASK NUMBER
    python -m bench.tasks.arq stream TASK RATE SECONDS

https://arq-docs.helpmanuals.io/#pessimistic-execution

It has an environment of its own, `bench/.venv-arq`, since it needs an older redis-py.
"""

import asyncio
import json
import os
import sys
import time
import uuid
from typing import Any

from arq import create_pool
from arq.connections import ArqRedis, RedisSettings
from arq.constants import job_key_prefix
from arq.jobs import serialize_job
from bench import tally

QUEUE = os.environ["PEER_QUEUE"]
REDIS = RedisSettings.from_dsn(os.environ["PEER_REDIS_URL"])

_TOGETHER = 500
_TICK = 0.001
_LIFETIME = 86_400_000  # milliseconds


async def empty(context: dict[str, Any], at: int, payload: dict[str, Any]) -> None:
    note(1)


async def pause(context: dict[str, Any], at: int, payload: dict[str, Any]) -> None:
    await asyncio.sleep(0.005)
    note(1)


async def timed(context: dict[str, Any], at: int, payload: dict[str, Any]) -> None:
    note(max(1, (time.time_ns() - at) // 1000))


class WorkerSettings:
    """What `arq` runs."""

    functions = (empty, pause, timed)
    redis_settings = REDIS
    queue_name = QUEUE
    max_jobs = 1000
    keep_result = 0


async def enqueue(redis: ArqRedis, task: str, moments: list[int]) -> None:
    """Do what `enqueue_job` does, for many jobs in one round trip."""
    payload = json.loads(os.environ["BENCH_BODY"])
    async with redis.pipeline(transaction=False) as pipe:
        for at in moments:
            job_id = uuid.uuid4().hex
            milliseconds = at // 1_000_000
            job = serialize_job(task, (at, payload), {}, None, milliseconds)
            pipe.psetex(job_key_prefix + job_id, _LIFETIME, job)
            pipe.zadd(QUEUE, {job_id: milliseconds})
        await pipe.execute()


async def fill(task: str, number: int) -> None:
    redis = await create_pool(REDIS)
    for begin in range(0, number, _TOGETHER):
        some = min(_TOGETHER, number - begin)
        await enqueue(redis, task, [time.time_ns() for _ in range(some)])
    await redis.aclose()


async def stream(task: str, rate: float, seconds: float) -> None:
    redis = await create_pool(REDIS)
    began = time.time_ns()
    sent, total = 0, int(rate * seconds)
    while sent < total:
        due = min(total, int((time.time_ns() - began) / 1e9 * rate) + 1)
        if due > sent:
            moments = [began + int(number / rate * 1e9) for number in range(sent, due)]
            await enqueue(redis, task, moments)
        sent = due
        await asyncio.sleep(_TICK)
    await redis.aclose()


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["fill", task, number]:
            asyncio.run(fill(task, int(number)))
        case ["stream", task, rate, seconds]:
            asyncio.run(stream(task, float(rate), float(seconds)))
else:
    note = tally.writer()
