"""A real RabbitMQ, a real Redis and a real PostgreSQL for the session.

In this order, for each of them: the address in TURNOUT_TEST_AMQP_URL (its management API in
TURNOUT_TEST_MANAGEMENT_URL), TURNOUT_TEST_REDIS_URL or TURNOUT_TEST_POSTGRES_URL; a container,
where a Docker engine answers; a private node of the installed programs, which are installed first
where that can be done. If none of it works, the session fails and says what to install.
"""

import itertools
import os
import secrets
from collections.abc import Iterator

import hypothesis
import pytest
import redis
from tests.support import brokers, postgresql
from tests.support.brokers import Broker

from turnout.router.nodes import docker, find
from turnout.router.nodes.errors import NodeError
from turnout.router.nodes.redis import Redis

# Where modules are compiled once, a process of ours starts in two thirds of the time.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A machine under load is no bug of ours.
hypothesis.settings.register_profile("turnout", deadline=None)
hypothesis.settings.load_profile("turnout")

# The next module never meets what a straggler of the last one still writes, and none those of
# another process of the same test run, where a server was given to both.
_half = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]) % 2
_databases = itertools.cycle(range(_half * 8, _half * 8 + 8))


@pytest.fixture(scope="session")
def rabbitmq(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """The session's RabbitMQ; use `vhost` or `amqp_url` for a place of your own in it."""
    try:
        if url := os.environ.get(brokers.AMQP_SETTING):
            yield brokers.given_rabbitmq(url, os.environ.get(brokers.MANAGEMENT_SETTING))
        elif find.docker_has(docker.RABBITMQ_IMAGE, print):
            with brokers.container_rabbitmq() as broker:
                yield broker
        else:
            with brokers.private_rabbitmq(tmp_path_factory.mktemp("rabbitmq")) as broker:
                yield broker
    except NodeError as error:
        pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="module")
def vhost(rabbitmq: Broker) -> Iterator[str]:
    """The name of a virtual host of this module alone."""
    name = f"test-{secrets.token_hex(6)}"
    rabbitmq.management.make_vhost(name)
    yield name
    rabbitmq.management.delete_vhost(name)


@pytest.fixture(scope="module")
def amqp_url(rabbitmq: Broker, vhost: str) -> str:
    """The address of the module's virtual host, as an administrator."""
    return rabbitmq.amqp_url(vhost)


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str | Redis]:
    """The session's Redis: its address without a database, or the private node."""
    try:
        if url := os.environ.get(brokers.REDIS_SETTING):
            yield url.rstrip("/")
        elif find.docker_has(docker.REDIS_IMAGE, print):
            with brokers.container_redis() as address:
                yield address
        else:
            with brokers.private_redis(tmp_path_factory.mktemp("redis")) as node:
                yield node
    except NodeError as error:
        pytest.exit(str(error), returncode=1)


@pytest.fixture(scope="session")
def redis_node(redis_server: str | Redis) -> Redis:
    """The session's Redis as a private node, which can be stopped, killed and paused."""
    if isinstance(redis_server, str):
        pytest.skip("this Redis is not ours to stop")
    return redis_server


@pytest.fixture(scope="module")
def redis_url(redis_server: str | Redis) -> Iterator[str]:
    """The address of a database that is this module's while it runs, and empty before."""
    number = next(_databases)
    base = (
        redis_server.url(0).rpartition("/")[0] if isinstance(redis_server, Redis) else redis_server
    )
    url = f"{base}/{number}"
    with redis.Redis.from_url(url) as client:
        client.flushdb()
        yield url
        client.flushdb()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """The address of the session's PostgreSQL; `postgresql.database` makes a database in it."""
    try:
        with postgresql.server() as url:
            yield url
    except NodeError as error:
        pytest.exit(str(error), returncode=1)
