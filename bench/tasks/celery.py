"""Celery: late acknowledgement, a quorum queue, one child process; greenlets for I/O.

https://docs.celeryq.dev/en/stable/userguide/tasks.html#Task.acks_late
https://docs.celeryq.dev/en/stable/getting-started/backends-and-brokers/rabbitmq.html#using-quorum-queues
https://docs.celeryq.dev/en/stable/userguide/optimizing.html#prefetch-limits (of short tasks many)
https://docs.celeryq.dev/en/stable/userguide/concurrency/gevent.html

It has no `async def` tasks.
"""

import time
from typing import Any

from bench import tally
from bench.tasks.peer import AMQP_URL, QUEUE, produce
from celery import Celery

app = Celery("bench", broker=AMQP_URL)
app.conf.task_default_queue = QUEUE
app.conf.task_default_queue_type = "quorum"
app.conf.task_acks_late = True
app.conf.task_ignore_result = True
app.conf.broker_connection_retry_on_startup = True
# With heartbeats, its gevent worker waits for 0.1 s on a second connection after each message.
app.conf.broker_heartbeat = 0

note = tally.writer()


@app.task(name="empty")
def empty(at: int, payload: dict[str, Any]) -> None:
    note(1)


@app.task(name="pause")
def pause(at: int, payload: dict[str, Any]) -> None:
    time.sleep(0.005)
    note(1)


@app.task(name="timed")
def timed(at: int, payload: dict[str, Any]) -> None:
    note(max(1, (time.time_ns() - at) // 1000))


if __name__ == "__main__":
    produce(lambda task, *arguments: app.tasks[task].delay(*arguments))
