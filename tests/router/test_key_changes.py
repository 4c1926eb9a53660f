"""What becomes of an API key after it was made: in the registry, and over the admin API."""

from datetime import UTC, datetime, timedelta

import pytest
from tests.router.serving import Admin

from turnout.router.registry import Conflict, Invalid, NotFound, Registry, WrongState
from turnout.shared import ids, keys, names

DAY = timedelta(days=1)


@pytest.fixture
async def crm(registry: Registry) -> Registry:
    """A registry with the flows crm/update and crm/report, and the key "CRM" of crm."""
    await registry.create_group("crm")
    for flow in ("update", "report"):
        await registry.create_flow("crm", flow)
    await registry.create_key("crm", "CRM")
    return registry


async def _only_key(registry: Registry) -> str:
    (key,) = await registry.list_keys("crm")
    return key.id


async def test_a_key_is_renamed_but_not_to_a_name_that_is_taken(crm: Registry) -> None:
    key_id = await _only_key(crm)
    await crm.create_key("crm", "Other")
    assert (await crm.change_key(key_id, {"name": "HubSpot"})).name == "HubSpot"
    with pytest.raises(Conflict, match="'Other' already"):
        await crm.change_key(key_id, {"name": "Other"})
    with pytest.raises(Invalid):
        await crm.change_key(key_id, {"name": ids.new(ids.KEY)})
    assert (await crm.change_key(key_id, {"name": "HubSpot"})).name == "HubSpot"


async def test_a_change_that_is_refused_in_part_changes_nothing(crm: Registry) -> None:
    key_id = await _only_key(crm)
    before = await crm.key(key_id)
    with pytest.raises(Invalid):
        await crm.change_key(key_id, {"name": "HubSpot", "flows": ["nothing"]})
    assert await crm.key(key_id) == before


async def test_the_state_of_a_key_follows_its_expiry(crm: Registry) -> None:
    key_id = await _only_key(crm)
    now = datetime.now(UTC)
    assert (await crm.key(key_id)).state == "active"
    assert (await crm.change_key(key_id, {"expires_at": now + DAY})).state == "expiring"
    assert (await crm.change_key(key_id, {"expires_at": now + 30 * DAY})).state == "active"
    assert (await crm.change_key(key_id, {"expires_at": None})).expires_at is None
    with pytest.raises(Invalid, match="passed"):
        await crm.change_key(key_id, {"expires_at": now - DAY})


async def test_a_key_is_scoped_to_flows_of_its_group_and_freed_again(crm: Registry) -> None:
    await crm.create_group("shop")
    await crm.create_flow("shop", "order")
    scoped, _ = await crm.create_key("crm", "Scoped", flows=["report"])
    accepting = await crm.create_trigger("crm", "report", description="in its scope")
    other = await crm.create_trigger("crm", "update", description="not in its scope")
    assert [flow.slug for flow in scoped.flows or ()] == ["report"]
    assert await crm.list_triggers_accepting(scoped) == [accepting]
    freed = await crm.change_key(scoped.id, {"flows": None})
    assert freed.flows is None
    assert {each.id for each in await crm.list_triggers_accepting(freed)} == {
        accepting.id,
        other.id,
    }
    for flows in ([], ["order"]):
        with pytest.raises(Invalid) as refused:
            await crm.change_key(scoped.id, {"flows": flows})
        assert refused.value.field.startswith("flows")


async def test_a_rotated_key_has_two_secrets_until_the_overlap_ends(crm: Registry) -> None:
    before = await crm.key(await _only_key(crm))
    rotated, text = await crm.rotate_key(before.id, DAY)
    assert rotated.state == "rotating"
    assert (rotated.digest, rotated.prefix) == (keys.digest(text), keys.prefix(text))
    assert (rotated.old_digest, rotated.old_prefix) == (before.digest, before.prefix)
    with pytest.raises(WrongState, match="end that overlap first"):
        await crm.rotate_key(before.id, DAY)
    ended = await crm.end_key_overlap(before.id)
    assert ended.state == "active"
    assert ended.digest == rotated.digest
    with pytest.raises(WrongState):
        await crm.end_key_overlap(before.id)
    again, _ = await crm.rotate_key(before.id, timedelta())
    assert again.state == "active"
    assert again.old_digest == rotated.digest


async def test_a_revoked_key_stays_revoked_with_its_first_reason(crm: Registry) -> None:
    key_id = await _only_key(crm)
    revoked = await crm.revoke_key(key_id, "leaked")
    assert revoked.state == "revoked"
    assert await crm.revoke_key(key_id, "again") == revoked
    assert revoked.revoked_reason == "leaked"
    with pytest.raises(WrongState, match="revoked"):
        await crm.rotate_key(key_id, DAY)


async def test_a_key_that_does_not_exist_cannot_be_changed(crm: Registry) -> None:
    for change in (
        crm.change_key("key_0", {}),
        crm.rotate_key("key_0", DAY),
        crm.end_key_overlap("key_0"),
        crm.revoke_key("key_0"),
    ):
        with pytest.raises(NotFound):
            await change


async def test_the_api_withdraws_a_revoked_key_with_both_its_secrets(admin: Admin) -> None:
    await admin.call("POST", "groups", {"slug": "crm"}, status=201)
    made = await admin.call("POST", "groups/crm/keys", {"name": "CRM"}, status=201)
    path = f"keys/{made['id']}"
    rotated = await admin.call("POST", f"{path}/rotate", {"overlap": 60}, status=201)
    assert admin.broker.withdrawn == []
    assert rotated["state"] == "rotating"
    assert rotated["old_prefix"] == made["prefix"]
    revoked = await admin.call("POST", f"{path}/revoke", {"reason": "leaked"}, status=200)
    assert (revoked["state"], revoked["revoked_reason"]) == ("revoked", "leaked")
    digests = {keys.digest(made["key"]), keys.digest(rotated["key"])}
    assert set(admin.broker.withdrawn) == {names.auth_key(digest) for digest in digests}


async def test_the_api_withdraws_an_old_secret_when_its_overlap_ends(admin: Admin) -> None:
    await admin.call("POST", "groups", {"slug": "crm"}, status=201)
    made = await admin.call("POST", "groups/crm/keys", {"name": "CRM"}, status=201)
    path = f"keys/{made['id']}"
    await admin.call("POST", f"{path}/rotate", {}, status=201)
    await admin.call("POST", f"{path}/end-overlap", {}, status=200)
    assert admin.broker.withdrawn == [names.auth_key(keys.digest(made["key"]))]
    problem = await admin.call("POST", f"{path}/end-overlap", {}, status=409)
    assert problem["code"] == "wrong_state"
    at_once = await admin.call("POST", f"{path}/rotate", {"overlap": 0}, status=201)
    assert at_once["state"] == "active"
    assert len(admin.broker.withdrawn) == 2


async def test_the_api_changes_what_is_sent_and_nothing_else(admin: Admin) -> None:
    await admin.call("POST", "groups", {"slug": "crm"}, status=201)
    await admin.call("POST", "groups/crm/flows", {"slug": "update"}, status=201)
    made = await admin.call(
        "POST",
        "groups/crm/keys",
        {"name": "CRM", "expires_at": "2199-01-31T00:00:00Z", "limits": {"rate": 5}},
        status=201,
    )
    path = f"keys/{made['id']}"
    changed = await admin.call("PATCH", path, {"name": "HubSpot", "flows": ["update"]}, status=200)
    assert (changed["name"], changed["flows"]) == ("HubSpot", ["update"])
    assert (changed["expires_at"], changed["limits"]["rate"]) == (made["expires_at"], 5)
    changed = await admin.call("PATCH", path, {"expires_at": None}, status=200)
    assert (changed["name"], changed["expires_at"]) == ("HubSpot", None)
    for body in ({"name": None}, {"name": " "}, {"flows": []}, {"overlap": 1}):
        await admin.call("PATCH", path, body, status=422)
    assert await admin.call("PATCH", path, {}, status=200) == changed
