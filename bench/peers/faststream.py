"""FastAPI + FastStream: a quorum queue and persistent messages; confirms are its default.

https://faststream.ag2.ai/latest/getting-started/integrations/fastapi/
https://faststream.ag2.ai/latest/rabbit/publishing/
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

from bench.peers.caller import AMQP_URL, QUEUE, Caller
from fastapi import FastAPI
from faststream.rabbit import QueueType, RabbitBroker, RabbitQueue

broker = RabbitBroker(AMQP_URL, logger=None)


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with broker:
        await broker.start()
        await broker.declare_queue(RabbitQueue(QUEUE, queue_type=QueueType.QUORUM, durable=True))
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/call", status_code=202)
async def call(payload: dict[str, Any], _: Caller) -> dict[str, str]:
    event_id = str(uuid4())
    await broker.publish(payload, QUEUE, persist=True, message_id=event_id)
    return {"event_id": event_id, "status": "accepted"}
