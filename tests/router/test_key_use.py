"""What an API key is used for, and which keys should be looked at."""

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from redis.asyncio import Redis
from tests.router import counting
from tests.router.serving import Admin

from turnout.router.registry import ApiKey, Limits, Registry
from turnout.router.review import ROTATE_AFTER, UNUSED_FOR, Finding, review
from turnout.router.usage import Activity
from turnout.shared import keys, names

NOW = datetime.now(UTC)
DAY = timedelta(days=1)


class Crm(NamedTuple):
    """A group with a key and two triggers."""

    key: Any
    deals: Any
    leads: Any


@pytest.fixture
async def crm(admin: Admin) -> Crm:
    await admin.call("POST", "groups", {"slug": "crm"}, status=201)
    for flow in ("deals", "leads"):
        await admin.call("POST", "groups/crm/flows", {"slug": flow}, status=201)
    return Crm(
        await admin.call("POST", "groups/crm/keys", {"name": "CRM"}, status=201),
        *[
            await admin.call(
                "POST", f"flows/crm/{flow}/triggers", {"description": flow}, status=201
            )
            for flow in ("deals", "leads")
        ],
    )


async def test_a_key_shows_the_triggers_that_accept_it_and_those_it_was_used_for(
    admin: Admin, crm: Crm, redis: Redis
) -> None:
    key, deals, leads = crm
    await counting.accepted(redis, {(deals["id"], key["id"]): 3, ("trg_gone", key["id"]): 2})
    await counting.accepted(redis, {(deals["id"], key["id"]): 4}, back=29)
    await counting.accepted(redis, {(deals["id"], key["id"]): 99}, back=31)
    await counting.accepted(redis, {(leads["id"], "key_other"): 5})
    other = await admin.call("POST", "groups/crm/keys", {"name": "Other"}, status=201)
    await counting.accepted(redis, {(leads["id"], key["id"]): 6})
    await admin.call("PATCH", f"triggers/{leads['id']}", {"keys": [other["id"]]}, status=200)
    shown = await admin.call("GET", f"keys/{key['id']}", status=200)
    told = [(each["flow"], each["accepts"], each["calls"]) for each in shown["triggers"]]
    assert told[0] == ("crm/deals", True, 7)
    assert set(told[1:]) == {("crm/leads", False, 6), (None, False, 2)}


async def test_the_activity_of_a_key_is_told_by_day_trigger_and_result(
    admin: Admin, crm: Crm, redis: Redis
) -> None:
    key, deals, leads = crm
    await counting.accepted(redis, {(deals["id"], key["id"]): 3, (deals["id"], "key_other"): 9})
    await counting.accepted(redis, {(deals["id"], key["id"]): 4}, back=1)
    await counting.refused(redis, {(leads["id"], key["id"], "rate_limited"): 5})
    found = await admin.call("GET", f"keys/{key['id']}/activity?days=2", status=200)
    assert len(found["days"]) == 2
    assert found["total"] == 12
    assert [(each["flow"], each["result"], each["counts"]) for each in found["items"]] == [
        ("crm/deals", "accepted", [4, 3]),
        ("crm/leads", "rate_limited", [0, 5]),
    ]
    assert found["items"][1]["hint"]
    await admin.call("GET", f"keys/{key['id']}/activity?days=0", status=422)


async def test_who_uses_an_old_secret_is_told_with_the_last_time(
    admin: Admin, crm: Crm, redis: Redis
) -> None:
    key, deals, _ = crm
    path = f"keys/{key['id']}/overlap"
    before = await admin.call("GET", path, status=200)
    assert (before["rotated_at"], before["overlaps"], before["items"]) == (None, False, [])
    rotated = await admin.call("POST", f"keys/{key['id']}/rotate", {}, status=201)
    since = datetime.fromisoformat(rotated["rotated_at"]).timestamp()
    uses = {f"{deals['id']} 203.0.113.0/24 curl/8.1": 7, "trg_gone * *": 9}
    for who, calls in uses.items():
        await redis.hset(names.overlap(key["id"], since), who, str(calls))
    await redis.hset(
        names.overlap_last(key["id"], since), next(iter(uses)), str(int(NOW.timestamp()))
    )
    overlap = await admin.call("GET", path, status=200)
    assert (overlap["overlaps"], overlap["calls"]) == (True, 16)
    gone, known = overlap["items"]
    assert (gone["trigger"], gone["flow"]) == ({"id": "trg_gone", "description": None}, None)
    assert (gone["network"], gone["last_at"]) == ("*", None)
    assert (known["flow"], known["network"], known["agent"], known["calls"]) == (
        ("crm/deals", "203.0.113.0/24", "curl/8.1", 7)
    )
    assert known["last_at"][:16] == NOW.isoformat()[:16]


async def test_without_the_cache_the_uses_of_a_key_are_not_known(
    registry: Registry, admin: Admin, crm: Crm, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: object) -> None:
        raise ConnectionError

    monkeypatch.setattr("turnout.router.usage.counts.read", fail)
    shown = await admin.call("GET", f"keys/{crm.key['id']}", status=200)
    assert {each["calls"] for each in shown["triggers"]} == {None}


async def test_a_key_is_made_with_its_trigger_in_one_step(admin: Admin, crm: Crm) -> None:
    body = {"description": "new", "new_key": {"name": "HubSpot", "limits": {"rate": 5}}}
    made = await admin.call("POST", "flows/crm/deals/triggers", body, status=201)
    key = made["new_key"]
    assert keys.is_well_formed(key["key"])
    assert (key["name"], key["limits"]["rate"]) == ("HubSpot", 5)
    assert made["keys"] == [{"id": key["id"], "name": "HubSpot"}]
    beside = {"description": "new", "keys": ["CRM"], "new_key": {"name": "Beside"}}
    made = await admin.call("POST", "flows/crm/deals/triggers", beside, status=201)
    assert {each["name"] for each in made["keys"]} == {"CRM", "Beside"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"new_key": {"name": "CRM"}}, 409),
        ({"new_key": {"name": "HubSpot"}, "keys": ["nobody"]}, 422),
        ({"new_key": {"name": "HubSpot", "flows": ["nothing"]}}, 422),
        ({"new_key": {}}, 422),
    ],
)
async def test_neither_key_nor_trigger_is_made_when_one_cannot_be(
    admin: Admin, crm: Crm, body: dict[str, object], status: int
) -> None:
    await admin.call(
        "POST", "flows/crm/deals/triggers", {"description": "?", **body}, status=status
    )
    assert len((await admin.call("GET", "groups/crm/keys", status=200))["items"]) == 1
    assert len((await admin.call("GET", "triggers", status=200))["items"]) == 2


def _key(age: timedelta, **more: Any) -> ApiKey:
    values: dict[str, Any] = dict.fromkeys(
        ("expires_at", "rotated_at", "old_prefix", "old_digest", "old_until", "revoked_at")
    )
    return ApiKey(
        **{
            **values,
            "id": "key_1",
            "group_id": "grp_1",
            "group": "crm",
            "name": "CRM",
            "prefix": "tk_0123456789",
            "digest": "d",
            "created_at": NOW - age,
            "revoked_reason": None,
            "flows": None,
            "limits": Limits(),
            "group_limits": Limits(),
            **more,
        }
    )


@pytest.mark.parametrize(
    ("key", "last_used_at", "findings"),
    [
        (_key(DAY), None, []),
        (_key(UNUSED_FOR + DAY), None, ["unused"]),
        (_key(UNUSED_FOR + DAY), NOW - DAY, []),
        (_key(ROTATE_AFTER + DAY), NOW - DAY, ["never_rotated"]),
        (_key(ROTATE_AFTER + DAY, rotated_at=NOW - ROTATE_AFTER), NOW - DAY, []),
        (_key(ROTATE_AFTER + DAY), None, ["unused", "never_rotated"]),
        (_key(DAY, expires_at=NOW + DAY), None, ["expiring"]),
        (_key(ROTATE_AFTER + DAY, expires_at=NOW - DAY), None, ["expired"]),
        (_key(ROTATE_AFTER + DAY, revoked_at=NOW), None, []),
    ],
)
def test_a_review_names_what_is_to_be_looked_at(
    key: ApiKey, last_used_at: datetime | None, findings: list[Finding]
) -> None:
    assert review(key, Activity(last_used_at, 0), NOW) == findings


def test_a_review_does_not_call_a_key_unused_when_its_use_is_not_known() -> None:
    assert review(_key(UNUSED_FOR + DAY), Activity(None, None), NOW) == []


async def test_keys_of_all_groups_are_listed_with_what_was_found(admin: Admin, crm: Crm) -> None:
    soon = (NOW + DAY).isoformat()
    await admin.call("POST", "groups", {"slug": "shop"}, status=201)
    await admin.call("POST", "groups/shop/keys", {"name": "Till", "expires_at": soon}, status=201)
    listed = (await admin.call("GET", "keys", status=200))["items"]
    assert {each["name"]: each["findings"] for each in listed} == {"CRM": [], "Till": ["expiring"]}
