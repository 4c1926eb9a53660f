"""The examples, run as a worker would run them: with their resources, attempts and guards."""

import builtins
import importlib
import json
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from turnout.workers.loading import load
from turnout.workers.testing import Result, run, run_async

EXAMPLES = Path(__file__).parents[2] / "examples"
PAYLOADS = EXAMPLES / "payloads"


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the example that a test is marked with."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module(request.param)


def using(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", [name], indirect=True)


def payload(name: str) -> Any:
    return json.loads((PAYLOADS / name).read_bytes())


def fail_once(example: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a function that an example calls fail the first time."""

    def fail(_: object) -> None:
        monkeypatch.setattr(example, name, getattr(builtins, name))
        raise OSError("not this time")

    monkeypatch.setattr(example, name, fail, raising=False)


def test_all_examples_can_be_loaded_together() -> None:
    assert sorted(load(sorted(map(str, EXAMPLES.glob("*.py"))))) == [
        "crm/update-lead-status",
        "demo/contact-form",
        "demo/github-events",
        "demo/hello",
        "shop/stock",
    ]


# -- hello


@using("hello")
@pytest.mark.parametrize(
    ("body", "greeting"),
    [(None, "Hello, Ada!"), (b"", "Hello, world!"), (b"{}", "Hello, world!")],
)
def test_hello_greets_in_the_log(example: ModuleType, body: bytes | None, greeting: str) -> None:
    call = (PAYLOADS / "hello.json").read_bytes() if body is None else body

    result = run(example.hello, body=call)

    assert result.result == greeting
    assert any(greeting in line for line in result.logs)


# -- github


@pytest.fixture
async def chat(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[list[web.Response | str]]:
    """A chat: what it answers next, then what it was told."""
    said: list[web.Response | str] = []

    async def take(request: web.Request) -> web.Response:
        if said and isinstance(refusal := said[0], web.Response):
            said.clear()
            return refusal
        said.append((await request.json())["text"])
        return web.Response()

    app = web.Application()
    app.router.add_post("/", take)
    async with TestServer(app) as server:
        monkeypatch.setenv("CHAT_URL", str(server.make_url("/")))
        yield said


async def tell(example: ModuleType, kind: str, **call: Any) -> Result:
    async with aiohttp.ClientSession() as session:
        return await run_async(
            example.github_events,
            headers={"X-GitHub-Event": kind},
            resources={example.chat: session},
            **call,
        )


@using("github")
@pytest.mark.parametrize(
    ("name", "kind", "summary"),
    [
        (
            "github-push.json",
            "push",
            "ada pushed 2 commits to main, the last one “Set the turnout to the left”",
        ),
        (
            "github-pull-request.json",
            "pull_request",
            "ada merged pull request #42 “Heat the points in winter” (heated-points → main)",
        ),
        ("github-push.json", "ping", "event 'ping'"),
    ],
)
async def test_github_events_are_told_in_the_chat(
    example: ModuleType, chat: list[Any], name: str, kind: str, summary: str
) -> None:
    result = await tell(example, kind, json=payload(name))

    assert result.result == f"octo-rail/tracks: {summary}"
    assert chat == [result.result]


@using("github")
async def test_a_chat_that_is_busy_is_asked_again_when_it_says(
    example: ModuleType, chat: list[Any]
) -> None:
    chat.append(web.Response(status=429, headers={"Retry-After": "20"}))

    result = await tell(example, "ping", json=payload("github-push.json"))

    assert (result.state, result.attempts, result.delays) == ("succeeded", 2, (27,))
    assert chat == ["octo-rail/tracks: event 'ping'"]


@using("github")
async def test_a_chat_that_refuses_is_not_asked_again(example: ModuleType, chat: list[Any]) -> None:
    chat.append(web.Response(status=404))

    result = await tell(example, "ping", json=payload("github-push.json"))

    assert (result.state, result.attempts) == ("dead", 1)
    assert "the chat refuses: 404" in (result.error or "")


@using("github")
@pytest.mark.parametrize(
    ("changes", "summary"),
    [
        ({"commits": [], "created": True, "ref": "refs/tags/v1.0"}, "ada created tag v1.0"),
        ({"commits": [], "created": True, "ref": "refs/heads/a/b"}, "ada created a/b"),
        ({"commits": [], "deleted": True, "ref": "refs/heads/old"}, "ada deleted old"),
        (
            {"commits": [{"message": "Start again"}], "forced": True},
            "ada force-pushed 1 commit to main, the last one “Start again”",
        ),
    ],
)
def test_other_pushes_are_summarised(
    example: ModuleType, changes: dict[str, Any], summary: str
) -> None:
    assert example.push(payload("github-push.json") | changes) == summary


@using("github")
def test_github_may_send_a_form_and_needs_no_chat(example: ModuleType) -> None:
    result = run(
        example.github_events,
        body=b"payload=%7B%22zen%22%3A%22Keep+it+simple.%22%7D",
        content_type="application/x-www-form-urlencoded",
        headers={"X-GitHub-Event": "ping"},
    )

    assert result.result == "GitHub: event 'ping'"


# -- crm


@pytest.fixture
def leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "data" / "leads.db"
    monkeypatch.setenv("LEADS_DATABASE", str(path))
    return path


def rows(path: Path, query: str) -> dict[Any, Any]:
    with closing(sqlite3.connect(path)) as database:
        return dict(database.execute(query).fetchall())


def statuses(path: Path) -> dict[int, str]:
    return rows(path, "SELECT deal_id, status FROM leads")


async def apply(example: ModuleType, *batches: Any) -> list[Result]:
    async with example.leads() as path:
        return [
            await run_async(example.update_lead_status, json=batch, resources={example.leads: path})
            for batch in batches
        ]


BATCH = payload("hubspot-deal-updates.json")
EXPECTED = {7001: "contractsent", 7002: "closedwon"}


@using("crm")
async def test_deals_that_move_are_applied_once(example: ModuleType, leads: Path) -> None:
    first, again = await apply(example, BATCH, BATCH)

    assert first.result == {"changes": 3, "updated": 3}
    assert again.result == {"changes": 3, "updated": 0}
    assert statuses(leads) == EXPECTED


@using("crm")
async def test_an_older_change_that_comes_late_is_not_applied(
    example: ModuleType, leads: Path
) -> None:
    await apply(example, *([change] for change in reversed(BATCH)))

    assert statuses(leads) == EXPECTED


@using("crm")
async def test_a_batch_is_applied_as_a_whole_or_not_at_all(
    example: ModuleType, leads: Path
) -> None:
    *changes, last = BATCH
    (result,) = await apply(
        example, [*changes, {name: last[name] for name in last if name != "occurredAt"}]
    )

    assert (result.state, result.attempts) == ("dead", 6)
    assert statuses(leads) == {}


@using("crm")
async def test_what_is_no_batch_is_rejected(example: ModuleType, leads: Path) -> None:
    (result,) = await apply(example, {"zen": "Keep it simple."})

    assert (result.state, result.reason) == ("dead", "rejected by attempt 1")


# -- form


@pytest.fixture
def messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "contact"
    monkeypatch.setenv("CONTACT_DIRECTORY", str(path))
    return path


@using("form")
def test_a_posted_form_is_stored_once_whatever_fails_at_its_end(
    example: ModuleType, messages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_once(example, "str", monkeypatch)  # the flow's last step
    result = run(
        example.contact_form,
        body=(PAYLOADS / "contact-form.txt").read_bytes(),
        content_type="application/x-www-form-urlencoded",
    )

    assert (result.state, result.attempts) == ("succeeded", 2)
    stored = Path(result.result)
    assert sorted(messages.iterdir()) == sorted([stored, messages / "inbox.txt"])
    message = json.loads((stored / "message.json").read_text())
    assert datetime.fromisoformat(message.pop("received_at")).tzinfo is not None
    assert message == {
        "fields": {
            "name": "Ada Lovelace",
            "email": "ada@example.com",
            "message": "When does the next train leave?",
        },
        "attachments": {},
    }
    (line,) = (messages / "inbox.txt").read_text().splitlines()
    assert line.endswith(f"{stored.name} 'Ada Lovelace'")


@using("form")
def test_an_attachment_is_stored_under_a_name_of_ours(example: ModuleType, messages: Path) -> None:
    data = (PAYLOADS / "timetable.csv").read_bytes()
    result = run(
        example.contact_form,
        body=b'--line\r\nContent-Disposition: form-data; name="file"; filename="../../evil"\r\n\r\n'
        + data
        + b"\r\n--line--\r\n",
        content_type="multipart/form-data; boundary=line",
    )

    assert (Path(result.result) / "attachment-1").read_bytes() == data
    assert not list(messages.parent.rglob("evil"))


# -- stock


@using("stock")
async def test_stock_is_what_was_counted_and_what_came_and_went_since(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "stock.db"
    monkeypatch.setenv("STOCK_DATABASE", str(path))
    sold, counted = payload("stock-sold.json"), payload("stock-counted.json")
    delivered = {"article": "A-7", "delivered": 10}
    async with example.stock() as opened:

        async def update(change: Any) -> Result:
            return await run_async(
                example.update_stock, json=change, resources={example.stock: opened}
            )

        levels = [
            (await update(change)).result
            for change in (sold, counted, sold, delivered, {"article": "B-1", "delivered": 5})
        ]
        rejected = [(await update(change)).state for change in ({"article": "A-7"}, {"sold": 1})]

    assert levels == [-2, 40, 38, 48, 5]
    assert rejected == ["dead", "dead"]
    assert rows(path, "SELECT article, pieces FROM stock") == {"A-7": 48, "B-1": 5}


@using("stock")
async def test_an_event_that_runs_again_is_not_counted_again(
    example: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOCK_DATABASE", str(tmp_path / "stock.db"))
    fail_once(example, "int", monkeypatch)  # the flow's last step
    async with example.stock() as opened:
        result = await run_async(
            example.update_stock,
            json={"article": "A-7", "delivered": 3},
            resources={example.stock: opened},
        )

    assert (result.attempts, result.result) == (2, 3)
