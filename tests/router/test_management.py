"""RabbitMQ's management API while the broker changes."""

import asyncio

from aiohttp import ClientSession
from tests.support.brokers import Broker
from tests.support.topology import linked

from turnout.router.declare import declare
from turnout.router.management import Management
from turnout.router.topology import Queue, Topology

STREAM = Queue("a stream", {"x-queue-type": "stream"})


async def test_a_broker_that_makes_streams_can_be_surveyed(
    rabbitmq: Broker, vhost: str, amqp_url: str
) -> None:
    async with ClientSession() as session, linked(amqp_url) as link:
        management = Management(session, rabbitmq.management_url, vhost)

        async def make_streams() -> None:
            for _ in range(15):
                await declare(link, Topology(queues=frozenset([STREAM])))
                await asyncio.to_thread(
                    rabbitmq.management.call, "DELETE", f"queues/{vhost}/a%20stream"
                )

        async with asyncio.TaskGroup() as group:
            making = group.create_task(make_streams())
            while not making.done():
                survey = await management.survey()
                assert survey.queues <= {STREAM}
