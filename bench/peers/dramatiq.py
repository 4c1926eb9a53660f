"""FastAPI + Dramatiq: confirms, and classic durable queues, since it declares no other kind.

https://dramatiq.io/reference.html#dramatiq.brokers.rabbitmq.RabbitmqBroker
Its `send` blocks, so the endpoint is a plain function, which FastAPI runs in its threads.
"""

from typing import Any

import dramatiq
from bench.peers.caller import AMQP_URL, QUEUE, Caller
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from fastapi import FastAPI

dramatiq.set_broker(RabbitmqBroker(url=AMQP_URL, confirm_delivery=True))

app = FastAPI()


@dramatiq.actor(queue_name=QUEUE)
def run(payload: dict[str, Any]) -> None:
    """Do nothing."""


@app.post("/call", status_code=202)
def call(payload: dict[str, Any], _: Caller) -> dict[str, str]:
    return {"event_id": run.send(payload).message_id, "status": "accepted"}
