"""The whole registry as a document: out of one database, into another."""

import json
import shutil
import stat
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.router.serving import Admin, serve
from tests.router.test_cli import run

from turnout.router.database import open_database
from turnout.router.entries import names_of_key, records_of
from turnout.router.registry import Limits, NewApiKey, Registry
from turnout.shared import ids, keys

Document = dict[str, Any]


@pytest.fixture
async def full(admin: Admin) -> Admin:
    """An admin API over a registry in which everything is set that can be."""
    registry = admin.registry
    await registry.create_group(
        "crm",
        name="CRM",
        limits=Limits(5.0, max_body_bytes=99, max_header_bytes=9999, read_timeout=9.0),
    )
    await registry.create_group("shop")
    await registry.create_flow("crm", "update", name="Update")
    await registry.create_flow("crm", "bill", ordered_by="customer.id", partitions=2)
    await registry.pause_flow("crm", "bill", "audit")
    await registry.limit_flow("crm", "bill", 3)
    key, _ = await registry.create_key("crm", "Partner", flows=["update", "bill"])
    await registry.rotate_key(key.id, timedelta(hours=1))
    gone, _ = await registry.create_key("crm", "Gone")
    await registry.revoke_key(gone.id, "leaked")
    made = await registry.create_trigger(
        "crm",
        "update",
        description="Deals",
        accepts=["Partner"],
        methods=("POST", "PUT"),
        content_types=["text/*"],
        wait=True,
        key_in_query=True,
        limits=Limits(rate=2.0, burst=4, max_header_bytes=1024),
        new_key=NewApiKey("HubSpot", limits=Limits(in_flight=3)),
    )
    await registry.rotate_trigger(made, keys.new_routing_key(), timedelta(hours=1))
    await registry.disable_trigger(made.id, "flood")
    await registry.create_trigger("crm", "bill", description="Bills")
    await registry.mark_live([made.id])
    return admin


@pytest.fixture
async def other(tmp_path: Path, sqlite_template: Path, redis: Any) -> AsyncIterator[Admin]:
    """An admin API over an empty registry: another environment."""
    path = shutil.copy(sqlite_template, tmp_path / "other.db")
    async with (
        open_database(f"sqlite+aiosqlite:///{path}") as database,
        serve(Registry(database), redis) as admin,
    ):
        yield admin


async def _export(admin: Admin, *, secrets: bool = True) -> Document:
    path = f"registry/export?secrets={str(secrets).lower()}"
    document: Document = await admin.call("GET", path, status=200)
    return document


async def _import(admin: Admin, document: Document, *, dry_run: bool = False) -> Document:
    path = f"registry/import?dry_run={str(dry_run).lower()}"
    answer: Document = await admin.call("POST", path, document, status=200)
    return answer


async def _records(admin: Admin) -> dict[str, bytes]:
    """Return what ingress would know, were everything bound."""
    await admin.registry.mark_live([each.id for each in await admin.registry.list_triggers()])
    return dict(records_of(await admin.registry.snapshot()))


@pytest.mark.both_databases
async def test_with_secrets_another_environment_becomes_the_same(full: Admin, other: Admin) -> None:
    document = await _export(full)
    planned = await _import(other, document, dry_run=True)
    assert await other.registry.list_groups() == []
    done = await _import(other, document)
    assert planned["counts"] == done["counts"] == {"created": 9}
    assert [each["key"] for each in done["items"]] == [None] * 9, "the old secrets are good"
    assert await _export(other) == document
    assert await _records(other) == await _records(full)


async def test_to_import_again_changes_nothing(full: Admin, other: Admin) -> None:
    document = await _export(full)
    await _import(other, document)
    for admin in (full, other):
        for each in (document, await _export(full, secrets=False)):
            assert await _import(admin, each) == {
                "done": True,
                "counts": {"unchanged": 9},
                "items": [],
            }


async def test_without_secrets_new_ones_are_made_and_shown_once(full: Admin, other: Admin) -> None:
    document = await _export(full, secrets=False)
    text = json.dumps(document)
    for record in [*await full.registry.list_keys(), *await full.registry.list_triggers()]:
        secret = getattr(record, "digest", None) or record.routing_key
        assert secret not in text
    done = await _import(other, document)
    shown = {each["label"]: each for each in done["items"]}
    text = shown["crm: Partner"]["key"]
    (made,) = [each for each in await other.registry.list_keys() if each.name == "Partner"]
    assert keys.digest(text) == made.digest
    assert not made.overlaps
    assert shown["crm: Gone"]["key"] is None, "it is revoked, and stays so"
    triggers = await other.registry.list_triggers()
    assert {each["url"] for each in done["items"] if each["url"]} == {
        f"https://hooks.example.org/t/{each.routing_key}" for each in triggers
    }
    before = {each.routing_key for each in await full.registry.list_triggers()}
    assert before.isdisjoint(each.routing_key for each in triggers)


@pytest.mark.both_databases
async def test_what_differs_is_planned_by_field_and_then_changed(full: Admin) -> None:
    document = await _export(full)
    group = next(each for each in document["groups"] if each["slug"] == "crm")
    group["name"] = "Sales"
    (partner,) = [each for each in group["keys"] if each["name"] == "Partner"]
    partner |= {"name": "Renamed", "revoked_at": "2026-01-31T09:30:00Z", "flows": ["bill"]}
    trigger = next(each for each in group["triggers"] if each["description"] == "Deals")
    trigger |= {"keys": ["Renamed"], "methods": ["GET"], "enabled": True, "disabled_reason": None}
    before = await full.registry.key(partner["id"])
    planned = await _import(full, document, dry_run=True)
    assert {each["label"]: set(each["changes"]) for each in planned["items"]} == {
        "crm": {"name"},
        "crm: Renamed": {"name", "revoked_at", "flows"},
        "crm/update: Deals": {"keys", "methods", "enabled", "disabled_reason"},
    }
    assert await full.registry.key(partner["id"]) == before
    assert (await _import(full, document))["counts"] == {"changed": 3, "unchanged": 6}
    assert await _export(full) == document
    assert set(full.broker.withdrawn) == set(names_of_key(before))


async def test_a_key_is_found_by_its_name_where_it_has_another_id(
    full: Admin, other: Admin
) -> None:
    document = await _export(full, secrets=False)
    await other.registry.create_group("crm")
    key, _ = await other.registry.create_key("crm", "HubSpot")
    await _import(other, document)
    kept = await other.registry.key(key.id)
    assert (kept.digest, kept.limits) == (key.digest, Limits(in_flight=3))


def _crm(document: Document) -> Document:
    found: Document = next(each for each in document["groups"] if each["slug"] == "crm")
    return found


def _named(items: list[Document], field: str, value: str) -> Document:
    return next(each for each in items if each[field] == value)


def _unrevoke(crm: Document) -> None:
    _named(crm["keys"], "name", "Gone")["revoked_at"] = None


def _reorder(crm: Document) -> None:
    _named(crm["flows"], "slug", "bill")["partitions"] = 3


def _move(crm: Document) -> None:
    _named(crm["triggers"], "description", "Bills")["flow"] = "update"


def _twice(crm: Document) -> None:
    crm["flows"].append(dict(crm["flows"][0]))


def _steal(crm: Document) -> None:
    crm["keys"].append(
        {**_named(crm["keys"], "name", "Partner"), "id": ids.new(ids.KEY), "name": "Thief"}
    )


def _take_a_name(crm: Document) -> None:
    _named(crm["keys"], "name", "Partner")["name"] = "HubSpot"


def _unknown_key(crm: Document) -> None:
    _named(crm["triggers"], "description", "Deals")["keys"] = ["nobody"]


def _unpaced(crm: Document) -> None:
    crm["limits"] = {"burst": 9}


@pytest.mark.parametrize(
    ("spoil", "label", "reason"),
    [
        (_unrevoke, "key crm: Gone", "revoked here"),
        (_reorder, "flow crm/bill", "never changes"),
        (_move, "trigger crm/update: Bills", "leads to flow crm/bill"),
        (_twice, "flow crm/bill", "twice"),
        (_steal, "key crm: Thief", "belongs to 'Partner'"),
        (_take_a_name, "key crm: HubSpot", "has its name"),
        (_unknown_key, "trigger crm/update: Deals", "no key 'nobody'"),
        (_unpaced, "group crm", "goes with a rate"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
async def test_what_cannot_be_is_named_and_nothing_is_imported(
    full: Admin, spoil: Any, label: str, reason: str
) -> None:
    document = await _export(full)
    crm = _crm(document)
    document["groups"].append({**crm, "slug": "new", "id": ids.new(ids.GROUP), "name": "New"})
    for kind in ("flows", "keys", "triggers"):
        document["groups"][-1][kind] = []
    spoil(crm)
    path = "registry/import"
    problem = await full.call("POST", path, document, status=409)
    assert problem["code"] == "import_refused"
    told = {each["field"]: each["message"] for each in problem["errors"]}
    assert reason in told[label], told
    planned = await _import(full, document, dry_run=True)
    assert planned["counts"]["refused"] == len(told)
    assert "new" not in {each.slug for each in await full.registry.list_groups()}


async def test_a_document_of_a_newer_version_is_refused(full: Admin) -> None:
    document = {**await _export(full), "version": 2}
    problem = await full.call("POST", "registry/import", document, status=422)
    assert "version 2" in problem["detail"]


async def test_both_ways_are_for_admins_and_are_in_the_audit_log(full: Admin) -> None:
    document = await _export(full)
    await _import(full, {**document, "groups": []})
    found = (await full.call("GET", "audit?verb=registry", status=200))["items"]
    assert [each["verb"] for each in found] == ["registry.import", "registry.export"]
    assert found[1]["after"] == {"secrets": True}
    _, text = await full.registry.create_token("night", role="operator")
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {text}"}) as session:
        url = f"{full.url}/api/v1/registry"
        async with session.get(f"{url}/export") as answer:
            assert answer.status == 403
        async with session.post(f"{url}/import", json=document) as answer:
            assert answer.status == 403


async def test_the_command_line_moves_a_registry(full: Admin, other: Admin, tmp_path: Path) -> None:
    async def turnout(admin: Admin, *arguments: str) -> Any:
        settings = {"TURNOUT_ADMIN_URL": admin.url, "TURNOUT_ADMIN_TOKEN": admin.token}
        return await run("registry", *arguments, cwd=tmp_path, **settings)

    exported = await turnout(full, "export", "backup.json", "--with-secrets")
    assert (exported.code, "keep it like a password" in exported.err) == (0, True)
    file = tmp_path / "backup.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert json.loads(file.read_text()) == await _export(full)
    planned = await turnout(other, "import", "backup.json", "--dry-run")
    assert (planned.code, "9 created" in planned.err) == (0, True)
    assert max(map(len, planned.out.splitlines())) <= 80
    assert (await turnout(other, "import", "backup.json")).code == 1, "nobody answers the question"
    assert (await turnout(other, "import", "backup.json", "--yes")).code == 0
    assert (await turnout(other, "import", "backup.json", "--yes")).err.startswith("Nothing to do")
    bare = await turnout(full, "export", "-")
    assert json.loads(bare.out)["secrets"] is False
    wrong = await turnout(full, "import", "nothing.json")
    assert (wrong.code, "nothing.json" in wrong.err) == (2, True)
