"""Idempotency-Key: what is asked for twice is made once."""

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from aiohttp import web
from tests.router.history.test_erasure import dump
from tests.router.serving import Admin
from tests.router.test_cli import run

from turnout.router.database import Database
from turnout.router.models import IdempotencyKey
from turnout.shared import keys


async def _post(
    admin: Admin, path: str, body: dict[str, Any], key: str = "k-1", token: str | None = None
) -> tuple[int, Any, Any]:
    headers = {"Idempotency-Key": key}
    if token is not None:
        headers["Authorization"] = f"Bearer {token}"
    async with admin.session.post(
        f"{admin.url}/api/v1/{path}", json=body, headers=headers
    ) as answer:
        return answer.status, await answer.json(), answer.headers


@pytest.fixture
async def crm(admin: Admin) -> Admin:
    await admin.registry.create_group("crm")
    await admin.registry.create_flow("crm", "update")
    return admin


async def test_the_same_request_is_done_once_and_has_the_same_answer(crm: Admin) -> None:
    path, body = "flows/crm/update/triggers", {"description": "Deals"}
    (first, made, headers), (again, answer, repeated) = [
        await _post(crm, path, body) for _ in range(2)
    ]
    assert (first, again) == (201, 201)
    assert made == answer
    assert (headers["ETag"], repeated["Idempotent-Replayed"]) == (repeated["ETag"], "true")
    assert len(await crm.registry.list_triggers()) == 1
    assert (await _post(crm, path, body, "k-2"))[1]["id"] != made["id"]


async def test_a_secret_is_not_shown_twice_and_stands_nowhere(
    crm: Admin, database: Database
) -> None:
    for path, body, field in (
        ("groups/crm/keys", {"name": "CRM"}, "key"),
        ("tokens", {"name": "night", "role": "viewer"}, "token"),
    ):
        _, made, _ = await _post(crm, path, body, path)
        status, again, _ = await _post(crm, path, body, path)
        assert (status, again) == (201, {**made, field: None})
    path = "flows/crm/update/triggers"
    _, made, _ = await _post(crm, path, {"description": "?", "new_key": {"name": "New"}})
    _, again, _ = await _post(crm, path, {"description": "?", "new_key": {"name": "New"}})
    text = made["new_key"]["key"]
    assert keys.is_well_formed(text)
    assert again["new_key"]["key"] is None
    async with database.reading() as connection:
        stored = (await connection.execute(sa.select(IdempotencyKey.__table__))).all()
    assert text.rpartition("_")[2] not in str(stored)
    assert "k-1" not in str(stored)


async def test_how_a_replay_changes_bodies_is_not_kept_with_its_answer_nor_after_its_end(
    crm: Admin, database: Database
) -> None:
    jane = "jane@example.org"
    body = {"dead": {"flow": "crm/update"}, "edit": {"merge": {"to": jane}}}
    (_, made, _), (_, again, _) = [await _post(crm, "replays", body) for _ in range(2)]
    assert made == again
    async with database.reading() as connection:
        kept = (await connection.execute(sa.select(IdempotencyKey.__table__))).all()
    assert jane not in repr(kept)
    assert jane in await dump(database)
    await crm.call("POST", f"replays/{made['id']}/abort", {}, status=200)
    assert jane not in await dump(database)
    assert (await crm.call("GET", f"replays/{made['id']}", status=200))["edited"]


async def test_another_request_with_the_same_key_is_refused(crm: Admin) -> None:
    assert (await _post(crm, "groups", {"slug": "shop"}))[0] == 201
    for path, body in (("groups", {"slug": "hr"}), ("groups/crm/keys", {"name": "CRM"})):
        status, problem, _ = await _post(crm, path, body)
        assert (status, problem["code"]) == (422, "idempotency_key_reused")
    _, token = await crm.registry.create_token("other", role="operator")
    assert (await _post(crm, "groups", {"slug": "hr"}, token=token))[0] == 201, "its own keys"


async def test_what_was_refused_may_be_tried_again_with_the_same_key(crm: Admin) -> None:
    assert (await _post(crm, "groups/shop/keys", {"name": "Shop"}))[0] == 404
    await crm.registry.create_group("shop")
    assert (await _post(crm, "groups/shop/keys", {"name": "Shop"}))[0] == 201


@pytest.mark.both_databases
async def test_of_two_at_the_same_time_one_is_done(crm: Admin) -> None:
    path, body = "flows/crm/update/triggers", {"description": "Deals"}
    found = await asyncio.gather(*(_post(crm, path, body) for _ in range(5)))
    assert {status for status, _, _ in found} <= {201, 409}
    assert {answer["code"] for status, answer, _ in found if status == 409} <= {"repeated"}
    assert len(await crm.registry.list_triggers()) == 1


@pytest.mark.both_databases
async def test_a_key_is_forgotten_after_a_day_and_removed(crm: Admin, database: Database) -> None:
    await _post(crm, "groups/crm/keys", {"name": "first"}, "old")
    await _post(crm, "groups/crm/keys", {"name": "second"}, "other")
    async with database.writing() as connection:
        await connection.execute(
            sa.update(IdempotencyKey).values(created_at=datetime.now(UTC) - timedelta(hours=25))
        )
    status, _, _ = await _post(crm, "groups/crm/keys", {"name": "third"}, "old")
    assert status == 201
    async with database.reading() as connection:
        left = await connection.scalar(sa.select(sa.func.count()).select_from(IdempotencyKey))
    assert left == 1


@pytest.mark.parametrize("key", ["", "a b", "k" * 256, "ä"])
async def test_a_key_that_is_none_is_refused(crm: Admin, key: str) -> None:
    status, problem, _ = await _post(crm, "groups", {"slug": "shop"}, key)
    assert (status, problem["errors"][0]["field"]) == (422, "Idempotency-Key")


async def test_the_command_line_asks_again_when_an_answer_is_lost(
    crm: Admin, tmp_path: Path
) -> None:
    async def lose_first(request: web.Request) -> web.Response:
        headers = {name: request.headers[name] for name in ("Authorization", "Idempotency-Key")}
        async with crm.session.post(
            crm.url + request.path,
            data=await request.read(),
            headers={**headers, "Content-Type": "application/json"},
        ) as answer:
            text = await answer.text()
        if not lost:
            lost.append(text)
            assert request.transport is not None
            request.transport.abort()
        return web.Response(status=answer.status, text=text, content_type="application/json")

    lost: list[str] = []
    app = web.Application()
    app.router.add_post("/{path:.*}", lose_first)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    settings = {"TURNOUT_ADMIN_URL": f"http://{host}:{port}", "TURNOUT_ADMIN_TOKEN": crm.token}
    made = await run("key", "create", "CRM", "--group", "crm", cwd=tmp_path, **settings)
    await runner.cleanup()
    (key,) = await crm.registry.list_keys("crm")
    assert (made.code, len(lost)) == (0, 1)
    assert f"turnout key rotate {key.id} --overlap 0" in made.err
