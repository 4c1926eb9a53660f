"""The admin API: real HTTP over a real database."""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from redis.asyncio import Redis
from tests.router.serving import Admin, Broker, no_history, operations
from yarl import URL

from turnout.router.api import make_app
from turnout.router.database import open_database
from turnout.router.duties import Duties
from turnout.router.registry import Registry
from turnout.router.settings import RouterSettings
from turnout.router.topology import Missing
from turnout.shared import keys, log
from turnout.shared.errors import BrokerError

#: What follows the prefix of an id that nobody has.
NOBODY = "0" * 32


@pytest.fixture
async def crm(admin: Admin) -> Admin:
    """An admin API with groups crm and shop, each with a flow."""
    for group in ("crm", "shop"):
        await admin.call("POST", "groups", {"slug": group}, status=201)
        await admin.call("POST", f"groups/{group}/flows", {"slug": "update"}, status=201)
    return admin


async def test_a_user_goes_from_a_group_to_a_live_url(admin: Admin) -> None:
    group = await admin.call("POST", "groups", {"slug": "crm", "name": "CRM"}, status=201)
    assert group == {**group, "slug": "crm", "name": "CRM"}
    flow = await admin.call("POST", "groups/crm/flows", {"slug": "update"}, status=201)
    assert flow == {**flow, "group": "crm", "slug": "update", "name": "update"}
    key = await admin.call("POST", "groups/crm/keys", {"name": "CRM Integration"}, status=201)
    assert keys.is_well_formed(key["key"])
    trigger = await admin.call(
        "POST", "flows/crm/update/triggers", {"description": "Deal updated"}, status=201
    )
    fields = ("rate", "burst", "max_body_bytes", "max_header_bytes", "read_timeout")
    unlimited = dict.fromkeys(fields)
    assert trigger == {
        "id": trigger["id"],
        "group": "crm",
        "flow": "update",
        "description": "Deal updated",
        "routing_key": trigger["routing_key"],
        "url": f"https://hooks.example.org/t/{trigger['routing_key']}",
        "rotated_at": None,
        "old_routing_key": None,
        "old_until": None,
        "methods": ["POST"],
        "content_types": None,
        "key_in_query": False,
        "wait": False,
        "enabled": True,
        "disabled_reason": None,
        "keys": None,
        "live": True,
        "created_at": trigger["created_at"],
        "limits": unlimited,
        "effective_limits": unlimited,
        "last_used_at": None,
        "calls_today": 0,
    }


async def test_what_was_created_is_listed_and_shown_the_same(crm: Admin) -> None:
    trigger = await crm.call(
        "POST", "flows/crm/update/triggers", {"description": "Deal updated"}, status=201
    )
    group = await crm.call("GET", "groups/crm", status=200)
    flow = await crm.call("GET", "flows/crm/update", status=200)
    assert group in (await crm.call("GET", "groups", status=200))["items"]
    assert (await crm.call("GET", "groups/crm/flows", status=200))["items"] == [flow]
    assert len((await crm.call("GET", "flows", status=200))["items"]) == 2
    assert await crm.call("GET", f"triggers/{trigger['id']}", status=200) == trigger
    for listing in ("flows/crm/update/triggers", "triggers"):
        assert (await crm.call("GET", listing, status=200))["items"] == [trigger]
    assert (await crm.call("GET", "flows/shop/update/triggers", status=200))["items"] == []


async def test_the_text_of_a_key_is_shown_once(crm: Admin) -> None:
    body = {"name": "CRM", "expires_at": "2199-01-31T02:00:00+02:00"}
    created = await crm.call("POST", "groups/crm/keys", body, status=201)
    text = created.pop("key")
    shown = await crm.call("GET", f"keys/{created['id']}", status=200)
    listed = await crm.call("GET", "groups/crm/keys", status=200)
    assert created == {
        "id": created["id"],
        "group": "crm",
        "name": "CRM",
        "prefix": keys.prefix(text),
        "created_at": created["created_at"],
        "state": "active",
        "expires_at": "2199-01-31T00:00:00Z",
        "rotated_at": None,
        "old_prefix": None,
        "old_until": None,
        "revoked_at": None,
        "revoked_reason": None,
        "flows": None,
        "limits": {"rate": None, "burst": None, "in_flight": None},
        "effective_limits": {"rate": None, "burst": None, "in_flight": None},
        "last_used_at": None,
        "calls_today": 0,
        "findings": [],
    }
    assert shown == {**created, "triggers": []}
    assert listed == {"items": [created], "next_cursor": None}
    assert text.rpartition("_")[2] not in json.dumps([shown, listed])


async def test_a_trigger_and_its_chosen_keys_name_each_other(crm: Admin) -> None:
    key = await crm.call("POST", "groups/crm/keys", {"name": "CRM"}, status=201)
    await crm.call("POST", "groups/crm/keys", {"name": "Other"}, status=201)
    trigger = await crm.call(
        "POST",
        "flows/crm/update/triggers",
        {
            "description": "Deal updated",
            "keys": ["CRM"],
            "methods": ["POST", "PUT"],
            "key_in_query": True,
        },
        status=201,
    )
    assert trigger["keys"] == [{"id": key["id"], "name": "CRM"}]
    assert trigger["methods"] == ["POST", "PUT"]
    assert trigger["key_in_query"] is True
    shown = await crm.call("GET", f"keys/{key['id']}", status=200)
    assert shown["triggers"] == [
        {
            "id": trigger["id"],
            "flow": "crm/update",
            "description": "Deal updated",
            "accepts": True,
            "calls": 0,
        }
    ]


async def test_a_key_of_another_group_cannot_be_chosen(crm: Admin) -> None:
    key = await crm.call("POST", "groups/shop/keys", {"name": "Shop"}, status=201)
    for label in ("Shop", key["id"]):
        problem = await crm.call(
            "POST",
            "flows/crm/update/triggers",
            {"description": "?", "keys": [label]},
            status=422,
        )
        assert problem["errors"][0]["field"] == "keys.0"


async def test_a_creation_is_answered_when_the_broker_does_not_follow(crm: Admin) -> None:
    crm.broker.reachable = False
    await crm.call("POST", "groups/crm/keys", {"name": "CRM"}, status=201)
    trigger = await crm.call(
        "POST", "flows/crm/update/triggers", {"description": "Deal updated"}, status=201
    )
    assert trigger["live"] is False
    crm.broker.reachable = True
    await crm.broker.settle(1)
    assert (await crm.call("GET", f"triggers/{trigger['id']}", status=200))["live"] is True


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Bearer",
        "Bearer guess",
        pytest.param(f"Bearer {keys.new_key(keys.ADMIN_TOKEN).text}", id="another token"),
        pytest.param(f"Bearer {keys.new_key().text}", id="an API key"),
        "Basic {token}",
        "{token}",
        "Bearer {token}0",
    ],
)
async def test_every_bad_token_is_refused_alike(admin: Admin, authorization: str | None) -> None:
    headers = {"X-Test": "1"}
    if authorization is not None:
        headers["Authorization"] = authorization.format(token=admin.token)
    answers = []
    async with aiohttp.ClientSession(headers=headers) as session:
        for path in ("groups", "groups/unknown", "nothing/here"):
            async with session.get(f"{admin.url}/api/v1/{path}") as answer:
                stable = {key: value for key, value in answer.headers.items() if key != "Date"}
                answers.append((answer.status, stable, await answer.text()))
    assert answers[0] == answers[1] == answers[2]
    status, received, text = answers[0]
    assert status == 401
    assert received["WWW-Authenticate"] == 'Bearer realm="turnout"'
    assert json.loads(text)["code"] == "unauthorized"


async def test_supervisors_need_no_token(admin: Admin) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{admin.url}/healthz") as answer:
            assert (answer.status, await answer.json()) == (200, {"status": "ok"})
        async with session.get(f"{admin.url}/readyz") as answer:
            assert answer.status == 200
        admin.broker.settled = False
        async with session.get(f"{admin.url}/readyz") as answer:
            assert answer.status == 503
            assert (await answer.json(content_type=None))["code"] == "not_settled"
        async with session.get(f"{admin.url}/healthz") as answer:
            assert answer.status == 200


async def test_what_exists_is_a_conflict(crm: Admin) -> None:
    for path, body in (
        ("groups", {"slug": "crm"}),
        ("groups/crm/flows", {"slug": "update"}),
    ):
        problem = await crm.call("POST", path, body, status=409)
        assert problem["code"] == "exists"
        assert [each["field"] for each in problem["errors"]] == ["slug"]
    await crm.call("POST", "groups/crm/keys", {"name": "CRM"}, status=201)
    problem = await crm.call("POST", "groups/crm/keys", {"name": " CRM "}, status=409)
    assert "'CRM'" in problem["detail"]
    assert [each["field"] for each in problem["errors"]] == ["name"]


@pytest.mark.parametrize(
    ("method", "path", "named"),
    [
        ("GET", "groups/hr", "group 'hr'"),
        ("GET", "groups/hr/flows", "group 'hr'"),
        ("GET", "groups/hr/keys", "group 'hr'"),
        ("POST", "groups/hr/flows", "group 'hr'"),
        ("GET", "flows/crm/report", "flow 'crm/report'"),
        ("GET", "flows/crm/report/triggers", "flow 'crm/report'"),
        ("GET", f"keys/key_{NOBODY}", "key 'key_"),
        ("GET", f"triggers/trg_{NOBODY}", "trigger 'trg_"),
        ("GET", "nothing/here", "/api/v1/nothing/here"),
    ],
)
async def test_what_was_not_found_is_named(crm: Admin, method: str, path: str, named: str) -> None:
    body = {"slug": "x"} if method == "POST" else None
    problem = await crm.call(method, path, body, status=404)
    assert named in problem["detail"]


@pytest.mark.parametrize(
    "path",
    [
        "groups/CRM",
        "flows/crm/..%2Fshop",
        "groups/-/keys",
        "keys/trg_0",
        "triggers/1",
        "keys/key_é",
    ],
)
async def test_what_cannot_be_a_name_is_refused_before_any_look_up(crm: Admin, path: str) -> None:
    problem = await crm.call("GET", path, status=400)
    assert problem["code"] == "bad_path"


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("groups", {}, "slug"),
        ("groups", {"slug": "No Slug"}, "slug"),
        ("groups", {"slug": 7}, "slug"),
        ("groups", {"slug": "hr", "colour": "red"}, "colour"),
        ("groups", {"slug": "hr", "name": ""}, "name"),
        ("groups", {"slug": "hr", "name": "x" * 101}, "name"),
        ("groups", {"slug": "hr", "name": "red \x1b[31m"}, "name"),
        ("groups", [], "body"),
        ("groups/crm/keys", {"name": "  "}, "name"),
        ("groups/crm/keys", {"name": "CRM", "expires_at": "2199-01-31"}, "expires_at"),
        ("groups/crm/keys", {"name": "CRM", "expires_at": "2199-01-31T00:00:00"}, "expires_at"),
        ("groups/crm/keys", {"name": "CRM", "expires_at": "2020-01-31T00:00:00Z"}, "expires_at"),
        (
            "groups/crm/keys",
            {"name": "CRM", "expires_at": "9999-12-31T23:59:59-05:00"},
            "expires_at",
        ),
        ("flows/crm/update/triggers", {}, "description"),
        ("flows/crm/update/triggers", {"description": "?", "keys": []}, "keys"),
        ("flows/crm/update/triggers", {"description": "?", "methods": []}, "methods"),
        ("flows/crm/update/triggers", {"description": "?", "methods": ["BREW"]}, "methods.0"),
        ("flows/crm/update/triggers", {"description": "?", "key_in_query": "yes"}, "key_in_query"),
        ("flows/crm/update/triggers", {"description": "?", "routing_key": "mine"}, "routing_key"),
    ],
)
async def test_a_refused_field_is_named(crm: Admin, path: str, body: Any, field: str) -> None:
    problem = await crm.call("POST", path, body, status=422)
    assert problem["code"] == "invalid_fields"
    assert [each["field"] for each in problem["errors"]] == [field]
    assert problem["errors"][0]["message"] in problem["detail"]


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "bad_json"),
        (b"", "application/json", 400, "bad_json"),
        (b'{"slug": "\xff"}', "application/json", 400, "bad_json"),
        (b'{"slug": "\\ud800"}', "application/json", 400, "bad_json"),
        (b'{"slug": "hr"}', "text/plain", 415, "unsupported_media_type"),
        (b"slug=hr", "application/x-www-form-urlencoded", 415, "unsupported_media_type"),
        (b'{"slug": "' + b"x" * 70_000 + b'"}', "application/json", 413, "body_too_large"),
    ],
)
async def test_a_body_that_cannot_be_read_is_refused(
    admin: Admin, content: bytes, content_type: str, status: int, code: str
) -> None:
    async with admin.session.post(
        f"{admin.url}/api/v1/groups", data=content, headers={"Content-Type": content_type}
    ) as answer:
        assert answer.status == status
        assert answer.content_type == "application/problem+json"
        problem = await answer.json(content_type=None)
    assert (problem["status"], problem["code"]) == (status, code)
    (error,) = problem["errors"]
    assert error["field"] in {"body", "Content-Type"}


async def test_a_body_that_does_not_come_is_not_waited_for_for_ever(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("turnout.router.api.body._READ_TIMEOUT", 0.05)
    url = URL(admin.url)
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(
        f"POST /api/v1/groups HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {admin.token}\r\n"
        "Content-Type: application/json\r\nContent-Length: 20\r\n\r\n{".encode()
    )
    assert b" 408 " in await reader.readline()
    writer.close()


async def test_a_method_that_is_not_allowed_is_told_which_are(admin: Admin) -> None:
    async with admin.session.delete(f"{admin.url}/api/v1/groups") as answer:
        assert answer.status == 405
        assert set(answer.headers["Allow"].split(",")) >= {"GET", "POST"}
        assert (await answer.json(content_type=None))["code"] == "method_not_allowed"


async def test_no_answer_is_kept_by_a_cache(crm: Admin) -> None:
    for path in ("groups", "groups/hr"):
        async with crm.session.get(f"{crm.url}/api/v1/{path}") as answer:
            assert answer.headers["Cache-Control"] == "no-store"


async def test_the_topology_is_checked_and_applied(admin: Admin) -> None:
    assert await admin.call("GET", "topology", status=200) == {"ok": True, "missing": []}
    admin.broker.lacks = [Missing("queue", "turnout.flow.crm.update")]
    part = {"kind": "queue", "name": "turnout.flow.crm.update"}
    assert await admin.call("GET", "topology", status=200) == {"ok": False, "missing": [part]}
    assert await admin.call("POST", "topology/apply", status=200) == {"declared": [part]}
    assert await admin.call("GET", "topology", status=200) == {"ok": True, "missing": []}


async def test_a_broker_that_does_not_answer_is_503(admin: Admin) -> None:
    admin.broker.failure = BrokerError("amqp://turnout:hush@127.0.0.1: refused")
    problem = await admin.call("GET", "topology", status=503)
    assert problem["code"] == "broker_unavailable"
    assert "hush" not in json.dumps(problem)


async def test_an_error_of_ours_is_logged_and_not_shown(
    admin: Admin, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    try:
        log.configure()
        admin.broker.failure = ZeroDivisionError("in the depths")
        problem = await admin.call("GET", "topology", status=500)
    finally:
        root.handlers[:] = before
        root.setLevel(level)
    assert problem["code"] == "internal"
    assert "depths" not in json.dumps(problem)
    assert "in the depths" in capsys.readouterr().err


async def test_a_database_that_cannot_be_read_is_503(tmp_path: Path, redis: Redis) -> None:
    path = tmp_path / "turnout.db"
    async with open_database(f"sqlite+aiosqlite:///{path}") as database:
        path.write_bytes(b"")  # no tables
        registry = Registry(database)
        runner = web.AppRunner(
            make_app(
                registry,
                Broker(registry),
                redis,
                operations=operations(registry, redis, Broker(registry)),
                past=no_history(registry),
                duties=Duties({}),
                settings=RouterSettings(),
            )
        )
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        headers = {"Authorization": f"Bearer {keys.new_key(keys.ADMIN_TOKEN).text}"}
        async with (
            aiohttp.ClientSession(headers=headers) as session,
            session.get(f"http://{host}:{port}/api/v1/groups") as answer,
        ):
            problem = await answer.json(content_type=None)
        await runner.cleanup()
    assert (answer.status, problem["code"]) == (503, "database_unavailable")
    assert "Retry-After" in answer.headers


async def test_limits_fall_back_on_those_of_the_group(admin: Admin) -> None:
    of_triggers = {"max_body_bytes": 0, "max_header_bytes": 4096, "read_timeout": 2.5}
    of_group = {"rate": 5, "burst": 50, "in_flight": 9, **of_triggers}
    group = await admin.call("POST", "groups", {"slug": "crm", "limits": of_group}, status=201)
    assert group["limits"] == of_group
    await admin.call("POST", "groups/crm/flows", {"slug": "update"}, status=201)
    key = await admin.call(
        "POST", "groups/crm/keys", {"name": "CRM", "limits": {"rate": 0.5}}, status=201
    )
    assert key["limits"] == {"rate": 0.5, "burst": None, "in_flight": None}
    assert key["effective_limits"] == {"rate": 0.5, "burst": None, "in_flight": 9}
    trigger = await admin.call(
        "POST",
        "flows/crm/update/triggers",
        {"description": "?", "limits": {"rate": 2, "burst": 4}},
        status=201,
    )
    assert trigger["limits"] == {"rate": 2, "burst": 4, **dict.fromkeys(of_triggers)}
    assert trigger["effective_limits"] == {"rate": 2, "burst": 4, **of_triggers}
    assert await admin.call("GET", "groups/crm", status=200) == group
    assert await admin.call("GET", f"triggers/{trigger['id']}", status=200) == trigger
    shown = await admin.call("GET", f"keys/{key['id']}", status=200)
    assert shown["effective_limits"] == key["effective_limits"]


async def test_a_change_of_limits_is_answered_with_what_it_led_to(crm: Admin) -> None:
    key = await crm.call("POST", "groups/crm/keys", {"name": "CRM"}, status=201)
    trigger = await crm.call("POST", "flows/crm/update/triggers", {"description": "?"}, status=201)
    limits = {"rate": 2, "burst": 4}
    smallest = {"max_body_bytes": 0, "max_header_bytes": 1024, "read_timeout": 0.1}
    largest = {"max_body_bytes": 15 * 1024**2, "max_header_bytes": 65536, "read_timeout": 600}
    for path, other in (
        ("groups/crm", {"in_flight": 9, **smallest}),
        (f"keys/{key['id']}", {"in_flight": 3}),
        (f"triggers/{trigger['id']}", largest),
    ):
        before = crm.broker.settlements
        changed = await crm.call("PATCH", path, {"limits": {**limits, **other}}, status=200)
        assert crm.broker.settlements == before + 1  # broker and cache followed
        assert changed["limits"] == {**limits, **other}
        assert await crm.call("GET", path, status=200) == changed
        cleared = {"limits": {"rate": None, "burst": None}}
        changed = await crm.call("PATCH", path, cleared, status=200)
        assert changed["limits"] == {"rate": None, "burst": None, **other}
        assert await crm.call("PATCH", path, {"limits": {}}, status=200) == changed


@pytest.mark.parametrize(
    ("noun", "limits", "field"),
    [
        ("group", {"rate": 0}, "limits.rate"),
        ("group", {"rate": -1}, "limits.rate"),
        ("group", {"rate": 1_000_001}, "limits.rate"),
        ("group", {"rate": "5"}, "limits.rate"),
        ("group", {"rate": True}, "limits.rate"),
        ("group", {"rate": float("inf")}, "limits.rate"),
        ("group", {"rate": float("nan")}, "limits.rate"),
        ("group", {"rate": 5, "burst": 0}, "limits.burst"),
        ("group", {"rate": 5, "burst": 1.5}, "limits.burst"),
        ("group", {"burst": 5}, "limits.burst"),
        ("group", {"in_flight": 0}, "limits.in_flight"),
        ("group", {"max_body_bytes": -1}, "limits.max_body_bytes"),
        ("group", {"max_body_bytes": 15 * 1024 * 1024 + 1}, "limits.max_body_bytes"),
        ("group", {"max_header_bytes": 1023}, "limits.max_header_bytes"),
        ("group", {"max_header_bytes": 65537}, "limits.max_header_bytes"),
        ("group", {"read_timeout": 0}, "limits.read_timeout"),
        ("group", {"read_timeout": 601}, "limits.read_timeout"),
        ("group", {"speed": 5}, "limits.speed"),
        ("group", None, "limits"),
        ("group", 5, "limits"),
        ("key", {"burst": 5}, "limits.burst"),
        ("key", {"max_body_bytes": 5}, "limits.max_body_bytes"),
        ("key", {"max_header_bytes": 4096}, "limits.max_header_bytes"),
        ("key", {"read_timeout": 5}, "limits.read_timeout"),
        ("trigger", {"burst": 5}, "limits.burst"),
        ("trigger", {"in_flight": 5}, "limits.in_flight"),
    ],
)
async def test_limits_that_cannot_be_are_refused_on_creation_and_change(
    crm: Admin, noun: str, limits: Any, field: str
) -> None:
    key = await crm.call("POST", "groups/crm/keys", {"name": "CRM"}, status=201)
    trigger = await crm.call("POST", "flows/crm/update/triggers", {"description": "?"}, status=201)
    created, body, changed = {
        "group": ("groups", {"slug": "hr"}, "groups/crm"),
        "key": ("groups/crm/keys", {"name": "Other"}, f"keys/{key['id']}"),
        "trigger": ("flows/crm/update/triggers", {"description": "?"}, f"triggers/{trigger['id']}"),
    }[noun]
    settlements = crm.broker.settlements
    for method, path, more in (("POST", created, body), ("PATCH", changed, {})):
        problem = await crm.call(method, path, {**more, "limits": limits}, status=422)
        assert problem["code"] == "invalid_fields"
        assert [each["field"] for each in problem["errors"]] == [field]
    assert crm.broker.settlements == settlements


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("groups/hr", {"limits": {}}, 404),
        (f"keys/key_{NOBODY}", {"limits": {"rate": 1}}, 404),
        (f"triggers/trg_{NOBODY}", {"limits": {"rate": 1}}, 404),
        ("groups/HR", {"limits": {}}, 400),
        ("keys/trg_0", {"limits": {}}, 400),
        ("groups/crm", {}, 422),
        ("groups/crm", {"limits": {}, "slug": "hr"}, 422),
    ],
)
async def test_a_change_needs_limits_of_something_that_exists(
    crm: Admin, path: str, body: dict[str, Any], status: int
) -> None:
    problem = await crm.call("PATCH", path, body, status=status)
    assert problem["status"] == status
