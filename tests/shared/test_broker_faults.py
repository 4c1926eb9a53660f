"""The publisher while its broker is paused, killed and full. It needs a broker that is ours."""

import asyncio

import pytest
from tests.support.brokers import Broker
from tests.support.topology import declare_route, ready_messages
from tests.support.waiting import eventually

from turnout.router.nodes.rabbitmq import RabbitMQ
from turnout.shared.publisher import ACCEPTED, DISCONNECTED, LATE, Publisher, Verdict


@pytest.fixture
def node(rabbitmq: Broker) -> RabbitMQ:
    if rabbitmq.node is None:
        pytest.skip("this RabbitMQ is not ours to stop")
    return rabbitmq.node


async def test_a_paused_broker_lets_nothing_hang_and_service_returns(
    node: RabbitMQ, amqp_url: str
) -> None:
    await declare_route(amqp_url, "x", "paused", "k")
    publisher = Publisher([amqp_url], name="test", deadline=1.0)
    await publisher.start()
    await publisher.ready()
    node.pause()
    try:
        began = asyncio.get_running_loop().time()
        confirm = await publisher.publish("x", "k", b"", kind="t")
        waited = asyncio.get_running_loop().time() - began
    finally:
        node.resume()
    assert confirm is LATE
    assert 0.9 < waited < 3
    await eventually(lambda: publisher.trouble is None)
    assert await publisher.publish("x", "k", b"", kind="t") is ACCEPTED
    await publisher.close()


async def test_what_was_accepted_is_there_after_kill_9_and_the_rest_is_told(
    node: RabbitMQ, amqp_url: str
) -> None:
    await declare_route(amqp_url, "x", "killed", "killed")
    publisher = Publisher([amqp_url], name="test", deadline=5.0)
    await publisher.start()
    await publisher.ready()
    # RabbitMQ forgets a quorum queue that was declared in the last instant before a crash.
    await asyncio.sleep(5)
    confirms = []

    async def send() -> None:
        while True:
            confirm = await publisher.publish("x", "killed", b"", kind="t")
            confirms.append(confirm)
            if confirm is not ACCEPTED:
                return

    senders = asyncio.gather(*(send() for _ in range(50)))
    await eventually(lambda: len(confirms) > 1000)
    node.kill()
    async with asyncio.timeout(15):
        await senders
    assert await publisher.publish("x", "killed", b"", kind="t") is DISCONNECTED
    node.start()
    await asyncio.to_thread(node.wait_ready)
    await eventually(lambda: publisher.trouble is None)
    assert await publisher.publish("x", "killed", b"", kind="t") is ACCEPTED
    await publisher.close()
    accepted = sum(confirm is ACCEPTED for confirm in confirms) + 1
    unknown = sum(confirm.verdict is Verdict.UNKNOWN for confirm in confirms)
    assert accepted <= await ready_messages(amqp_url, "killed") <= accepted + unknown
