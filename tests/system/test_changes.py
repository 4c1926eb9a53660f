"""Keys and triggers that change under traffic, with two ingress processes.

No worker runs: what is in a queue stays there, and can be counted.
"""

import asyncio
from collections import Counter
from typing import Any

import aiohttp
import pytest
from tests.support.sender import Sender
from tests.support.system import PATIENCE, Key, System, Trigger
from tests.support.topology import collecting
from tests.support.waiting import eventually

from turnout.shared import names
from turnout.shared.envelope import Envelope


@pytest.fixture(scope="module")
def system(bare_system: System) -> System:
    """A running system with two ingress processes and two flows that nobody serves."""
    for _ in range(2):
        bare_system.add_ingress()
    asyncio.run(bare_system.start())
    asyncio.run(bare_system.make_group("shop"))
    for flow in ("shop/seen", "shop/second"):
        asyncio.run(bare_system.make_flow(flow))
    return bare_system


async def statuses(system: System, path: str, key: Key, **options: Any) -> set[int]:
    """Call each ingress once, and return what they answer."""
    options["headers"] = {**key.header, **options.get("headers", {})}
    async with aiohttp.ClientSession() as session:

        async def call(url: str) -> int:
            async with session.post(url + path, **options) as response:
                return response.status

        return set(await asyncio.gather(*(call(each.url) for each in system.ingresses)))


async def become(
    expected: int, system: System, path: str, key: Key, *, what: str, **options: Any
) -> None:
    """Wait until each ingress answers with one status."""

    async def all_do() -> bool:
        return await statuses(system, path, key, **options) == {expected}

    await eventually(all_do, PATIENCE, what)


async def queued(system: System, sender: Sender) -> Counter[str]:
    """Wait until all accepted events are in a queue, and count how often each is in any."""
    async with (
        collecting(system.amqp_url, names.flow_queue("shop", "seen")) as first,
        collecting(system.amqp_url, names.flow_queue("shop", "second")) as second,
        collecting(system.amqp_url, names.UNROUTED) as unrouted,
    ):

        def found() -> Counter[str]:
            events = (
                Envelope.decode(delivery.body)
                for collector in (first, second, unrouted)
                for delivery in collector.deliveries
            )
            return Counter(each.event_id for each in events if each.body.decode() in sender.sent)

        await eventually(
            lambda: sender.accepted.keys() <= found().keys(), PATIENCE, "all events are queued"
        )
        flows = {
            flow: sum(
                Envelope.decode(each.body).body.decode() in sender.sent
                for each in collector.deliveries
            )
            for flow, collector in (("seen", first), ("second", second), ("unrouted", unrouted))
        }
        assert flows["seen"], flows
        assert flows["second"], flows
        assert not flows["unrouted"], flows
        return found()


async def test_a_trigger_moves_under_traffic_and_each_call_goes_to_one_flow(
    system: System, key: Key, trigger: Trigger
) -> None:
    urls = [each.url + trigger.path for each in system.ingresses]
    path = f"triggers/{trigger.id}"
    async with Sender(urls, key, rate=400) as sender:
        for flow in ("second", "seen", "second", "seen"):
            await sender.more(60)
            moved = await system.admin("POST", f"{path}/move", {"flow": flow}, status=200)
            assert moved["flow"] == flow
            assert moved["routing_key"] == trigger.routing_key
        await sender.more(60)
    assert not sender.failed
    found = await queued(system, sender)
    assert found == Counter(sender.accepted.keys())


async def test_both_routing_keys_of_a_trigger_work_until_the_overlap_ends(
    system: System, key: Key
) -> None:
    trigger = await system.make_trigger("shop/seen")
    path = f"triggers/{trigger.id}"
    rotated = await system.admin("POST", f"{path}/rotate", {"overlap": 3600}, status=200)
    system.secrets["a routing key after its rotation"] = rotated["routing_key"]
    new = Trigger(trigger.id, rotated["routing_key"])
    await become(202, system, new.path, key, what="the new routing key works")
    assert await statuses(system, trigger.path, key, headers={"User-Agent": "curl/8.1 (x)"}) == {
        202
    }

    async def counted() -> Any:
        overlap = await system.admin("GET", f"{path}/overlap", status=200)
        return overlap if overlap["calls"] >= len(system.ingresses) else None

    overlap = await eventually(counted, PATIENCE, "calls by the old routing key are counted")
    (item,) = overlap["items"]
    assert item["trigger"]["id"] == trigger.id
    assert (item["network"], item["agent"]) == ("127.0.0.0/24", "curl/8.1")

    await system.admin("POST", f"{path}/end-overlap", {}, status=200)
    await become(404, system, trigger.path, key, what="the old routing key works no longer")
    assert await statuses(system, new.path, key) == {202}


async def test_both_secrets_of_a_key_work_until_the_overlap_ends(
    system: System, trigger: Trigger
) -> None:
    old = await system.make_key("shop", "rotated")
    path = f"keys/{old.id}"
    rotated = await system.admin("POST", f"{path}/rotate", {"overlap": 3600}, status=201)
    system.secrets["a key after its rotation"] = rotated["key"]
    new = Key(old.id, rotated["key"])
    await become(202, system, trigger.path, new, what="the new secret works")
    assert await statuses(system, trigger.path, old) == {202}

    async def counted() -> bool:
        overlap = await system.admin("GET", f"{path}/overlap", status=200)
        return bool(overlap["calls"] == len(system.ingresses))

    await eventually(counted, PATIENCE, "calls with the old secret are counted")
    await system.admin("POST", f"{path}/end-overlap", {}, status=200)
    await become(401, system, trigger.path, old, what="the old secret works no longer")
    assert await statuses(system, trigger.path, new) == {202}


async def test_a_revoked_key_stops_working_on_every_ingress_under_traffic(
    system: System, trigger: Trigger
) -> None:
    key = await system.make_key("shop", "leaked")
    await become(202, system, trigger.path, key, what="the key works")
    revoked = await system.admin("POST", f"keys/{key.id}/revoke", {"reason": "leaked"}, status=200)
    assert revoked["state"] == "revoked"
    await become(401, system, trigger.path, key, what="the key works nowhere")
    # Whatever projects the registry meanwhile, it stays so.
    await system.make_key("shop", "another")
    assert await statuses(system, trigger.path, key) == {401}


async def test_a_disabled_trigger_refuses_until_it_is_enabled(system: System, key: Key) -> None:
    trigger = await system.make_trigger("shop/seen")
    path = f"triggers/{trigger.id}"
    await become(202, system, trigger.path, key, what="the trigger works")
    await system.admin("POST", f"{path}/disable", {"reason": "a flood"}, status=200)
    await become(403, system, trigger.path, key, what="the trigger refuses")
    await system.admin("POST", f"{path}/enable", {}, status=200)
    await become(202, system, trigger.path, key, what="the trigger works again")


async def test_a_key_with_a_scope_triggers_the_flows_of_it_alone(
    system: System, trigger: Trigger
) -> None:
    key = await system.make_key("shop", "scoped", flows=["second"])
    inside = await system.make_trigger("shop/second")
    await become(202, system, inside.path, key, what="a flow of its scope is triggered")
    assert await statuses(system, trigger.path, key) == {403}
    await system.admin("PATCH", f"keys/{key.id}", {"flows": None}, status=200)
    await become(202, system, trigger.path, key, what="any flow is triggered")


@pytest.mark.parametrize(
    ("content_type", "status"),
    [
        ("application/json", 202),
        ("Application/JSON; charset=utf-8", 202),
        ("text/csv", 202),
        ("text", 415),
        ("application/jsonp", 415),
        ("multipart/form-data; boundary=x", 415),
    ],
)
async def test_a_trigger_takes_the_media_types_of_its_list(
    system: System, key: Key, choosy: Trigger, content_type: str, status: int
) -> None:
    answer = await system.call(choosy.path, key, data=b"x", headers={"Content-Type": content_type})
    assert answer.status == status
    if status == 415:
        assert answer.json["code"] == "unsupported_media_type"
        assert answer.headers["Accept"] == "application/json, text/*"


@pytest.fixture(scope="module")
def choosy(system: System) -> Trigger:
    """A trigger that takes some media types."""
    types = ["application/json", "text/*"]
    return asyncio.run(system.make_trigger("shop/seen", content_types=types))


async def test_a_call_without_a_body_has_no_media_type_to_be_refused(
    system: System, key: Key, choosy: Trigger
) -> None:
    assert (await system.call(choosy.path, key)).status == 202
    nameless = await system.call(choosy.path, key, data=b"x", skip_auto_headers=["Content-Type"])
    assert nameless.status == 415


async def test_a_deleted_trigger_is_gone_and_what_it_queued_is_not(
    system: System, key: Key
) -> None:
    trigger = await system.make_trigger("shop/seen")
    path = f"triggers/{trigger.id}"
    before = (await system.admin("DELETE", path, status=409))["waiting"]
    await become(202, system, trigger.path, key, what="the trigger works")

    async def more_waits() -> bool:
        problem = await system.admin("DELETE", path, status=409)
        return bool(problem["waiting"] >= before + len(system.ingresses))

    await eventually(more_waits, PATIENCE, "what is queued is told before the deletion")
    await system.admin("DELETE", f"{path}?confirm=true", status=204)
    await become(404, system, trigger.path, key, what="the trigger is gone")
    assert (await system.admin("GET", "topology", status=200))["ok"]
