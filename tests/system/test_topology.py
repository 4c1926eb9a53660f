"""What somebody deletes at the broker comes back, and what was accepted meanwhile is kept."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime

import pytest
from tests.support.brokers import Broker
from tests.support.process import Command
from tests.support.system import PATIENCE, Answer, Key, System, Trigger
from tests.support.waiting import eventually

from turnout.shared import names

Delete = Callable[[str], None]


@pytest.fixture
def delete(rabbitmq: Broker, vhost: str) -> Delete:
    """Delete something of the virtual host, as an administrator by mistake."""
    return lambda path: rabbitmq.management.call("DELETE", path.format(vhost=vhost))


@asynccontextmanager
async def paused(command: Command) -> AsyncIterator[None]:
    """Freeze a process for the length of a context."""
    command.pause()
    try:
        yield
    finally:
        command.resume()


async def complete(system: System) -> None:
    """Wait until the broker has all it has to hold, and check nothing but that."""

    async def nothing_is_missing() -> bool:
        status, check = await system.ask("GET", "topology")
        # A broker that has much to make again may fail to tell what it has.
        return status != 503 and bool(check["ok"])

    await eventually(nothing_is_missing, PATIENCE, "the topology is complete")


async def test_the_topology_is_complete(system: System, trigger: Trigger) -> None:
    check = await system.admin("GET", "topology", status=200)
    assert check == {"ok": True, "missing": []}


async def test_a_call_without_a_way_to_its_flow_is_parked_until_the_way_is_repaired(
    system: System, key: Key, trigger: Trigger, delete: Delete
) -> None:
    other = await system.make_trigger("shop/failing")
    async with paused(system.router.command):  # else it may be faster than we are
        delete(f"queues/{{vhost}}/{names.flow_queue('shop', 'seen')}")
        delete(
            f"bindings/{{vhost}}/e/{names.TRIGGERS}/q/{names.flow_queue('shop', 'failing')}"
            f"/{other.routing_key}"
        )
        answers = {
            each: await system.call(each.path, key, data=b"parked") for each in (trigger, other)
        }
        for answer in answers.values():
            assert answer.status == 202

    await complete(system)
    assert (await system.seen(answers[trigger].event_id))["body"] == b"parked"
    assert (await system.dead(answers[other].event_id)).body == b"parked"

    later = await system.call(trigger.path, key, data=b"later")
    assert (await system.seen(later.event_id))["body"] == b"later"
    later = await system.call(other.path, key, data=b"later")
    assert (await system.dead(later.event_id)).body == b"later"


async def test_without_the_exchange_nothing_is_accepted_until_it_is_repaired(
    system: System, key: Key, trigger: Trigger, delete: Delete
) -> None:
    async with paused(system.router.command):
        delete(f"exchanges/{{vhost}}/{names.TRIGGERS}")
        assert_unavailable(await system.call(trigger.path, key))

    await complete(system)

    again = await accepted(system, key, trigger)
    assert (await system.seen(again.event_id))["body"] == b"again"


async def test_without_the_archive_nothing_is_accepted_until_it_is_repaired(
    system: System, key: Key, trigger: Trigger, delete: Delete
) -> None:
    since = datetime.now(UTC)
    async with paused(system.router.command):
        delete(f"queues/{{vhost}}/{names.ARCHIVE}")
        assert_unavailable(await system.call(trigger.path, key))
        delete(f"exchanges/{{vhost}}/{names.ARCHIVE}")
        assert_unavailable(await system.call(trigger.path, key))

    await complete(system)

    again = await accepted(system, key, trigger)
    async with system.archive(since) as archive:
        assert (await archive.event(again.event_id)).body == b"again"


def assert_unavailable(answer: Answer) -> None:
    assert answer.status == 503
    assert int(answer.headers["Retry-After"]) > 0


async def accepted(system: System, key: Key, trigger: Trigger) -> Answer:
    """Wait until a call is accepted."""

    async def call() -> Answer | None:
        answer = await system.call(trigger.path, key, data=b"again")
        return answer if answer.status == 202 else None

    answer: Answer = await eventually(call, PATIENCE, "a call is accepted")
    return answer
