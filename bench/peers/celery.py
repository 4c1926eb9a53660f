"""FastAPI + Celery: a quorum queue and confirms.

Celery's own words on both:
https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/rabbitmq.html#using-quorum-queues
Its `apply_async` blocks, so the endpoint is a plain function, which FastAPI runs in its threads.
"""

from typing import Any

from bench.peers.caller import AMQP_URL, QUEUE, Caller
from celery import Celery
from fastapi import FastAPI

tasks = Celery("bench", broker=AMQP_URL)
tasks.conf.task_default_queue = QUEUE
tasks.conf.task_default_queue_type = "quorum"
tasks.conf.broker_transport_options = {"confirm_publish": True}
tasks.conf.task_ignore_result = True

app = FastAPI()


@tasks.task
def run(payload: dict[str, Any]) -> None:
    """Do nothing."""


@app.post("/call", status_code=202)
def call(payload: dict[str, Any], _: Caller) -> dict[str, str]:
    return {"event_id": run.apply_async((payload,)).id, "status": "accepted"}
