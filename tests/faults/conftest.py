"""A running system with two ingresses, on a broker and a cache that are ours to kill."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from typing import NamedTuple

import pytest
from tests.support.brokers import Broker
from tests.support.flows import ledger
from tests.support.proxy import Proxy
from tests.support.sender import Sender
from tests.support.system import Key, System, Trigger, stoppable_rabbitmq, stoppable_redis
from yarl import URL

from turnout.router.nodes import ports
from turnout.router.nodes.rabbitmq import RabbitMQ
from turnout.router.nodes.redis import Redis

#: Seconds in which a call is answered without the broker's confirmation.
PUBLISH_DEADLINE = 2.0

#: Of the flows for the ledger.
FLOWS = ("shop/ledger", "shop/ordered", "shop/stumbling", "shop/crashing")

#: RabbitMQ forgets a quorum queue that was declared in the last instant before a crash.
_SETTLING = 5.0


class Stage(NamedTuple):
    """All that can be killed."""

    system: System
    broker: RabbitMQ
    cache: Redis
    key: Key
    triggers: Mapping[str, Trigger]
    """By the address of the flow."""
    network: Proxy
    """Between the broker and those who are told so: see `worker_url`."""

    @property
    def trigger(self) -> Trigger:
        """That of most tests."""
        return self.triggers["shop/ledger"]

    def sender(self, rate: int = 300, flow: str = "shop/ledger") -> Sender:
        """Make a sender that has both ingresses."""
        path = self.triggers[flow].path
        urls = [each.url + path for each in self.system.ingresses]
        return Sender(urls, self.key, rate=rate)

    def runs(self, body: str) -> Counter[str]:
        """Count how often each event with a body has succeeded."""
        path = self.system.effects / ledger.FILE
        lines = path.read_text().splitlines() if path.exists() else []
        return Counter(
            line.split("\t")[0]
            for line in lines
            if f"\t{body}\t" in line and line.endswith(ledger.SUCCEEDED)
        )


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
def network_url(amqp_url: str) -> str:
    """The address of the broker through a network that can be cut."""
    return str(URL(amqp_url).with_port(ports.free_ports(1)[0]))


@pytest.fixture(scope="module")
def worker_url(amqp_url: str) -> str:
    """The address at which workers find the broker; a module that cuts it off overrides this."""
    return amqp_url


@pytest.fixture(scope="module")
def system(
    tmp_path_factory: pytest.TempPathFactory, rabbitmq: Broker, amqp_url: str, redis_url: str
) -> Iterator[System]:
    system = System(
        tmp_path_factory.mktemp("system"),
        broker=rabbitmq,
        amqp_url=amqp_url,
        redis_url=redis_url,
        settings={"TURNOUT_PUBLISH_DEADLINE": str(PUBLISH_DEADLINE)},
    )
    with system:
        yield system
    assert system.told_secrets() == []


@pytest.fixture(scope="module")
def running(
    system: System, rabbitmq: Broker, redis_server: Redis, network_url: str, worker_url: str
) -> Stage:
    assert rabbitmq.node is not None
    key, triggers = asyncio.run(_start(system, worker_url))
    network = Proxy(system.amqp_url, URL(network_url).port or 0)
    return Stage(system, rabbitmq.node, redis_server, key, triggers, network)


@pytest.fixture
async def stage(running: Stage) -> AsyncIterator[Stage]:
    """The stage, with all that an earlier test left dead or frozen running again."""
    await _revive(running)
    async with Proxy(running.system.amqp_url, running.network.port) as network:
        yield running._replace(network=network)


async def _start(system: System, worker_url: str) -> tuple[Key, dict[str, Trigger]]:
    system.add_ingress()
    system.add_ingress("--processes", "2")
    for _ in range(2):
        system.add_worker("ledger", TURNOUT_AMQP_URL=worker_url)
    await system.start()
    triggers = {}
    for flow in FLOWS:
        await system.registered(flow)
        triggers[flow] = await system.make_trigger(flow)
    key = await system.make_key("shop", "till")
    await asyncio.sleep(_SETTLING)
    return key, triggers


async def _revive(stage: Stage) -> None:
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
