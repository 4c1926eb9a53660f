"""The frame of the admin API: what holds for every endpoint, because it is declared."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from tests.router.serving import Admin

from turnout.router.api.app import ENDPOINTS
from turnout.router.api.routes import Endpoint
from turnout.router.registry import Actor, Stale, etag
from turnout.shared import ids

pytestmark = pytest.mark.both_databases


@pytest.fixture
async def crm(admin: Admin) -> AsyncIterator[Admin]:
    """An admin API with groups crm and shop, each with a flow, a key and a trigger."""
    for group in ("crm", "shop"):
        await admin.registry.create_group(group)
        await admin.registry.create_flow(group, "update")
        await admin.registry.create_key(group, f"key of {group}")
        await admin.registry.create_trigger(group, "update", description=f"call of {group}")
    return admin


async def _session(admin: Admin, role: str, groups: list[str] | None) -> aiohttp.ClientSession:
    _, text = await admin.registry.create_token(
        f"{role} {groups}",
        role=role,  # type: ignore[arg-type]
        groups=groups,
    )
    return aiohttp.ClientSession(headers={"Authorization": f"Bearer {text}"})


async def _path(admin: Admin, endpoint: Endpoint, group: str) -> str:
    """Fill a path with what belongs to a group."""
    (key,) = await admin.registry.list_keys(group)
    (trigger,) = await admin.registry.list_flow_triggers(group, "update")
    parts = {"group": group, "flow": "update", "key_id": key.id, "trigger_id": trigger.id}
    unknown = {
        "token_id": ids.new(ids.TOKEN),
        "event_id": ids.new(ids.EVENT),
        "run_id": ids.new(ids.RUN),
        "letter_id": ids.new(ids.RUN),
        "replay_id": ids.new(ids.REPLAY),
    }
    return admin.url + endpoint.path.format_map({**parts, **unknown})


async def test_a_token_of_another_group_reaches_nothing(crm: Admin) -> None:
    secret = [(await crm.registry.list_keys("crm"))[0].id, "call of crm", "key of crm"]
    async with await _session(crm, "operator", ["shop"]) as session:
        for each in ENDPOINTS:
            if each.role is None:
                continue
            async with session.request(
                each.method, await _path(crm, each, "crm"), json={}
            ) as answer:
                text = await answer.text()
                if each.parts:
                    assert answer.status in {403, 404}, (each.name, text)
                elif not each.is_limited:
                    assert answer.status == 403, (each.name, text)
                assert not [
                    word
                    for word in secret
                    if word in text.replace(str(answer.url), "") and word not in str(answer.url)
                ], (each.name, text)


async def test_a_viewer_changes_nothing(crm: Admin) -> None:
    async with await _session(crm, "viewer", None) as session:
        for each in ENDPOINTS:
            if each.role in {"operator", "admin"}:
                url = await _path(crm, each, "crm")
                async with session.request(each.method, url, json={}) as answer:
                    assert answer.status == 403, each.name


async def test_a_revoked_token_opens_nothing_and_the_last_one_is_kept(crm: Admin) -> None:
    token, _ = await crm.registry.create_token("temp", role="viewer")
    await crm.call("POST", f"tokens/{token.id}/revoke", {"reason": "?"}, status=200)
    listed = (await crm.call("GET", "tokens", status=200))["items"]
    (first,) = [each for each in listed if each["role"] == "admin"]
    problem = await crm.call("POST", f"tokens/{first['id']}/revoke", {}, status=409)
    assert "last" in problem["detail"]


async def test_a_change_is_recorded_with_who_and_why_and_without_secrets(crm: Admin) -> None:
    (key,) = await crm.registry.list_keys("crm")
    await crm.call("PATCH", f"keys/{key.id}?reason=slower", {"limits": {"rate": 2}}, status=200)
    await crm.call("POST", f"keys/{key.id}/rotate", {}, status=201)
    found = await crm.call("GET", f"audit?object={key.id}", status=200)
    rotated, changed, made = found["items"]
    assert (changed["verb"], changed["reason"]) == ("key.change", "slower")
    assert (changed["actor_name"], changed["remote"]) == ("settings", "127.0.0.1")
    assert set(changed["after"]) == {"limits"}
    assert rotated["after"]["digest"] == made["after"]["digest"] == "…"
    assert key.digest not in str(found)


async def test_a_change_of_what_was_changed_meanwhile_is_refused(crm: Admin) -> None:
    url = f"{crm.url}/api/v1/groups/crm"
    async with crm.session.get(url) as answer:
        tag = answer.headers["ETag"]
    statuses = []
    for _ in range(2):
        async with crm.session.patch(
            url, json={"limits": {"rate": len(statuses) + 1}}, headers={"If-Match": tag}
        ) as answer:
            statuses.append(answer.status)
    assert statuses == [200, 412]


async def test_changes_at_the_same_time_do_not_overwrite_each_other(crm: Admin) -> None:
    seen = frozenset({etag(await crm.registry.group("crm"))})
    actor = crm.registry.acting(Actor("tok", "test", expects=seen))
    done = await asyncio.gather(
        *(actor.limit_group("crm", {"rate": float(rate)}) for rate in range(1, 6)),
        return_exceptions=True,
    )
    assert sum(isinstance(each, Stale) for each in done) == 4


async def test_pages_show_everything_once_whatever_is_added(crm: Admin) -> None:
    for number in range(5):
        await crm.registry.create_group(f"g{number}")
    found: list[str] = []
    query = "groups?limit=2"
    while True:
        part = await crm.call("GET", query, status=200)
        found += [each["slug"] for each in part["items"]]
        if part["next_cursor"] is None:
            break
        query = f"groups?limit=2&cursor={part['next_cursor']}"
        await crm.registry.create_group(f"a{len(found)}")
    assert found == ["crm", "g0", "g1", "g2", "g3", "g4", "shop"]
    for path in ("groups?cursor=x", "keys?cursor=WzFd", "flows?limit=0"):
        assert (await crm.call("GET", path, status=422))["errors"]


async def test_the_document_describes_every_endpoint(crm: Admin) -> None:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{crm.url}/api/v1/openapi.json") as answer,
    ):
        document = await answer.json()
    for each in ENDPOINTS:
        operation = document["paths"][each.path][each.method.lower()]
        assert {str(status) for status in each.refusals} < operation["responses"].keys()
        assert operation["summary"]
