"""A running system for each module, with a group, a key and a trigger to call."""

import asyncio
from collections.abc import Iterator, Mapping

import pytest
from tests.support.brokers import Broker
from tests.support.system import Key, System, Trigger


@pytest.fixture(scope="module")
def settings() -> Mapping[str, str]:
    """Settings of the module's system; a module that needs others overrides this."""
    return {}


@pytest.fixture(scope="module")
def bare_system(
    tmp_path_factory: pytest.TempPathFactory,
    rabbitmq: Broker,
    amqp_url: str,
    redis_url: str,
    settings: Mapping[str, str],
) -> Iterator[System]:
    """A system of which nothing runs yet; at its end, no log may tell a secret."""
    system = System(
        tmp_path_factory.mktemp("system"),
        broker=rabbitmq,
        amqp_url=amqp_url,
        redis_url=redis_url,
        settings=settings,
    )
    with system:
        yield system
    assert system.told_secrets() == []


@pytest.fixture(scope="module")
def system(bare_system: System) -> System:
    """A running system with one ingress, and one worker for the flows of the group `shop`."""
    bare_system.add_ingress()
    bare_system.add_worker("seen", "trouble")
    asyncio.run(bare_system.start())
    asyncio.run(bare_system.registered("shop/seen"))
    return bare_system


@pytest.fixture(scope="module")
def key(system: System) -> Key:
    """A key of the group `shop`."""
    return asyncio.run(system.make_key("shop", "till"))


@pytest.fixture(scope="module")
def trigger(system: System) -> Trigger:
    """A trigger of `shop/seen`."""
    return asyncio.run(system.make_trigger("shop/seen"))
