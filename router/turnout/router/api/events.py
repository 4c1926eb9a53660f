"""`/events`: accepted calls, and what happened to each."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from turnout.router.api.body import Answer, Body, Description, Header, Listing, readable
from turnout.router.api.call import Call
from turnout.router.api.content import Bytes, Lines
from turnout.router.api.control import HISTORY
from turnout.router.api.history import (
    HistoryQuery,
    NewestQuery,
    RunAnswer,
    State,
    directory_of,
    filter_of,
    newest,
)
from turnout.router.api.moments import moment
from turnout.router.api.params import EventId
from turnout.router.api.problem import Problem
from turnout.router.api.routes import Routes
from turnout.router.api.selection import KeyName, TriggerName
from turnout.router.history.lookup import PayloadGone, Scanned
from turnout.router.history.search import Record
from turnout.router.history.where import Where
from turnout.router.registry import Directory
from turnout.shared.envelope import Envelope

routes = Routes()

_Condition = Annotated[str, Field(max_length=1000)]


class SearchQuery(HistoryQuery):
    """Which events, by their payload as well."""

    header: _Condition | None = None
    """`Name` or `Name: value`."""
    json_: _Condition | None = Field(None, alias="json")
    """`path.to.field=value`."""
    text: _Condition | None = None
    """What occurs in the body."""
    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    """After how many the search ends."""


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


class ScanAnswer(Answer):
    """How far a search has come."""

    scanned: int
    """How many events were looked at so far."""
    share: float
    """Of the archive, as far as it is wanted: 0 to 1."""
    found: list[EventItem]
    """Since the line before."""

    @classmethod
    def of(cls, scanned: Scanned, directory: Directory) -> Self:
        """Show it."""
        return cls(
            scanned=scanned.events,
            share=scanned.share,
            found=[EventItem.listed(each, directory) for each in scanned.found],
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
    """It may have run before, in part or whole."""
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
    headers: list[Header]
    content_type: str
    size: int


class Erase(Body):
    """Why an event is erased."""

    reason: Description


@routes.get("/events", filtered=True, refuses=(404,))
async def list_all(call: Call, query: NewestQuery) -> Listing[EventItem]:
    """List events, newest first."""
    found, following = await newest(call, query, replays=False)
    directory = await directory_of(call)
    return Listing(
        items=[EventItem.listed(each, directory) for each in found], next_cursor=following
    )


@routes.get("/events/search", filtered=True, refuses=(404,))
async def search(call: Call, query: SearchQuery) -> Lines[ScanAnswer]:
    """Look through payloads, newest first, and tell in lines what is found and how far it is.

    Close the connection to give up.
    """
    wanted = await filter_of(call, query, replays=False)
    where = Where.parse(header=query.header, json=query.json_, text=query.text)
    directory = await directory_of(call)

    async def lines() -> AsyncGenerator[ScanAnswer]:
        async with aclosing(call.app[HISTORY].scan(wanted, where, limit=query.limit)) as scan:
            async for scanned in scan:
                yield ScanAnswer.of(scanned, directory)

    return Lines(lines())


@routes.get("/events/{event_id}")
async def show(call: Call, event_id: EventId) -> StoryAnswer:
    """Tell the story of an event."""
    return await tell(call, event_id)


@routes.get("/events/{event_id}/payload", refuses=(410,))
async def payload(call: Call, event_id: EventId) -> PayloadAnswer:
    """Show what came with a call, but its body."""
    envelope = await payload_of(call, event_id)
    return PayloadAnswer(
        event_id=envelope.event_id,
        method=envelope.method,
        path=readable(envelope.path),
        query=readable(envelope.query),
        headers=[(readable(name), readable(value)) for name, value in envelope.headers],
        content_type=readable(envelope.content_type),
        size=len(envelope.body),
    )


@routes.get("/events/{event_id}/body", refuses=(410,))
async def body(call: Call, event_id: EventId) -> Bytes:
    """Return the bytes of a call's body, as they came."""
    return Bytes((await payload_of(call, event_id)).body)


@routes.post("/events/{event_id}/erase", status=200)
async def erase(call: Call, event_id: EventId, body: Erase) -> StoryAnswer:
    """Erase the payload and metadata of an event."""
    await call.app[HISTORY].erase(event_id, body.reason, call.actor)
    return await tell(call, event_id)


async def tell(call: Call, event_id: str) -> StoryAnswer:
    """Tell the story of an event."""
    story = await call.app[HISTORY].story(event_id)
    directory = await directory_of(call)
    return StoryAnswer(
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


async def payload_of(call: Call, event_id: str) -> Envelope:
    """Return an event as it came.

    Raises:
        NotFound: there is no such event.
        Problem: it is erased, or the archive has dropped it.
    """
    try:
        return await call.app[HISTORY].payload(event_id)
    except PayloadGone as error:
        raise Problem(410, "payload_gone", str(error)) from None
