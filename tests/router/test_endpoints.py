"""The frame of the admin API: what holds for every endpoint, because it is declared."""

import asyncio
from collections.abc import AsyncIterator

import aiohttp
import pytest
from tests.router.serving import Admin

from turnout.router.api.app import ENDPOINTS
from turnout.router.registry import Actor, Stale, etag

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


async def test_an_action_on_what_was_changed_meanwhile_is_refused(crm: Admin) -> None:
    (key,) = await crm.registry.list_keys("crm")
    url = f"{crm.url}/api/v1/keys/{key.id}"
    async with crm.session.get(url) as answer:
        headers = {"If-Match": answer.headers["ETag"]}
    await crm.call("PATCH", f"keys/{key.id}", {"name": "renamed meanwhile"}, status=200)
    for verb in ("rotate", "revoke"):
        async with crm.session.post(f"{url}/{verb}", json={}, headers=headers) as answer:
            assert answer.status == 412, verb
            assert (await answer.json())["errors"][0]["field"] == "If-Match"
    assert (await crm.registry.key(key.id)).state == "active"


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
    schemas = document["components"]["schemas"]
    # Two models of one name would be told apart by their modules.
    assert not [name for name in schemas if "__" in name]
    for model, field, text in (
        ("EventSelection", "json", "`path.to.field=value`."),
        ("Listing_GroupAnswer_", "next_cursor", "Asks for the part after this one: "),
        ("ProblemAnswer", "code", "Stays the same over versions."),
    ):
        assert schemas[model]["properties"][field]["description"].startswith(text)
