"""What becomes of an HTTP trigger after it was made: in the registry, and over the admin API."""

from datetime import timedelta

import pytest
from tests.router.serving import Admin

from turnout.router import topology
from turnout.router.registry import Invalid, NotFound, Registry, Trigger, WrongState
from turnout.shared import keys, names
from turnout.shared.errors import BrokerError

DAY = timedelta(days=1)


@pytest.fixture
async def crm(registry: Registry) -> Registry:
    """A registry with the flows crm/update and crm/report, and a trigger of crm/update."""
    await registry.create_group("crm")
    for flow in ("update", "report"):
        await registry.create_flow("crm", flow)
    await registry.create_trigger("crm", "update", description="Deals")
    return registry


async def _only_trigger(registry: Registry) -> Trigger:
    (trigger,) = await registry.list_triggers()
    return trigger


async def test_what_a_trigger_accepts_is_changed_and_widened_again(crm: Registry) -> None:
    key, _ = await crm.create_key("crm", "CRM")
    trigger = await _only_trigger(crm)
    changed = await crm.change_trigger(
        trigger.id,
        {
            "description": "Deals and leads",
            "keys": ["CRM"],
            "methods": ["PUT", "POST"],
            "content_types": ["Application/JSON", "text/*"],
            "key_in_query": True,
            "limits": {"rate": 5.0},
        },
    )
    assert changed.description == "Deals and leads"
    assert changed.key_ids == (key.id,)
    assert changed.methods == ("PUT", "POST")
    assert changed.content_types == ("application/json", "text/*")
    assert changed.key_in_query
    assert changed.limits.rate == 5.0
    widened = await crm.change_trigger(trigger.id, {"keys": None, "content_types": None})
    assert (widened.keys, widened.content_types) == (None, None)
    assert widened.description == changed.description
    assert await crm.change_trigger(trigger.id, {}) == widened


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"keys": []}, "keys"),
        ({"keys": ["nobody"]}, "keys.0"),
        ({"methods": []}, "methods"),
        ({"content_types": []}, "content_types"),
        ({"content_types": ["text/*", "json"]}, "content_types.1"),
        ({"content_types": ["text/html; charset=utf-8"]}, "content_types.0"),
        ({"limits": {"burst": 2}}, "limits.burst"),
    ],
)
async def test_a_change_that_cannot_be_names_its_field_and_changes_nothing(
    crm: Registry, changes: dict[str, object], field: str
) -> None:
    trigger = await _only_trigger(crm)
    with pytest.raises(Invalid) as refused:
        await crm.change_trigger(trigger.id, {"description": "?", **changes})  # type: ignore[typeddict-item]
    assert refused.value.field == field
    assert await crm.trigger(trigger.id) == trigger


async def test_a_rotated_trigger_has_two_routing_keys_until_the_overlap_ends(crm: Registry) -> None:
    before = await _only_trigger(crm)
    new = keys.new_routing_key()
    rotated = await crm.rotate_trigger(before, new, DAY)
    assert rotated.routing_keys == (new, before.routing_key)
    with pytest.raises(WrongState, match="end that overlap first"):
        await crm.rotate_trigger(rotated, keys.new_routing_key(), DAY)
    ended = await crm.end_trigger_overlap(before.id)
    assert ended.routing_keys == (new,)
    with pytest.raises(WrongState):
        await crm.end_trigger_overlap(before.id)


async def test_a_moved_trigger_has_routes_of_its_own_to_each_flow(crm: Registry) -> None:
    first = await _only_trigger(crm)
    report = await crm.flow("crm", "report")
    there = await crm.move_trigger(first, report.id)
    assert (there.flow, there.routing_key) == ("report", first.routing_key)
    back = await crm.move_trigger(there, first.flow_id)
    routes = [topology.bindings_of(each)[0] for each in (first, there, back)]
    assert len({each.routing_key for each in routes}) == 3
    assert [each.queue for each in routes] == [
        names.flow_queue("crm", flow) for flow in ("update", "report", "update")
    ]


async def test_what_was_bound_for_an_earlier_state_is_not_used(crm: Registry) -> None:
    before = await _only_trigger(crm)
    report = await crm.flow("crm", "report")
    await crm.move_trigger(before, report.id)
    for change in (
        crm.move_trigger(before, report.id),
        crm.rotate_trigger(before, keys.new_routing_key(), DAY),
    ):
        with pytest.raises(WrongState, match="at the same time"):
            await change


async def test_a_trigger_that_does_not_exist_cannot_be_changed(crm: Registry) -> None:
    gone = await crm.delete_trigger((await _only_trigger(crm)).id)
    for change in (
        crm.change_trigger(gone.id, {}),
        crm.enable_trigger(gone.id),
        crm.disable_trigger(gone.id),
        crm.end_trigger_overlap(gone.id),
        crm.rotate_trigger(gone, keys.new_routing_key(), DAY),
        crm.move_trigger(gone, gone.flow_id),
        crm.delete_trigger(gone.id),
    ):
        with pytest.raises(NotFound):
            await change


async def _trigger(admin: Admin) -> str:
    """Make two flows of a group and a trigger of the first; return the path of the trigger."""
    await admin.call("POST", "groups", {"slug": "crm"}, status=201)
    for flow in ("update", "report"):
        await admin.call("POST", "groups/crm/flows", {"slug": flow}, status=201)
    made = await admin.call(
        "POST", "flows/crm/update/triggers", {"description": "Deals"}, status=201
    )
    return f"triggers/{made['id']}"


async def test_a_trigger_is_disabled_with_a_reason_and_enabled_again(admin: Admin) -> None:
    path = await _trigger(admin)
    disabled = await admin.call("POST", f"{path}/disable", {"reason": "flood"}, status=200)
    assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "flood")
    enabled = await admin.call("POST", f"{path}/enable", {}, status=200)
    assert (enabled["enabled"], enabled["disabled_reason"]) == (True, None)


async def test_a_new_routing_key_is_bound_before_ingress_hears_of_it(admin: Admin) -> None:
    path = await _trigger(admin)
    before = await admin.call("GET", path, status=200)
    admin.broker.failure = BrokerError("not now")
    await admin.call("POST", f"{path}/rotate", {}, status=503)
    assert await admin.call("GET", path, status=200) == before
    admin.broker.failure = None
    after = await admin.call("POST", f"{path}/rotate", {"overlap": 60}, status=200)
    assert after["old_routing_key"] == before["routing_key"]
    assert [each.routing_key for each in admin.broker.declared] == [after["routing_key"]]
    assert admin.broker.withdrawn == []
    await admin.call("POST", f"{path}/end-overlap", {}, status=200)
    assert admin.broker.withdrawn == [names.auth_trigger(before["routing_key"])]


async def test_a_trigger_moves_within_its_group_alone(admin: Admin) -> None:
    path = await _trigger(admin)
    await admin.call("POST", "groups", {"slug": "shop"}, status=201)
    await admin.call("POST", "groups/shop/flows", {"slug": "order"}, status=201)
    await admin.call("POST", f"{path}/move", {"flow": "order"}, status=404)
    moved = await admin.call("POST", f"{path}/move", {"flow": "report"}, status=200)
    assert moved["flow"] == "report"
    (binding,) = admin.broker.declared
    assert binding.queue == names.flow_queue("crm", "report")
    await admin.call("POST", f"{path}/move", {"flow": "report"}, status=200)
    assert admin.broker.declared == [binding]


async def test_a_trigger_is_deleted_when_that_is_confirmed(admin: Admin) -> None:
    path = await _trigger(admin)
    routing_key = (await admin.call("GET", path, status=200))["routing_key"]
    problem = await admin.call("DELETE", path, status=409)
    assert problem["code"] == "unconfirmed"
    assert (problem["waiting"], problem["calls_today"]) == (None, 0)
    await admin.call("DELETE", f"{path}?confirm=true", status=204)
    assert admin.broker.withdrawn == [names.auth_trigger(routing_key)]
    await admin.call("GET", path, status=404)
