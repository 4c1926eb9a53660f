"""Why a webhook did not arrive: from what ingress notes in a real Redis to the admin API."""

import time
from datetime import UTC, datetime
from http import HTTPStatus

import pytest
from redis.asyncio import Redis
from tests.router import counting
from tests.router.serving import Admin, serve

from turnout.ingress import responses
from turnout.ingress.counts import Counts
from turnout.ingress.refused import Caller, Refused
from turnout.ingress.responses import Refusal
from turnout.router.refusals import HINTS
from turnout.router.registry import ApiKey, Registry, Trigger
from turnout.shared import cache, keys
from turnout.shared.batch import Batch

Crm = tuple[Trigger, ApiKey]


@pytest.fixture
async def crm(registry: Registry) -> Crm:
    """A trigger and a key of group crm; there is a group shop with the same."""
    for group in ("shop", "crm"):
        await registry.create_group(group)
        await registry.create_flow(group, "update")
        key, _ = await registry.create_key(group, f"{group} partner")
        trigger = await registry.create_trigger(group, "update", description=f"{group} deals")
    return trigger, key


async def test_a_refused_call_is_told_with_whose_it_was(
    admin: Admin, crm: Crm, redis: Redis
) -> None:
    trigger, key = crm
    await counting.note(
        redis,
        "rate_limited",
        at="1767225600.250",
        key=key.id,
        prefix=key.prefix,
        trigger=trigger.id,
        route=trigger.routing_key[:6],
        reason="the key",
    )
    listed = await admin.call("GET", "refusals", status=200)
    assert listed == {
        "items": [
            {
                "group": "crm",
                "flow": "crm/update",
                "trigger": {"id": trigger.id, "description": "crm deals"},
                "key": {"id": key.id, "name": "crm partner"},
                "at": "2026-01-01T00:00:00.250000Z",
                "status": 429,
                "code": "rate_limited",
                "hint": HINTS["rate_limited"],
                "prefix": key.prefix,
                "route": trigger.routing_key[:6],
                "method": "POST",
                "remote": "203.0.113.7",
                "reason": "the key",
            }
        ]
    }


async def test_what_ingress_did_not_know_is_found_by_how_it_begins(
    admin: Admin, crm: Crm, redis: Redis
) -> None:
    trigger, key = crm
    await counting.note(redis, "invalid_api_key", prefix=key.prefix, route=trigger.routing_key[:6])
    for query in ("", "group=crm", "key=crm%20partner", f"trigger={trigger.id}"):
        (item,) = (await admin.call("GET", f"refusals?{query}", status=200))["items"]
        assert item["key"] == {"id": key.id, "name": "crm partner"}
        assert item["trigger"] == {"id": trigger.id, "description": "crm deals"}
        assert item["reason"] is None
    assert (await admin.call("GET", "refusals?group=shop", status=200))["items"] == []


async def test_routes_that_begin_alike_are_nobodys(
    admin: Admin, registry: Registry, crm: Crm, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger, _ = crm
    twin = trigger.routing_key[:6] + "0" * 18
    monkeypatch.setattr(keys, "new_routing_key", lambda: twin)
    await registry.create_trigger("crm", "update", description="twin")
    await counting.note(redis, "invalid_api_key", route=twin[:6])
    (item,) = (await admin.call("GET", "refusals", status=200))["items"]
    assert (item["trigger"], item["flow"], item["route"]) == (None, None, twin[:6])


async def test_what_nobody_knows_is_told_as_it_came(admin: Admin, redis: Redis) -> None:
    await counting.note(redis, "new_code", status="418")
    (item,) = (await admin.call("GET", "refusals", status=200))["items"]
    assert item == {
        **item,
        **dict.fromkeys(
            ("group", "flow", "trigger", "key", "hint", "prefix", "route", "reason"), None
        ),
        "status": 418,
        "code": "new_code",
    }


async def test_the_newest_come_first_and_no_more_than_wanted(admin: Admin, redis: Redis) -> None:
    async with redis.pipeline() as pipe:  # more than are read in one round trip
        for number in range(2500):
            await counting.note(pipe, f"code_{number % 2}", at=f"{1_767_225_600 + number}.000")
        await pipe.execute()
    listed = await admin.call("GET", "refusals?limit=3", status=200)
    begin = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
    at = [datetime.fromisoformat(each["at"]).timestamp() - begin for each in listed["items"]]
    assert at == [2499, 2498, 2497]
    listed = await admin.call("GET", "refusals?code=code_0&limit=1000", status=200)
    assert len(listed["items"]) == 1000
    assert {each["code"] for each in listed["items"]} == {"code_0"}
    assert len((await admin.call("GET", "refusals", status=200))["items"]) == 100


async def test_conditions_choose_refused_calls(admin: Admin, crm: Crm, redis: Redis) -> None:
    trigger, key = crm
    await counting.note(redis, "rate_limited", key=key.id, trigger=trigger.id)
    await counting.note(redis, "trigger_not_found", key=key.id)
    await counting.note(redis, "invalid_api_key")
    for query, codes in (
        ("", {"rate_limited", "trigger_not_found", "invalid_api_key"}),
        ("group=crm", {"rate_limited", "trigger_not_found"}),
        ("flow=crm/update", {"rate_limited"}),
        (f"key={key.id}&code=trigger_not_found", {"trigger_not_found"}),
        ("group=shop", set()),
        ("code=nothing", set()),
    ):
        listed = await admin.call("GET", f"refusals?{query}", status=200)
        assert {each["code"] for each in listed["items"]} == codes, query


async def test_refused_calls_are_counted_by_day_trigger_key_and_code(
    admin: Admin, crm: Crm, redis: Redis
) -> None:
    trigger, key = crm
    pair = (trigger.id, key.id)
    await counting.refused(redis, {(*pair, "rate_limited"): 3, ("-", "-", "invalid_api_key"): 9})
    await counting.refused(redis, {(*pair, "rate_limited"): 40}, back=1)
    await counting.refused(redis, {(*pair, "rate_limited"): 500}, back=20)
    counts = await admin.call("GET", "refusals/counts", status=200)
    assert (len(counts["days"]), counts["total"]) == (7, 52)
    assert counts["days"] == sorted(counts["days"])
    assert counts["items"][0] == {
        "group": "crm",
        "flow": "crm/update",
        "trigger": {"id": trigger.id, "description": "crm deals"},
        "key": {"id": key.id, "name": "crm partner"},
        "code": "rate_limited",
        "hint": HINTS["rate_limited"],
        "counts": counts["items"][0]["counts"],
        "total": 43,
    }
    assert [each for each in counts["items"][0]["counts"] if each] == [40, 3]
    unknown = counts["items"][1]
    assert (unknown["trigger"], unknown["key"], unknown["total"]) == (None, None, 9)
    for query, total in (("days=40", 552), ("code=invalid_api_key", 9), ("group=crm", 43)):
        counts = await admin.call("GET", f"refusals/counts?{query}", status=200)
        assert counts["total"] == total


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("refusals?limit=0", "limit"),
        ("refusals?limit=1001", "limit"),
        ("refusals?days=3", "days"),
        ("refusals?group=No", "group"),
        ("refusals?code=a&code=b", "code"),
        ("refusals/counts?days=0", "days"),
        ("refusals/counts?days=41", "days"),
        ("refusals/counts?limit=3", "limit"),
    ],
)
async def test_a_wrong_parameter_is_named(admin: Admin, path: str, field: str) -> None:
    problem = await admin.call("GET", path, status=422)
    assert [each["field"] for each in problem["errors"]] == [field]


async def test_without_the_cache_the_answer_is_503(
    registry: Registry, unused_tcp_port: int
) -> None:
    client = cache.connect(f"redis://127.0.0.1:{unused_tcp_port}/0")
    async with serve(registry, client) as admin:
        for path in ("refusals", "refusals/counts"):
            problem = await admin.call("GET", path, status=503)
            assert problem["code"] == "cache_unavailable"
    await client.aclose()


async def test_what_ingress_notes_is_what_is_told(admin: Admin, crm: Crm, redis: Redis) -> None:
    trigger, key = crm
    batch = Batch(redis)
    counts = Counts(batch, "one")
    refused = Refused(batch, counts)
    known = Caller(
        method="PUT",
        remote="203.0.113.7",
        route=trigger.routing_key[:6],
        prefix=key.prefix,
        key_id=key.id,
        trigger_id=trigger.id,
    )
    before = time.time()
    refused.note(responses.NOT_PUBLISHED.because("memory alarm"), known)
    await refused.write()
    refused.note(responses.BAD_KEY, Caller("POST", "203.0.113.8", ""))
    await refused.write()
    await counts.write()
    unknown, told = (await admin.call("GET", "refusals", status=200))["items"]
    assert (told["status"], told["code"]) == (HTTPStatus.SERVICE_UNAVAILABLE, "not_accepted")
    assert (told["method"], told["reason"]) == ("PUT", "memory alarm")
    assert (told["key"]["id"], told["trigger"]["id"]) == (key.id, trigger.id)
    assert datetime.fromisoformat(told["at"]).timestamp() >= before - 0.001
    assert (unknown["key"], unknown["prefix"], unknown["route"]) == (None, None, None)
    counted = await admin.call("GET", "refusals/counts?days=2", status=200)
    assert {(each["code"], each["total"]) for each in counted["items"]} == {
        ("not_accepted", 1),
        ("invalid_api_key", 1),
    }


def test_every_code_of_ingress_has_a_hint_and_no_other() -> None:
    known = [value for value in vars(responses).values() if isinstance(value, Refusal)]
    known += [
        responses.method_not_allowed(("POST",)),
        responses.body_too_large(1),
        responses.header_too_large(1, 1),
        responses.rate_limited("key", 1.0, 1, 1.0),
        responses.too_many_in_flight(1),
        responses.unsupported_media_type(("text/plain",)),
    ]
    assert {each.code for each in known} == HINTS.keys()
