"""The examples, called as their author would call them in a unit test: a flow is a function."""

import importlib
import json
import logging
import sqlite3
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from tests.workers.making import event

from turnout.workers import Event
from turnout.workers.loading import load

EXAMPLES = Path(__file__).parents[2] / "examples"
PAYLOADS = EXAMPLES / "payloads"


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import the example that a test is marked with."""
    monkeypatch.syspath_prepend(EXAMPLES)
    return importlib.import_module(request.param)


def using(name: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("example", [name], indirect=True)


def posted(payload: str, content_type: str = "application/json", **fields: Any) -> Event:
    return event(body=(PAYLOADS / payload).read_bytes(), content_type=content_type, **fields)


def test_all_examples_can_be_loaded_together() -> None:
    assert sorted(load(sorted(map(str, EXAMPLES.glob("*.py"))))) == [
        "crm/update-lead-status",
        "demo/contact-form",
        "demo/github-events",
        "demo/hello",
    ]


@using("hello")
@pytest.mark.parametrize(
    ("body", "greeting"),
    [(None, "Hello, Ada!"), (b"", "Hello, world!"), (b"{}", "Hello, world!")],
)
async def test_hello_greets_in_the_log(
    example: ModuleType, caplog: pytest.LogCaptureFixture, body: bytes | None, greeting: str
) -> None:
    call = posted("hello.json") if body is None else event(body=body)

    with caplog.at_level(logging.INFO):
        assert await example.hello(call) == greeting

    assert greeting in caplog.messages


@using("github")
@pytest.mark.parametrize(
    ("payload", "kind", "summary"),
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
async def test_github_events_are_summarised(
    example: ModuleType, payload: str, kind: str, summary: str
) -> None:
    headers = (("X-GitHub-Event", kind),)

    told = await example.github_events(posted(payload, headers=headers))

    assert told == f"octo-rail/tracks: {summary}"


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
    assert example.push(posted("github-push.json").json() | changes) == summary


@using("github")
async def test_github_may_send_a_form(example: ModuleType) -> None:
    call = event(
        body=b"payload=%7B%22zen%22%3A%22Keep+it+simple.%22%7D",
        content_type="application/x-www-form-urlencoded",
        headers=(("X-GitHub-Event", "ping"),),
    )

    assert await example.github_events(call) == "GitHub: event 'ping'"


@pytest.fixture
def leads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "data" / "leads.db"
    monkeypatch.setenv("LEADS_DATABASE", str(path))
    return path


def statuses(path: Path) -> dict[int, str]:
    database = sqlite3.connect(path)
    rows = dict(database.execute("SELECT deal_id, status FROM leads").fetchall())
    database.close()
    return rows


EXPECTED = {7001: "contractsent", 7002: "closedwon"}


@using("crm")
def test_deals_that_move_are_applied_once(example: ModuleType, leads: Path) -> None:
    call = posted("hubspot-deal-updates.json")

    assert example.update_lead_status(call) == {"changes": 3, "updated": 3}
    assert statuses(leads) == EXPECTED
    assert example.update_lead_status(call) == {"changes": 3, "updated": 0}
    assert statuses(leads) == EXPECTED


@using("crm")
def test_an_older_change_that_comes_late_is_not_applied(example: ModuleType, leads: Path) -> None:
    changes = posted("hubspot-deal-updates.json").json()

    for change in reversed(changes):
        example.update_lead_status(event(body=json.dumps([change]).encode()))

    assert statuses(leads) == EXPECTED


@using("crm")
def test_a_batch_is_applied_as_a_whole_or_not_at_all(example: ModuleType, leads: Path) -> None:
    changes = posted("hubspot-deal-updates.json").json()
    del changes[-1]["occurredAt"]

    with pytest.raises(sqlite3.Error):
        example.update_lead_status(event(body=json.dumps(changes).encode()))

    assert statuses(leads) == {}


@pytest.fixture
def messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "contact"
    monkeypatch.setenv("CONTACT_DIRECTORY", str(path))
    return path


@using("form")
def test_a_posted_form_is_stored(example: ModuleType, messages: Path) -> None:
    call = posted("contact-form.txt", "application/x-www-form-urlencoded")

    for _ in range(2):  # the second time as after a redelivery
        assert example.contact_form(call) == str(messages / call.id)

    assert [each.name for each in messages.rglob("*.*")] == ["message.json"]
    message = json.loads((messages / call.id / "message.json").read_text())
    assert message == {
        "received_at": "2026-03-02T09:30:00.123456+00:00",
        "fields": {
            "name": "Ada Lovelace",
            "email": "ada@example.com",
            "message": "When does the next train leave?",
        },
        "attachments": {},
    }


@using("form")
def test_an_attachment_is_stored_under_a_name_of_ours(example: ModuleType, messages: Path) -> None:
    data = (PAYLOADS / "timetable.csv").read_bytes()
    call = event(
        body=b'--line\r\nContent-Disposition: form-data; name="file"; filename="../../evil"\r\n\r\n'
        + data
        + b"\r\n--line--\r\n",
        content_type="multipart/form-data; boundary=line",
    )

    example.contact_form(call)

    assert (messages / call.id / "attachment-1").read_bytes() == data
    assert not list(messages.parent.rglob("evil"))
