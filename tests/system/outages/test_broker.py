"""Without the broker, senders are told to come back, and everything goes on by itself after it."""

import asyncio
import time
from collections.abc import Mapping

import pytest
from tests.support.brokers import memory_alarm
from tests.support.system import PATIENCE, Answer, Key, System, Trigger
from tests.support.waiting import eventually

from turnout.router.nodes.rabbitmq import RabbitMQ

DEADLINE = 2.0


@pytest.fixture(scope="module")
def settings() -> Mapping[str, str]:
    return {"TURNOUT_PUBLISH_DEADLINE": str(DEADLINE)}


async def test_a_stopped_broker_is_a_503_and_after_its_start_all_goes_on(
    system: System, broker_node: RabbitMQ, key: Key, trigger: Trigger
) -> None:
    before = (await system.call(trigger.path, key, data=b"before")).event_id
    await system.seen(before)
    pids = system.pids

    await asyncio.to_thread(broker_node.stop)
    began = time.monotonic()
    answer = await system.call(trigger.path, key)
    assert time.monotonic() - began < DEADLINE
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json["code"] == "not_accepted"
    ready = await system.ingress.get("/readyz")
    assert (ready.status, list(ready.json)) == (503, ["status", "broker"])
    assert (await system.ingress.get("/healthz")).status == 200

    broker_node.start()
    await asyncio.to_thread(broker_node.wait_ready)
    await assert_goes_on(system, key, trigger)
    assert system.pids == pids


async def test_a_silent_broker_is_a_503_by_the_deadline_and_then_all_goes_on(
    system: System, broker_node: RabbitMQ, key: Key, trigger: Trigger
) -> None:
    await assert_goes_on(system, key, trigger)
    pids = system.pids

    broker_node.pause()
    began = time.monotonic()
    answer = await system.call(trigger.path, key, data=b"unknown")
    took = time.monotonic() - began
    broker_node.resume()

    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert answer.json["code"] == "outcome_unknown"
    assert DEADLINE * 0.9 < took < DEADLINE + 3
    # What the broker read before it fell silent it may well have delivered.
    assert answer.json["event_id"].startswith("evt_")
    await assert_goes_on(system, key, trigger)
    assert system.pids == pids


async def test_a_blocked_broker_is_a_503_at_once_and_then_all_goes_on(
    system: System, broker_node: RabbitMQ, key: Key, trigger: Trigger
) -> None:
    await assert_goes_on(system, key, trigger)
    with memory_alarm(broker_node):

        async def blocked() -> str | None:
            # The broker says so only to who publishes.
            await system.call(trigger.path, key, data=b"meanwhile")
            ready = await system.ingress.get("/readyz")
            return str(ready.json["broker"]) if ready.status == 503 else None

        assert "memory" in await eventually(blocked, PATIENCE, "ingress is told")
        began = time.monotonic()
        answer = await system.call(trigger.path, key)
        assert time.monotonic() - began < DEADLINE
        assert (answer.status, answer.json["code"]) == (503, "not_accepted")
        assert int(answer.headers["Retry-After"]) > 0
    await assert_goes_on(system, key, trigger)


async def assert_goes_on(system: System, key: Key, trigger: Trigger) -> None:
    """Wait until a call is accepted, and then until its flow has run."""

    async def accepted() -> Answer | None:
        answer = await system.call(trigger.path, key, data=b"after")
        return answer if answer.status == 202 else None

    answer = await eventually(accepted, PATIENCE, "a call is accepted")
    assert (await system.seen(answer.event_id))["body"] == b"after"
