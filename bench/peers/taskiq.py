"""FastAPI + Taskiq: a quorum queue, which is its default; confirms are that of aio-pika's.

https://taskiq-python.github.io/framework_integrations/taskiq-with-fastapi.html
https://github.com/taskiq-python/taskiq-aio-pika
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from bench.peers.caller import AMQP_URL, QUEUE, Caller
from fastapi import FastAPI
from taskiq_aio_pika import AioPikaBroker, Queue

broker = AioPikaBroker(AMQP_URL, task_queues=[Queue(name=QUEUE)])


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    await broker.startup()
    yield
    await broker.shutdown()


app = FastAPI(lifespan=lifespan)


@broker.task
async def run(payload: dict[str, Any]) -> None:
    """Do nothing."""


@app.post("/call", status_code=202)
async def call(payload: dict[str, Any], _: Caller) -> dict[str, str]:
    return {"event_id": (await run.kiq(payload)).task_id, "status": "accepted"}
