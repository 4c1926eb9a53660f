"""Dramatiq: acknowledged when done, as always; classic durable queues, since it declares no other.

https://dramatiq.io/reference.html#dramatiq.brokers.rabbitmq.RabbitmqBroker
https://dramatiq.io/guide.html#workers: 8 threads, its default; greenlets for I/O (dramatiq-gevent)
"""

import time
from typing import Any

import dramatiq
from bench import tally
from bench.tasks.peer import AMQP_URL, QUEUE, produce
from dramatiq.brokers.rabbitmq import RabbitmqBroker

broker = RabbitmqBroker(url=AMQP_URL, confirm_delivery=True)
dramatiq.set_broker(broker)

note = tally.writer()


@dramatiq.actor(queue_name=QUEUE)
def empty(at: int, payload: dict[str, Any]) -> None:
    note(1)


@dramatiq.actor(queue_name=QUEUE)
def pause(at: int, payload: dict[str, Any]) -> None:
    time.sleep(0.005)
    note(1)


@dramatiq.actor(queue_name=QUEUE)
def timed(at: int, payload: dict[str, Any]) -> None:
    note(max(1, (time.time_ns() - at) // 1000))


if __name__ == "__main__":
    produce(lambda task, *arguments: broker.get_actor(task).send(*arguments))
