"""How often flows were called: from what ingress counts in a real Redis to the admin API."""

from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Literal

import pytest
from redis.asyncio import Redis
from tests.router import counting
from tests.router.counting import SPANS
from tests.router.serving import Admin, serve

from turnout.ingress.counts import Counts
from turnout.router.registry import ApiKey, Registry, Trigger
from turnout.shared import cache, ids, names
from turnout.shared.batch import Batch


@dataclass
class Crm:
    """Groups crm and shop, each with a flow, a trigger and a key; crm has another of both."""

    deals: Trigger
    leads: Trigger
    partner: ApiKey
    other: ApiKey
    shop: Trigger
    shop_key: ApiKey


@pytest.fixture
async def crm(registry: Registry) -> Crm:
    for group, flow in (("crm", "update"), ("crm", "report"), ("shop", "update")):
        if flow == "update":
            await registry.create_group(group)
        await registry.create_flow(group, flow)
    return Crm(
        deals=await registry.create_trigger("crm", "update", description="Deals"),
        leads=await registry.create_trigger("crm", "report", description="Leads"),
        partner=(await registry.create_key("crm", "Partner"))[0],
        other=(await registry.create_key("crm", "Other"))[0],
        shop=await registry.create_trigger("shop", "update", description="Orders"),
        shop_key=(await registry.create_key("shop", "Partner"))[0],
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def test_calls_are_counted_by_trigger_and_key_busiest_first(
    admin: Admin, crm: Crm, redis: Redis
) -> None:
    await counting.accepted(redis, {(crm.deals.id, crm.partner.id): 3})
    await counting.accepted(
        redis, {(crm.deals.id, crm.partner.id): 2, (crm.leads.id, crm.other.id): 40}, back=2
    )
    usage = await admin.call("GET", "usage?last=5", status=200)
    assert usage["unit"] == "day"
    assert (len(usage["periods"]), usage["total"]) == (5, 45)
    assert sum(usage["counts"]) == 45
    assert sorted(usage["counts"]) == [0, 0, 0, 3, 42]
    assert [(each["total"], sum(each["counts"])) for each in usage["items"]] == [(40, 40), (5, 5)]
    assert usage["items"][1] == {
        "group": "crm",
        "flow": "crm/update",
        "trigger": {"id": crm.deals.id, "description": "Deals"},
        "key": {"id": crm.partner.id, "name": "Partner"},
        "counts": usage["items"][1]["counts"],
        "total": 5,
    }


@pytest.mark.parametrize(("unit", "length"), [("day", 7), ("hour", 24), ("minute", 60)])
async def test_each_period_has_its_own_calls_in_utc(
    admin: Admin, crm: Crm, redis: Redis, unit: Literal["day", "hour", "minute"], length: int
) -> None:
    counted = {}
    for back, calls in ((0, 1), (1, 20), (3, 300)):
        pair = (crm.deals.id, crm.partner.id)
        moment = await counting.accepted(redis, {pair: calls}, unit=unit, back=back)
        counted[names.usage(moment, unit)] = calls
    usage = await admin.call("GET", f"usage?unit={unit}", status=200)
    periods = [_moment(each) for each in usage["periods"]]
    assert len(periods) == length
    assert {later - earlier for earlier, later in pairwise(periods)} == {SPANS[unit]}
    assert all(period.utcoffset() == SPANS[unit] * 0 for period in periods)
    told = {
        names.usage(period, unit): calls
        for period, calls in zip(periods, usage["counts"], strict=True)
        if calls
    }
    assert told == counted


async def test_no_calls_are_no_items(admin: Admin) -> None:
    usage = await admin.call("GET", "usage?last=1", status=200)
    assert (usage["counts"], usage["total"], usage["items"]) == ([0], 0, [])


async def test_conditions_hold_together(admin: Admin, crm: Crm, redis: Redis) -> None:
    await counting.accepted(
        redis,
        {
            (crm.deals.id, crm.partner.id): 1,
            (crm.deals.id, crm.other.id): 20,
            (crm.leads.id, crm.partner.id): 300,
            (crm.shop.id, crm.shop_key.id): 4000,
        },
    )
    for query, total in (
        ("", 4321),
        ("group=crm", 321),
        ("flow=crm/update", 21),
        ("flow=crm/update&group=shop", 0),
        (f"trigger={crm.leads.id}", 300),
        (f"key={crm.partner.id}", 301),
        (f"key={crm.partner.prefix}", 301),
        ("key=Partner", 4301),  # of both groups
        ("key=Partner&group=crm", 301),
        (f"trigger={crm.deals.id}&key=Other", 20),
    ):
        usage = await admin.call("GET", f"usage?last=2&{query}", status=200)
        assert usage["total"] == sum(usage["counts"]) == total, query


async def test_calls_of_what_the_registry_does_not_know_are_counted_by_id(
    admin: Admin, redis: Redis
) -> None:
    trigger_id, key_id = ids.new(ids.TRIGGER), ids.new(ids.KEY)
    await counting.accepted(redis, {(trigger_id, key_id): 5})
    usage = await admin.call("GET", "usage", status=200)
    assert usage["total"] == 5
    assert usage["items"][0] == {
        **usage["items"][0],
        "group": None,
        "flow": None,
        "trigger": {"id": trigger_id, "description": None},
        "key": {"id": key_id, "name": None},
    }


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("unit=year", "unit"),
        ("last=0", "last"),
        ("last=many", "last"),
        ("last=41", "last"),
        ("unit=hour&last=73", "last"),
        ("unit=minute&last=121", "last"),
        ("colour=red", "colour"),
        ("group=crm&group=shop", "group"),
        ("group=No%20Slug", "group"),
        ("flow=update", "flow"),
    ],
)
async def test_a_wrong_parameter_is_named(admin: Admin, query: str, field: str) -> None:
    problem = await admin.call("GET", f"usage?{query}", status=422)
    assert problem["code"] == "invalid_fields"
    assert [each["field"] for each in problem["errors"]] == [field]


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ("group=hr", "group 'hr'"),
        ("flow=crm/hire", "flow 'crm/hire'"),
        ("trigger=trg_" + "0" * 32, "trigger 'trg_"),
        ("key=Nobody", "key 'Nobody'"),
    ],
)
@pytest.mark.usefixtures("crm")
async def test_what_a_condition_names_has_to_exist(admin: Admin, query: str, named: str) -> None:
    problem = await admin.call("GET", f"usage?{query}", status=404)
    assert named in problem["detail"]


async def test_keys_and_triggers_say_when_they_were_used_and_how_often_today(
    admin: Admin, crm: Crm, redis: Redis
) -> None:
    await counting.accepted(redis, {(crm.deals.id, crm.partner.id): 7}, back=1)
    await counting.accepted(
        redis, {(crm.deals.id, crm.partner.id): 1, (crm.leads.id, crm.partner.id): 20}
    )
    at = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
    await redis.hset(
        names.LAST_USED,
        mapping={each: int(at.timestamp()) for each in (crm.deals.id, crm.partner.id)},
    )

    def activity(thing: dict[str, Any]) -> tuple[datetime | None, int | None]:
        used = thing["last_used_at"]
        return used and _moment(used), thing["calls_today"]

    listed = await admin.call("GET", "groups/crm/keys", status=200)
    assert [activity(each) for each in listed["items"]] == [(at, 21), (None, 0)]
    shown = await admin.call("GET", f"keys/{crm.partner.id}", status=200)
    assert activity(shown) == (at, 21)
    for path in ("triggers", "flows/crm/update/triggers"):
        listed = await admin.call("GET", path, status=200)
        by_id = {each["id"]: activity(each) for each in listed["items"]}
        assert by_id[crm.deals.id] == (at, 1)
    assert by_id.keys() == {crm.deals.id}
    shown = await admin.call("GET", f"triggers/{crm.leads.id}", status=200)
    assert activity(shown) == (None, 20)


async def test_without_the_cache_listings_go_on_and_usage_is_503(
    registry: Registry, crm: Crm, unused_tcp_port: int
) -> None:
    client = cache.connect(f"redis://127.0.0.1:{unused_tcp_port}/0")
    async with serve(registry, client) as admin:
        for path in ("groups/crm/keys", "triggers"):
            for each in (await admin.call("GET", path, status=200))["items"]:
                assert (each["last_used_at"], each["calls_today"]) == (None, None)
        changed = await admin.call(
            "PATCH", f"keys/{crm.partner.id}", {"limits": {"rate": 1}}, status=200
        )
        assert (changed["limits"]["rate"], changed["calls_today"]) == (1, None)
        problem = await admin.call("GET", "usage", status=503)
        assert problem["code"] == "cache_unavailable"
    await client.aclose()


async def test_what_ingress_counts_is_what_is_told(admin: Admin, crm: Crm, redis: Redis) -> None:
    begin = datetime.now(UTC).replace(microsecond=0)
    counts = Counts(Batch(redis), "one")
    for _ in range(3):
        counts.accepted(crm.deals.id, crm.partner.id)
    await counts.write()
    for unit in SPANS:
        usage = await admin.call("GET", f"usage?unit={unit}&last=2", status=200)
        assert usage["total"] == 3
        assert usage["items"][0]["trigger"]["id"] == crm.deals.id
    shown = await admin.call("GET", f"keys/{crm.partner.id}", status=200)
    assert _moment(shown["last_used_at"]) >= begin
