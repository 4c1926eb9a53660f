"""What an operator learns of calls, through the admin API: from a real archive and database."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from redis.asyncio import Redis
from tests.router.history.conftest import delete_streams
from tests.router.serving import Admin, serve
from tests.router.test_cli import Result, run
from tests.support import history
from tests.support.history import Writer, declare_streams
from tests.support.waiting import eventually

from turnout.router.database import Database
from turnout.router.history.archive import Archive
from turnout.router.history.lookup import History
from turnout.router.history.models import Run
from turnout.router.history.recorder import Recorder
from turnout.router.link import Links
from turnout.router.registry import Registry
from turnout.shared import ids, outcome
from turnout.shared.envelope import Envelope


@pytest.fixture
async def past(
    registry: Registry, redis: Redis, database: Database, archive: Archive, streams: str
) -> AsyncIterator[Admin]:
    """An admin API over a history that is being recorded."""
    links = Links([streams], "recorder")
    recorder = asyncio.create_task(Recorder(database, links).run())
    async with serve(registry, redis, History(database, archive)) as admin:
        yield admin
    recorder.cancel()
    await asyncio.wait([recorder])
    await links.close()


async def recorded(admin: Admin) -> None:
    """Wait until all that was written is recorded."""

    async def holds() -> bool:
        found = await admin.call("GET", "history", status=200)
        return all(each["behind"] == 0 and each["newest"] is not None for each in found["items"])

    await eventually(holds, what="the history is recorded")


async def written(admin: Admin, writer: Writer, events: list[Envelope], *outcomes: Any) -> None:
    await writer.events(events)
    await writer.outcomes(outcomes or [history.ended(each) for each in events])
    await recorded(admin)


async def listed(admin: Admin, query: str) -> list[str]:
    found = await admin.call("GET", f"events?{query}", status=200)
    return [each["id"] for each in found["items"]]


async def searched(admin: Admin, query: str) -> list[dict[str, Any]]:
    async with admin.session.get(f"{admin.url}/api/v1/events/search?{query}") as answer:
        assert answer.status == 200, await answer.text()
        return [json.loads(line) async for line in answer.content]


async def test_events_are_listed_newest_first_page_by_page(past: Admin, writer: Writer) -> None:
    events = [history.event(number) for number in range(120)]
    await written(past, writer, events)
    newest = sorted((each.event_id for each in events), reverse=True)
    pages: list[str] = []
    cursor = ""
    for size in (50, 50, 20):
        page = await past.call("GET", f"events?limit=50{cursor}", status=200)
        assert len(page["items"]) == size
        pages += [each["id"] for each in page["items"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert pages == newest
    assert page["next_cursor"] is None


@pytest.mark.both_databases
async def test_events_are_found_by_all_that_is_known_of_them(past: Admin, writer: Writer) -> None:
    events = [history.event(number) for number in range(48)]
    dead, *others = events
    outcomes = [
        history.ended(dead, outcome.DEAD, error="shop.Sold: out"),
        *map(history.ended, others),
    ]
    await written(past, writer, events, *outcomes)
    at = f"{history.moment(events[24].received_at):%Y-%m-%dT%H:%M:%S.%fZ}"
    for query, expected in {
        f"group={dead.group}": [each for each in events if each.group == dead.group],
        f"flow={dead.group}/{dead.flow}": [
            each for each in events if (each.group, each.flow) == (dead.group, dead.flow)
        ],
        f"trigger={dead.trigger_id}": [
            each for each in events if each.trigger_id == dead.trigger_id
        ],
        f"key={dead.key_id}": [each for each in events if each.key_id == dead.key_id],
        "state=dead": [dead],
        f"state=dead&group={dead.group}": [dead],
        "state=dead&group=nobody": [],
        "error=Sold": [dead],
        "error=shop.Sold": [dead],
        "error=old": [],
        "from=2001-01-01T00:00:00Z": events,
        "to=2001-01-01T00:00:00Z": [],
        f"from={at}&state=queued": [],
    }.items():
        found = await listed(past, f"limit=1000&{query}")
        assert set(found) == {each.event_id for each in expected}, query


async def test_a_test_run_is_listed_without_a_key(past: Admin, writer: Writer) -> None:
    event = history.event(key_id="", kind="once")
    await written(past, writer, [event])
    for path in ("events", "runs"):
        (found,) = (await past.call("GET", path, status=200))["items"]
        assert (found["key"], found["kind"]) == (None, "once")
    (line,) = await searched(past, "text=number&limit=1")
    assert [each["key"] for each in line["found"]] == [None]


@pytest.mark.both_databases
async def test_a_story_is_told_whole(past: Admin, writer: Writer, database: Database) -> None:
    event = history.event(3)
    outcomes = [
        history.ended(event, outcome.STARTED),
        history.ended(event, outcome.RETRYING, delay=2),
        history.ended(event, attempt=2, result={"total": 17}, version="1.4", redelivered=True),
    ]
    await written(past, writer, [event], *outcomes)
    replay = ids.new(ids.RUN)
    async with database.writing() as connection:
        row = (await connection.execute(sa.select(Run.__table__))).one()._asdict()
        row |= {"id": replay, "kind": "replay", "origin": event.run_id, "replay": "rpl_1"}
        await connection.execute(sa.insert(Run).values(row | {"state": "queued", "attempt": 0}))
    story = await past.call("GET", f"events/{event.event_id}", status=200)
    assert story["event"]["size"] == len(event.body)
    first, again = story["runs"]
    assert (first["id"], first["state"], first["attempt"]) == (event.run_id, "succeeded", 2)
    assert (again["id"], again["origin"], again["replay"]) == (replay, event.run_id, "rpl_1")
    failed, succeeded = first["attempts"]
    assert (failed["state"], failed["delay"], failed["error"]) == ("retrying", 2, "ValueError: no")
    assert failed["traceback"].startswith("Traceback")
    assert succeeded["result"] == {"total": 17}
    assert (succeeded["version"], succeeded["redelivered"]) == ("1.4", True)
    assert await past.call("GET", f"runs/{replay}", status=200) == story
    runs = await past.call("GET", "runs", status=200)
    assert [each["id"] for each in runs["items"]] == [replay, event.run_id]
    assert await listed(past, "") == [event.event_id]


async def test_the_payload_comes_from_the_archive_as_it_was_sent(
    past: Admin, writer: Writer
) -> None:
    events = [history.event(number, body=b"\0\xff" * number) for number in range(200)]
    await written(past, writer, events)
    event = events[77]
    payload = await past.call("GET", f"events/{event.event_id}/payload", status=200)
    assert [tuple(each) for each in payload["headers"]] == list(event.headers)
    async with past.session.get(f"{past.url}/api/v1/events/{event.event_id}/body") as answer:
        assert await answer.read() == event.body
        assert answer.content_type == "application/octet-stream"


@pytest.mark.both_databases
async def test_payloads_are_searched_by_header_json_and_text(past: Admin, writer: Writer) -> None:
    events = [history.event(number) for number in range(250)]
    await asyncio.sleep(0.001)  # moments are told apart by their millisecond
    events += [history.event(number) for number in range(250, 500)]
    events[42] = history.event(42, headers=(("X-Topic", "orders/create"),))
    await written(past, writer, events)
    for query, expected in {
        "header=x-topic": [42],
        "header=X-Topic:%20orders/create": [42],
        "header=X-Topic:%20other": [],
        "json=number=17": [17],
        "json=order.id=A-18": [18],
        "json=order.id=A-18&text=nothing": [],
        "text=A-499": [499],
        f"text=A-1&limit=5&flow={events[1].group}/{events[1].flow}": [193, 181, 169, 157, 145],
    }.items():
        lines = await searched(past, query)
        found = [each["id"] for line in lines for each in line["found"]]
        assert found == [events[number].event_id for number in expected], query
    assert lines[-1]["scanned"] <= 500
    *_, last = await searched(past, "text=not%20there")
    assert (last["scanned"], last["share"]) == (500, 1.0)
    middle = history.moment(events[250].received_at).isoformat().replace("+00:00", "Z")
    for query in (f"from={middle}", f"to={middle}"):
        lines = await searched(past, f"json=number=41&{query}")
        found = [each["id"] for line in lines for each in line["found"]]
        assert found == ([events[41].event_id] if "to=" in query else []), query
    assert await searched(past, "text=A&from=2199-01-01T00:00:00Z") == []


@pytest.mark.both_databases
async def test_an_erased_event_tells_nothing_any_more(past: Admin, writer: Writer) -> None:
    event, other = history.event(1), history.event(2)
    dead = history.ended(event, outcome.DEAD, error="ValueError: jane@example.org")
    await written(past, writer, [event, other], dead)
    path = f"events/{event.event_id}"
    await past.call("POST", f"{path}/erase", {"reason": ""}, status=422)
    story = await past.call("POST", f"{path}/erase", {"reason": "asked by letter"}, status=200)
    assert story["erased"]["reason"] == "asked by letter"
    assert story["event"] == dict.fromkeys(story["event"]) | {"id": event.event_id}
    assert story["runs"][0]["state"] == "dead"
    assert "jane" not in json.dumps(story)
    for part in ("payload", "body"):
        problem = await past.call("GET", f"{path}/{part}", status=410)
        assert (problem["code"], "asked by letter" in problem["detail"]) == ("payload_gone", True)
    lines = await searched(past, "text=number")
    assert [each["id"] for line in lines for each in line["found"]] == [other.event_id]


@pytest.mark.both_databases
async def test_what_comes_after_an_erasure_is_not_recorded(
    past: Admin, writer: Writer, database: Database
) -> None:
    event = history.event(1)
    await written(past, writer, [event], history.ended(event, outcome.STARTED))
    path = f"events/{event.event_id}"
    await past.call("POST", f"{path}/erase", {"reason": "asked"}, status=200)
    await writer.outcomes([history.ended(event, outcome.DEAD, error="E: jane", traceback="jane")])
    await writer.events([event])  # as if the stream were read again
    await recorded(past)
    story = await past.call("GET", path, status=200)
    assert (story["runs"][0]["state"], story["event"]["method"]) == ("dead", None)
    assert "jane" not in json.dumps(story)


async def test_what_the_archive_has_dropped_is_said(
    past: Admin, writer: Writer, streams: str
) -> None:
    event = history.event(1)
    await written(past, writer, [event])
    await delete_streams(streams)
    await declare_streams(streams)
    await writer.events([history.event(2)])
    problem = await past.call("GET", f"events/{event.event_id}/payload", status=410)
    assert problem["code"] == "payload_gone"


async def test_what_does_not_exist_is_not_found(past: Admin) -> None:
    for path in (
        f"events/evt_{'0' * 32}",
        f"events/evt_{'0' * 32}/payload",
        f"runs/run_{'0' * 32}",
        "events?key=nobody",
    ):
        assert (await past.call("GET", path, status=404))["code"] == "not_found"
    await past.call("POST", f"events/evt_{'0' * 32}/erase", {"reason": "x"}, status=404)
    for path, field in (
        ("events?state=lost", "state"),
        ("events?from=yesterday", "from"),
        ("events?cursor=WyJhIl0=", "cursor"),
        ("events?flow=No", "flow"),
        ("events/search?json=a", "json"),
        ("events/search?header=:x", "header"),
    ):
        problem = await past.call("GET", path, status=422)
        assert [each["field"] for each in problem["errors"]] == [field], path
    await past.call("GET", "events/17", status=400)


async def test_the_command_line_tells_what_happened(
    past: Admin, writer: Writer, tmp_path: Path
) -> None:
    event = history.event(5, path="/deals")
    dead = history.ended(event, outcome.DEAD)
    await written(past, writer, [event, history.event(6)], dead)

    async def turnout(*arguments: str) -> Result:
        environment = {"TURNOUT_ADMIN_URL": past.url, "TURNOUT_ADMIN_TOKEN": past.token}
        result = await run(*arguments, cwd=tmp_path, **environment)
        assert result.code == 0, result
        return result

    flow = f"{event.group}/{event.flow}"
    found = (await turnout("event", "list", "--state", "dead", "--flow", flow, "--from", "1h")).out
    assert event.event_id in found
    assert "POST /deals" in found
    found = (await turnout("event", "list", "--where", "order.id=A-5", "--json")).out
    assert [each["id"] for each in json.loads(found)["items"]] == [event.event_id]
    story = (await turnout("event", "show", event.event_id)).out
    for text in (flow, "received", "attempt 1: dead after 5.0 ms", "ValueError: no", '"id": "A-5"'):
        assert text in story
    await turnout("event", "show", event.event_id, "--body", "body.json")
    assert await asyncio.to_thread((tmp_path / "body.json").read_bytes) == event.body
    assert event.run_id in (await turnout("run", "list", "--error", "ValueError")).out
    assert "dead" in (await turnout("run", "show", event.run_id)).out
    assert "turnout.archive" in (await turnout("history", "status")).out
    erased = await turnout("event", "erase", event.event_id, "--reason", "asked", "--yes")
    assert "archive's own retention" in " ".join(erased.err.split())
    story = (await turnout("event", "show", event.event_id)).out
    assert "asked" in story
    assert "ValueError: no" not in story
