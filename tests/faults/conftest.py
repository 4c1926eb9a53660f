"""A running system with two ingresses, on a broker and a cache that are ours to kill."""

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from tests.support.brokers import Broker
from tests.support.sender import Sender
from tests.support.system import Key, System, Trigger, stoppable_rabbitmq, stoppable_redis

from turnout.router.nodes.rabbitmq import RabbitMQ
from turnout.router.nodes.redis import Redis

#: Seconds in which a call is answered without the broker's confirmation.
PUBLISH_DEADLINE = 2.0

#: RabbitMQ forgets a quorum queue that was declared in the last instant before a crash.
_SETTLING = 5.0


class Stage(NamedTuple):
    """All that can be killed."""

    system: System
    broker: RabbitMQ
    cache: Redis
    redis_url: str
    key: Key
    trigger: Trigger

    def sender(self, rate: int = 300) -> Sender:
        """Make a sender that has both ingresses."""
        urls = [each.url + self.trigger.path for each in self.system.ingresses]
        return Sender(urls, self.key, rate=rate)


@pytest.fixture(scope="package")
def rabbitmq(rabbitmq: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with stoppable_rabbitmq(rabbitmq, tmp_path_factory.mktemp("rabbitmq")) as broker:
        yield broker


@pytest.fixture(scope="package")
def redis_server(
    redis_server: str | Redis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Redis]:
    with stoppable_redis(redis_server, tmp_path_factory.mktemp("redis")) as node:
        yield node


@pytest.fixture(scope="module")
def running(
    tmp_path_factory: pytest.TempPathFactory,
    rabbitmq: Broker,
    amqp_url: str,
    redis_server: Redis,
    redis_url: str,
) -> Iterator[Stage]:
    assert rabbitmq.node is not None
    system = System(
        tmp_path_factory.mktemp("system"),
        broker=rabbitmq,
        amqp_url=amqp_url,
        redis_url=redis_url,
        settings={"TURNOUT_PUBLISH_DEADLINE": str(PUBLISH_DEADLINE)},
    )
    with system:
        yield asyncio.run(_started(system, rabbitmq.node, redis_server, redis_url))
    assert system.told_secrets() == []


@pytest.fixture
def stage(running: Stage) -> Stage:
    """The stage, with all that an earlier test left dead or frozen running again."""
    asyncio.run(_revived(running))
    return running


async def _started(system: System, broker: RabbitMQ, cache: Redis, redis_url: str) -> Stage:
    system.add_ingress()
    system.add_ingress("--processes", "2")
    for _ in range(2):
        system.add_worker("ledger")
    await system.start()
    await system.registered("shop/ledger")
    key = await system.make_key("shop", "till")
    trigger = await system.make_trigger("shop/ledger")
    await asyncio.sleep(_SETTLING)
    return Stage(system, broker, cache, redis_url, key, trigger)


async def _revived(stage: Stage) -> None:
    for node in (stage.broker, stage.cache):
        if not node.is_running:
            node.start()
        node.resume()
        await asyncio.to_thread(node.wait_ready)
    for worker in stage.system.workers:
        if not worker.is_running:
            worker.start()
    for service in (stage.system.router, *stage.system.ingresses):
        if not service.command.is_running:
            service.command.start()
        await service.ready()
