"""A broker and a cache that are ours to stop, whatever the other tests use."""

from collections.abc import Iterator

import pytest
from tests.support.brokers import Broker
from tests.support.system import stoppable_rabbitmq, stoppable_redis

from turnout.router.nodes.rabbitmq import RabbitMQ
from turnout.router.nodes.redis import Redis


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


@pytest.fixture
def broker_node(rabbitmq: Broker) -> Iterator[RabbitMQ]:
    """The node, which runs again afterwards."""
    assert rabbitmq.node is not None
    yield rabbitmq.node
    revive(rabbitmq.node)


@pytest.fixture
def cache_node(redis_server: Redis) -> Iterator[Redis]:
    """The node, which runs again afterwards."""
    yield redis_server
    revive(redis_server)


def revive(node: RabbitMQ | Redis) -> None:
    """Make sure that a node runs."""
    if not node.is_running:
        node.start()
    node.resume()
    node.wait_ready()
