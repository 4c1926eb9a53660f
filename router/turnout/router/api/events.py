"""`/events`: accepted calls, and what happened to each."""

import json
from datetime import datetime
from typing import Annotated, Self

from aiohttp import web
from pydantic import Field, StringConstraints

from turnout.router.api import path
from turnout.router.api.body import Answer, Body, Items, answer, read
from turnout.router.api.control import HISTORY, REGISTRY
from turnout.router.api.history import (
    HistoryQuery,
    PageQuery,
    RunAnswer,
    State,
    directory_of,
    filter_of,
    moment,
)
from turnout.router.api.problem import Problem
from turnout.router.api.selection import KeyName, TriggerName
from turnout.router.history.lookup import PayloadGone
from turnout.router.history.search import Record
from turnout.router.history.where import Where
from turnout.router.registry import Directory
from turnout.shared import ids, log
from turnout.shared.envelope import Envelope
from turnout.shared.errors import TurnoutError

_log = log.get(__name__)

routes = web.RouteTableDef()

_Condition = Annotated[str, Field(max_length=1000)]


class SearchQuery(HistoryQuery):
    """Which events, by their payload as well."""

    header: _Condition | None = None
    """`Name` or `Name: value`."""
    json_: _Condition | None = Field(None, alias="json")
    """`path.to.field=value`."""
    text: _Condition | None = None
    """What occurs in the body."""


class EventAnswer(Answer):
    """An accepted call; without what came with it if it is erased, or not in the archive."""

    id: str
    received_at: datetime | None
    method: str | None
    path: str | None
    """What follows the routing key in the URL."""
    content_type: str | None
    remote: str | None
    size: int | None
    """Bytes of the body."""

    @classmethod
    def of(cls, event_id: str, event: Record | None) -> Self:
        """Show an event."""
        told = {} if event is None else event._asdict()
        return cls(
            id=event_id,
            received_at=moment(told.get("received_at") or 0),
            method=told.get("method"),
            path=told.get("path"),
            content_type=told.get("content_type"),
            remote=told.get("remote"),
            size=told.get("size"),
        )


class EventItem(EventAnswer):
    """An event of a listing, with what became of its first run."""

    group: str
    flow: str
    trigger: TriggerName | None
    key: KeyName | None
    kind: str | None
    state: State
    attempt: int
    error: str | None

    @classmethod
    def listed(cls, row: Record, directory: Directory) -> Self:
        """Show a row that has the event and its first run."""
        run = RunAnswer.of(row, directory)
        names = ("group", "flow", "trigger", "key", "kind", "state", "attempt", "error")
        return cls.model_validate(
            EventAnswer.of(row.event_id, row).model_dump()
            | {name: value for name, value in run.model_dump().items() if name in names}
        )


class ErasureAnswer(Answer):
    """That an event was erased; the archive holds it on until its own retention, unread."""

    at: datetime | None
    reason: str

    @classmethod
    def of(cls, erasure: Record) -> Self:
        """Show an erasure."""
        return cls(at=moment(erasure.erased_at), reason=erasure.reason)


class AttemptAnswer(Answer):
    """One try within a run."""

    number: int
    state: State
    """running, or how it ended; retrying: another one follows."""
    started_at: datetime | None
    ended_at: datetime | None
    worker_id: str
    version: str
    redelivered: bool
    """It had been handed out before, so it may have run twice."""
    error: str | None
    traceback: str | None
    delay: int | None
    """Seconds until the next attempt."""
    result: object
    """What the flow returned."""

    @classmethod
    def of(cls, attempt: Record) -> Self:
        """Show an attempt."""
        fields = attempt._asdict() | {
            "started_at": moment(attempt.started_at),
            "ended_at": moment(attempt.ended_at),
            "result": attempt.result and json.loads(attempt.result),
        }
        return cls.model_validate(fields)


class RunStory(RunAnswer):
    """A run and its attempts, the oldest first."""

    attempts: list[AttemptAnswer]


class StoryAnswer(Answer):
    """All that is known of an event."""

    event: EventAnswer
    erased: ErasureAnswer | None
    runs: list[RunStory]
    """The first, then its replays, the oldest first."""


class PayloadAnswer(Answer):
    """An event as it came, without credentials."""

    event_id: str
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    content_type: str
    size: int


class Erase(Body):
    """Why an event is erased."""

    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]


@routes.get("/api/v1/events")
async def newest(request: web.Request) -> web.Response:
    """List events, the newest first; the next page begins `before` the last one of this."""
    query = path.query(request, PageQuery)
    wanted = await filter_of(query, request.app[REGISTRY], replays=False)
    before = query.before and ids.same_uuid(query.before, ids.RUN)
    found = await request.app[HISTORY].newest(wanted, before=before, limit=query.limit)
    directory = await directory_of(request)
    return answer(Items(items=[EventItem.listed(each, directory) for each in found]))


@routes.get("/api/v1/events/search")
async def search(request: web.Request) -> web.StreamResponse:
    """Look through payloads, the oldest first, and tell by lines of JSON what is found and how far.

    Each line has `scanned`, the number of events so far, `share`, of the archive, and `found`.
    Close the connection to give up.
    """
    query = path.query(request, SearchQuery)
    wanted = await filter_of(query, request.app[REGISTRY], replays=False)
    where = Where.parse(header=query.header, json=query.json_, text=query.text)
    directory = await directory_of(request)
    response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
    await response.prepare(request)

    async def tell(line: dict[str, object]) -> None:
        await response.write(json.dumps(line).encode() + b"\n")

    try:
        async for scanned in request.app[HISTORY].scan(wanted, where, limit=query.limit):
            items = [EventItem.listed(each, directory) for each in scanned.found]
            await tell(
                {
                    "scanned": scanned.events,
                    "share": scanned.share,
                    "found": [each.model_dump(mode="json") for each in items],
                }
            )
    except TurnoutError as error:  # the status is sent already
        _log.warning("a search ends early", reason=str(error))
        await tell({"error": "the search ended early: RabbitMQ or the database does not answer"})
    return response


@routes.get("/api/v1/events/{id}")
async def show(request: web.Request) -> web.Response:
    """Tell the story of an event."""
    return await tell(request, path.identifier(request, ids.EVENT))


@routes.get("/api/v1/events/{id}/payload")
async def payload(request: web.Request) -> web.Response:
    """Show what came with a call, but its body."""
    envelope = await _payload(request)
    return answer(
        PayloadAnswer(
            event_id=envelope.event_id,
            method=envelope.method,
            path=_readable(envelope.path),
            query=_readable(envelope.query),
            headers=[(_readable(name), _readable(value)) for name, value in envelope.headers],
            content_type=_readable(envelope.content_type),
            size=len(envelope.body),
        )
    )


@routes.get("/api/v1/events/{id}/body")
async def body(request: web.Request) -> web.Response:
    """Return the bytes of a call's body, as they came."""
    envelope = await _payload(request)
    # Never by its own content type: it is somebody else's, and this may be opened in a browser.
    return web.Response(body=envelope.body, content_type="application/octet-stream")


@routes.post("/api/v1/events/{id}/erase")
async def erase(request: web.Request) -> web.Response:
    """Erase the payload and metadata of an event."""
    event_id = path.identifier(request, ids.EVENT)
    given = await read(request, Erase)
    await request.app[HISTORY].erase(event_id, given.reason)
    return await tell(request, event_id)


async def tell(request: web.Request, event_id: str) -> web.Response:
    """Tell the story of an event."""
    story = await request.app[HISTORY].story(event_id)
    directory = await directory_of(request)
    return answer(
        StoryAnswer(
            event=EventAnswer.of(event_id, story.event),
            erased=None if story.erasure is None else ErasureAnswer.of(story.erasure),
            runs=[
                RunStory.of(
                    run,
                    directory,
                    attempts=[AttemptAnswer.of(each) for each in story.attempts.get(run.id, [])],
                )
                for run in story.runs
            ],
        )
    )


async def _payload(request: web.Request) -> Envelope:
    try:
        return await request.app[HISTORY].payload(path.identifier(request, ids.EVENT))
    except PayloadGone as error:
        raise Problem(410, "payload_gone", str(error)) from None


def _readable(text: str) -> str:
    """Return what was sent as UTF-8 can carry it."""
    return text.encode("utf-8", "replace").decode()
