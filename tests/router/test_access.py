"""Who may do what: tried for every endpoint that is declared, so that none can be forgotten.

A new endpoint that changes something needs a request in `REQUESTS`; the rest follows from its
declaration.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import aiohttp
import pytest
import sqlalchemy as sa
from tests.router.serving import Admin
from tests.support import history

from turnout.router import models
from turnout.router.api.app import ENDPOINTS
from turnout.router.api.routes import Endpoint
from turnout.router.database import Database
from turnout.router.history.models import Run
from turnout.router.letters.models import DeadLetter
from turnout.router.queues import Moved, Queues
from turnout.router.registry import AuditEntry, Role
from turnout.router.replay.models import Replay
from turnout.router.run_once import Readiness, RunOnce
from turnout.shared import ids, keys

#: Those that need a token.
GUARDED = [each for each in ENDPOINTS if each.role is not None]
CHANGING = [each for each in GUARDED if each.method != "GET"]

ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")


class Request(NamedTuple):
    """A request that is answered well, by an estate in its first state."""

    body: object = {}
    """`{part}` stands for what the estate has."""
    query: str = ""
    after: str | None = None
    """The endpoint that has to be called before."""


_NEW_GROUP = {
    "id": f"grp_{'1' * 32}",
    "slug": "imported",
    "name": "Imported",
    "created_at": "2027-01-31T09:30:00Z",
    "limits": {},
    **{part: [] for part in ("flows", "keys", "triggers")},
}

#: One for each endpoint that changes something.
REQUESTS = {
    "groups.create": Request({"slug": "new-{flow}"}),
    "groups.change": Request({"limits": {"rate": 7}}),
    "flows.create": Request({"slug": "new"}),
    "flows.change": Request({"max_running": 7}),
    "flows.pause": Request({"reason": "dinner"}),
    "flows.resume": Request(after="flows.pause"),
    "queues.move": Request({"to": "{group}/other"}, after="flows.pause"),
    "cancellations.create": Request({"reason": "wrong"}),
    "cancellations.of_run": Request({"reason": "wrong"}),
    "keys.create": Request({"name": "new {flow}"}),
    "keys.change": Request({"name": "other {flow}"}),
    "keys.rotate": Request(),
    "keys.end_overlap": Request(after="keys.rotate"),
    "keys.revoke": Request(),
    "triggers.create": Request({"description": "new"}),
    "triggers.change": Request({"description": "other"}),
    "triggers.enable": Request(after="triggers.disable"),
    "triggers.disable": Request(),
    "triggers.rotate": Request(),
    "triggers.end_overlap": Request(after="triggers.rotate"),
    "triggers.move": Request({"flow": "other"}),
    "triggers.delete": Request(None, "confirm=true"),
    "run_once.run": Request({"timeout": 0.01}),
    "events.erase": Request({"reason": "asked"}),
    "dead.discard": Request({"ids": ["{letter_id}"], "reason": "junk"}),
    "replays.create": Request({"dead": {"ids": ["{letter_id}"]}}),
    "replays.change": Request({"rate": 7}),
    "replays.start": Request(),
    "replays.pause": Request(after="replays.start"),
    "replays.resume": Request(after="replays.pause"),
    "replays.abort": Request(),
    "topology.apply": Request(None),
    "transfer.import": Request({"secrets": False, "groups": [_NEW_GROUP]}),
    "tokens.create": Request({"name": "new {flow}", "role": "viewer"}),
    "tokens.revoke": Request(),
}

#: What may be named in a query, and which part of an estate that is.
_NAMED = {"group": "group", "trigger": "trigger_id", "key": "key_id", "object": "key_id"}


class Estate:
    """An admin API with groups crm and shop, and what belongs to them.

    Args:
        admin: the API.
        database: its database.
    """

    def __init__(self, admin: Admin, database: Database) -> None:
        self.admin = admin
        self._database = database
        self._number = 0

    async def parts(self, group: str) -> dict[str, str]:
        """Make one of everything that belongs to a group, and return what names it in paths."""
        registry = self.admin.registry
        self._number += 1
        flow = await registry.create_flow(group, f"flow-{self._number}")
        made, _ = await registry.create_key(group, f"key {self._number} of {group}")
        trigger = await registry.create_trigger(group, flow.slug, description=f"trigger of {group}")
        token, _ = await registry.create_token(f"token {self._number}", role="viewer")
        event = history.event(group=group, flow=flow.slug, trigger_id=trigger.id, key_id=made.id)
        replay_id = ids.new(ids.REPLAY)
        async with self._database.writing() as connection:
            await connection.execute(sa.insert(Run).values(_run(event)))
            await connection.execute(sa.insert(DeadLetter).values(_letter(event)))
            await connection.execute(sa.insert(Replay).values(_replay(replay_id, group)))
        return {
            "group": group,
            "flow": flow.slug,
            "key_id": made.id,
            "trigger_id": trigger.id,
            "token_id": token.id,
            "event_id": event.event_id,
            "run_id": event.run_id,
            "letter_id": event.run_id,
            "replay_id": replay_id,
        }

    @asynccontextmanager
    async def session(
        self, role: Role, groups: list[str] | None = None
    ) -> AsyncIterator[aiohttp.ClientSession]:
        """Hold a new token."""
        self._number += 1
        _, text = await self.admin.registry.create_token(
            f"held {self._number}", role=role, groups=groups
        )
        async with aiohttp.ClientSession(headers=_shown(text)) as session:
            yield session

    async def ask(
        self,
        session: aiohttp.ClientSession,
        endpoint: Endpoint,
        parts: dict[str, str],
        query: str = "",
    ) -> tuple[int, str]:
        """Call an endpoint with the request that it has, and return its status and answer."""
        request = REQUESTS.get(endpoint.name, Request(None))
        body = _filled(request.body, parts) if endpoint.body is not None else None
        url = self.admin.url + endpoint.path.format_map(parts)
        query = "&".join(filter(None, (request.query, query)))
        async with session.request(endpoint.method, f"{url}?{query}", json=body) as answer:
            return answer.status, await answer.text()

    async def prepare(self, endpoint: Endpoint, parts: dict[str, str]) -> None:
        """Bring things into the state in which the endpoint does something."""
        before = REQUESTS[endpoint.name].after
        if before is not None:
            (first,) = [each for each in ENDPOINTS if each.name == before]
            await self.prepare(first, parts)
            status, text = await self.ask(self.admin.session, first, parts)
            assert status < 300, (first.name, text)

    async def log(self) -> list[AuditEntry]:
        """Return the audit log, newest first."""
        return await self.admin.registry.list_audit()


@pytest.fixture
async def estate(admin: Admin, database: Database, monkeypatch: pytest.MonkeyPatch) -> Estate:
    """An estate whose flows have workers, as far as run once asks; tests of the system run one."""

    async def ready(*_: object) -> Readiness:
        return Readiness(workers=1, waiting=0)

    async def publish(*_: object) -> None:
        pass

    async def nothing(*_: object) -> Moved:
        return Moved(moved=0, left=0, refused="")

    monkeypatch.setattr(Queues, "_move", nothing)
    monkeypatch.setattr(RunOnce, "readiness", ready)
    monkeypatch.setattr(RunOnce, "_publish", publish)
    for group in ("crm", "shop"):
        await admin.registry.create_group(group)
        await admin.registry.create_flow(group, "other")
    return Estate(admin, database)


def test_every_endpoint_that_changes_something_has_a_request_here() -> None:
    assert sorted(REQUESTS) == sorted(each.name for each in CHANGING)


async def test_every_change_is_recorded_with_who_why_and_from_where(estate: Estate) -> None:
    (token,) = await estate.admin.registry.list_tokens()
    for endpoint in CHANGING:
        parts = await estate.parts("crm")
        await estate.prepare(endpoint, parts)
        before = len(await estate.log())
        status, text = await estate.ask(
            estate.admin.session, endpoint, parts, f"reason=because+{endpoint.name}"
        )
        assert status == endpoint.status, (endpoint.name, text)
        entry = (await estate.log())[0]
        assert len(await estate.log()) > before, endpoint.name
        assert (entry.actor_id, entry.remote) == (token.id, "127.0.0.1"), endpoint.name
        assert entry.reason == f"because {endpoint.name}"
        belongs = "group" in endpoint.parts or any(p.identifier for p in endpoint.parts.values())
        if belongs and "token_id" not in endpoint.parts:
            assert entry.group == "crm", endpoint.name


async def test_without_a_valid_token_every_endpoint_answers_the_same(
    estate: Estate, database: Database
) -> None:
    registry = estate.admin.registry
    revoked, of_revoked = await registry.create_token("revoked", role="admin")
    await registry.revoke_token(revoked.id)
    expired, of_expired = await registry.create_token("expired", role="admin")
    async with database.writing() as connection:
        await connection.execute(
            sa.update(models.AdminToken)
            .where(models.AdminToken.id == expired.id)
            .values(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        )
    unknown = keys.new_key(keys.ADMIN_TOKEN).text
    shown = [{}, *map(_shown, (of_revoked, of_expired, unknown, unknown[:-1], "x"))]
    parts = await estate.parts("crm")
    before = await estate.log()
    answers = set()
    async with aiohttp.ClientSession() as session:
        for endpoint in GUARDED:
            for headers in shown:
                url = estate.admin.url + endpoint.path.format_map(parts)
                async with session.request(endpoint.method, url, headers=headers) as answer:
                    same = sorted(set(answer.headers.items()) - {("Date", answer.headers["Date"])})
                    answers.add((answer.status, await answer.text(), str(same)))
    ((status, _, _),) = answers
    assert status == 401
    assert await estate.log() == before


async def test_a_role_that_is_too_low_is_refused(estate: Estate) -> None:
    parts = await estate.parts("crm")
    for role in ROLES:
        async with estate.session(role) as session:
            before = await estate.log()
            for endpoint in GUARDED:
                if ROLES.index(endpoint.role or "viewer") > ROLES.index(role):
                    status, text = await estate.ask(session, endpoint, parts)
                    assert status == 403, (endpoint.name, role, text)
            assert await estate.log() == before


async def test_a_token_reaches_what_is_of_its_group_and_nothing_of_another_one(
    estate: Estate,
) -> None:
    own, foreign = await estate.parts("shop"), await estate.parts("crm")
    secrets = {value for name, value in foreign.items() if name.endswith("_id")}
    async with estate.session("admin", ["shop"]) as session:
        # What a listing shows is looked at before this token itself has named anything.
        for endpoint in sorted(GUARDED, key=lambda each: each.method != "GET"):
            before = await estate.log()
            for query in {"", *_naming(endpoint, foreign)}:
                status, text = await estate.ask(session, endpoint, foreign, query)
                # An answer may repeat what it was asked for.
                asked = _asked(endpoint, foreign, query)
                told = [each for each in secrets if each in text and each not in asked]
                assert not told, (endpoint.name, text)
                if endpoint.parts:
                    assert status in {403, 404}, (endpoint.name, text)
                elif not endpoint.is_limited:
                    assert status == 403, (endpoint.name, text)
            changed = (await estate.log())[: len(await estate.log()) - len(before)]
            assert {each.group for each in changed} <= {None, "shop"}, endpoint.name
            if endpoint.method == "GET" and endpoint.is_limited and "token_id" not in own:
                status, text = await estate.ask(session, endpoint, own)
                assert status not in {401, 403, 404}, (endpoint.name, text)


async def test_what_a_body_names_of_another_group_does_not_exist(
    estate: Estate, database: Database
) -> None:
    own, foreign = await estate.parts("shop"), await estate.parts("crm")
    async with estate.session("operator", ["shop"]) as session:

        async def post(path: str, body: Any, status: int) -> Any:
            async with session.post(f"{estate.admin.url}/api/v1/{path}", json=body) as answer:
                assert answer.status == status, await answer.text()
                return await answer.json()

        triggers = f"flows/shop/{own['flow']}/triggers"
        await post(triggers, {"description": "x", "keys": [foreign["key_id"]]}, 422)
        await post(f"triggers/{own['trigger_id']}/move", {"flow": foreign["flow"]}, 404)
        await post("groups/shop/keys", {"name": "x", "flows": [foreign["flow"]]}, 422)
        once = f"triggers/{own['trigger_id']}/run-once"
        await post(once, {"event": foreign["event_id"]}, 404)
        await post(once, {"event": own["event_id"]}, 410)  # this one is not in the archive
        letters = {"ids": [foreign["letter_id"]]}
        assert await post("dead/discard", {**letters, "reason": "x"}, 200) == {"count": 0}
        assert (await post("replays", {"dead": letters}, 201))["group"] == "shop"
        await post("replays", {"dead": {"group": "crm"}}, 404)
        await post("replays", {"events": {"flow": f"crm/{foreign['flow']}"}}, 404)
    async with database.reading() as connection:
        states = await connection.execute(sa.select(DeadLetter.state).distinct())
        assert states.scalars().all() == ["kept"]


async def test_a_token_of_several_groups_names_the_one_of_a_replay(estate: Estate) -> None:
    parts = await estate.parts("crm")
    async with estate.session("operator", ["crm", "shop"]) as session:
        url = f"{estate.admin.url}/api/v1/replays"
        for selection, status in (({}, 422), ({"group": "crm"}, 201)):
            body = {"dead": {"ids": [parts["letter_id"]], **selection}}
            async with session.post(url, json=body) as answer:
                assert answer.status == status
                document = await answer.json()
                if status == 422:
                    assert [each["field"] for each in document["errors"]] == ["dead.group"]


def _asked(endpoint: Endpoint, parts: dict[str, str], query: str) -> str:
    """Return all that a request holds."""
    body = _filled(REQUESTS.get(endpoint.name, Request()).body, parts)
    return f"{endpoint.path.format_map(parts)} {query} {body}"


def _naming(endpoint: Endpoint, parts: dict[str, str]) -> list[str]:
    """Return queries that name what belongs to a group, each as far as the endpoint takes it."""
    fields = endpoint.query.model_fields
    found = [f"{field}={parts[part]}" for field, part in _NAMED.items() if field in fields]
    if "flow" in fields:
        found.append(f"flow={parts['group']}/{parts['flow']}")
    return found


def _shown(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _filled(value: Any, parts: dict[str, str]) -> Any:
    if isinstance(value, str):
        return value.format_map(parts)
    if isinstance(value, list):
        return [_filled(each, parts) for each in value]
    if isinstance(value, dict):
        return {name: _filled(each, parts) for name, each in value.items()}
    return value


def _run(event: Any) -> dict[str, Any]:
    names = ("event_id", "trigger_id", "key_id", "kind")
    return {
        **{name: getattr(event, name) for name in names},
        "id": event.run_id,
        "group_slug": event.group,
        "flow_slug": event.flow,
        "state": "queued",
        "attempt": 0,
        "progress": 0,
        "started_at": 0,
        "ended_at": 0,
    }


def _letter(event: Any) -> dict[str, Any]:
    names = ("event_id", "trigger_id", "key_id", "kind", "received_at")
    return {
        **{name: getattr(event, name) for name in names},
        "id": event.run_id,
        "group_slug": event.group,
        "flow_slug": event.flow,
        "attempt": 1,
        "died_at": event.received_at,
        "reason": "it used up its attempts",
        "error": "ValueError: no",
        "place": "",
        "fingerprint": "0" * 12,
        "body": event.encode(),
        "state": "kept",
        "settled_at": 0,
        "settled_by": "",
    }


def _replay(replay_id: str, group: str) -> dict[str, Any]:
    return {
        "id": replay_id,
        "created_at": 1,
        "group_slug": group,
        "source": "dead",
        "selection": "{}",
        "dry_run": False,
        "in_order": False,
        "rate": 1.0,
        "state": "planned",
        "note": "",
        **dict.fromkeys(
            (
                "total",
                "gone",
                "gone_since",
                "position",
                "intent",
                "skipped",
                "started_at",
                "ended_at",
            ),
            0,
        ),
    }
