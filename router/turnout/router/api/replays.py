"""`/replays`: events and dead letters that run again."""

import base64
import binascii
import json
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

from turnout.router.api.body import Answer, Body, Listing, Reason
from turnout.router.api.call import Call
from turnout.router.api.control import CACHE, OPERATIONS
from turnout.router.api.dead import DeadSelection
from turnout.router.api.moments import at, moment, nanoseconds
from turnout.router.api.params import UUID, Moment, PageQuery, ReplayId, Text, cursor
from turnout.router.api.routes import LARGEST_PAYLOAD, Routes, Tagged
from turnout.router.api.selection import key_called, legal
from turnout.router.history.search import Filter
from turnout.router.history.where import Where
from turnout.router.letters.dead import Wanted
from turnout.router.registry import Invalid
from turnout.router.replay.edit import Edit
from turnout.router.replay.plan import Selection
from turnout.router.replay.replay import Replay
from turnout.router.replay.replays import Replays
from turnout.shared import ids, names
from turnout.shared.announcement import Announcement

routes = Routes()

#: Runs a second, unless said otherwise.
RATE = 500.0

EventId = Annotated[str, StringConstraints(pattern=f"^evt_{UUID}$")]
_Rate = Annotated[float, Field(ge=0, le=1_000_000, strict=False)]


class EventSelection(Body):
    """Which events are meant: some by id, or all for which the rest holds."""

    events: (
        Annotated[tuple[EventId, ...], Field(min_length=1, max_length=1000, strict=False)] | None
    ) = None
    flow: Text | None = None
    group: Text | None = None
    trigger: Text | None = None
    key: Text | None = None
    state: (
        Literal["queued", "running", "retrying", "succeeded", "dead", "cancelled", "unknown"] | None
    ) = None
    error_type: Text | None = None
    """The name of an exception, with its module or without."""
    since: Moment | None = None
    until: Moment | None = None
    header: Text | None = None
    """`Name` or `Name: value`; this and the following are looked for in the archive."""
    json_: Annotated[Text | None, Field(alias="json")] = None
    """`path.to.field=value`."""
    text: Text | None = None
    """What occurs in the body."""

    async def selection(self, call: Call) -> Selection:
        """Return the conditions, of what the token may see.

        Raises:
            Invalid: there is none, or one is not as it should be.
            NotFound: they name a group or a key that the token may not see.
        """
        group, flow = self.group, None
        if self.flow is not None:
            group, flow = legal("flow", names.flow_address, self.flow)
        found = Selection(
            self.events,
            Filter(
                group=group,
                flow=flow,
                trigger_id=self.trigger,
                key_id=self.key and await key_called(self.key, call),
                since=None if self.since is None else nanoseconds(self.since),
                until=None if self.until is None else nanoseconds(self.until),
                state=self.state,
                error_type=self.error_type,
            ),
            Where.parse(header=self.header, json=self.json_, text=self.text),
        )
        if found.is_everything:
            raise Invalid("events", "say which: everything is never meant")
        group = call.group_of(group, "events.group")
        return found._replace(filter=replace(found.filter, group=group))


class EditBody(Body):
    """How bodies are changed: a JSON merge patch, or one body instead of all."""

    merge: dict[str, Any] | None = None
    body: str | None = None
    """In base64."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.merge is None) == (self.body is None):
            raise PydanticCustomError("one", "either merge or body")
        return self

    def edit(self) -> Edit:
        """Return it.

        Raises:
            Invalid: the body is no base64.
        """
        if self.body is None:
            return Edit(merge=self.merge)
        try:
            return Edit(body=base64.b64decode(self.body, validate=True))
        except binascii.Error as error:
            raise Invalid("edit.body", f"it is no base64: {error}") from None


class NewReplay(Reason):
    """A replay to plan."""

    events: EventSelection | None = None
    """From the history and the archive."""
    dead: DeadSelection | None = None
    """Dead letters."""
    target: Text | None = None
    """Another flow of the group, "group/flow", that runs instead: only in a dry run."""
    version: Text | None = None
    """Of the flow's code, as a running worker announces it: no other runs it; only in a dry run."""
    dry_run: bool = False
    """Each run is a test: one attempt, marked as such everywhere."""
    order: Literal["any", "kept"] = "any"
    """kept: each run waits until the one before has ended."""
    edit: EditBody | None = None
    rate: _Rate = RATE
    """Runs a second; 0: as fast as it goes."""
    start: bool = False
    """Start it as soon as it is planned."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.events is None) == (self.dead is None):
            raise PydanticCustomError("one", "either events or dead")
        if not self.dry_run and (self.target is not None or self.version is not None):
            raise PydanticCustomError(
                "target", "another flow or version runs only in a dry run: set dry_run"
            )
        return self

    async def wanted(self, call: Call) -> Selection | Wanted:
        """Return the conditions, of what the token may see.

        Raises:
            Invalid: there is none, or they make no sense.
            NotFound: they name what the token may not see.
        """
        if self.events is not None:
            return await self.events.selection(call)
        assert self.dead is not None  # noqa: S101 - see above
        found = self.dead.wanted()
        return found._replace(group=call.group_of(found.group, "dead.group"))


class Start(Reason):
    """How a planned replay is started."""

    rate: _Rate | None = None
    """null: as it was planned."""


class ReplayChange(Body):
    """How fast a replay goes on."""

    rate: _Rate


class Sample(Answer):
    """One of the first items."""

    event_id: str
    received_at: datetime
    origin: str
    """The run that is repeated."""


class ReplayAnswer(Answer):
    """A replay."""

    id: str
    group: str | None
    """Slug of the group that all of it is of; null: of any."""
    state: str
    source: str
    selection: dict[str, Any]
    target: str | None
    version: str | None
    dry_run: bool
    order: Literal["any", "kept"]
    edited: bool
    """Whether bodies are changed; how, is told by nobody."""
    total: int
    gone: int
    """Events that were meant, and not in the archive any more when it was planned."""
    gone_since: int
    """Of the total, those that left the archive before it was started: they are skipped."""
    done: int
    skipped: int
    """Of those done: gone since, or not to be edited."""
    rate: float
    """Runs a second at most; 0: any."""
    current_rate: float
    remaining_seconds: float | None
    """At the present rate; before the start, at the greatest. null: unknown."""
    note: str
    """Why it does not go on, or why the last item was skipped."""
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def of(cls, row: Replay, replays: Replays, /, **more: Any) -> Self:
        """Show one."""
        progress = replays.progress(row)
        done = max(row.position, progress.position)
        remaining = progress.remaining
        if row.state in {"planning", "planned"} and row.rate:
            remaining = row.total / row.rate
        return cls(
            id=row.id,
            group=row.group,
            state=row.state,
            source=row.source,
            selection=json.loads(row.selection),
            target=row.target,
            version=row.version,
            dry_run=row.dry_run,
            order="kept" if row.in_order else "any",
            edited=row.edit is not None,
            total=row.total,
            gone=row.gone,
            gone_since=row.gone_since,
            done=done,
            skipped=row.skipped,
            rate=row.rate,
            current_rate=round(progress.rate, 1),
            remaining_seconds=remaining,
            note=progress.waits or row.note,
            created_at=at(row.created_at),
            started_at=moment(row.started_at),
            ended_at=moment(row.ended_at),
            **more,
        )


class WholeReplayAnswer(ReplayAnswer):
    """A replay, with some of what it repeats and what became of it."""

    samples: list[Sample]
    """The first items; none when it has ended."""
    outcomes: dict[str, int]
    """Its runs by state, as far as they are recorded."""


@routes.post("/replays", filtered=True, max_body=LARGEST_PAYLOAD, refuses=(404,))
async def create(call: Call, body: NewReplay) -> Tagged[ReplayAnswer]:
    """Plan a replay: what is meant is counted in the background."""
    wanted = await body.wanted(call)
    if body.target is not None:
        group, flow = legal("target", names.flow_address, body.target)
        call.require(group, "flow", body.target)
        await call.registry.flow(group, flow)
        if wanted.group != group:
            raise Invalid("target", "select by a flow or group, the target's own: nothing crosses")
    if body.version is not None:
        await _require_version(call, body.target or wanted.address, body.version)
    replay = await call.app[OPERATIONS].replays.plan(
        wanted,
        target=body.target,
        version=body.version,
        dry_run=body.dry_run,
        edit=body.edit.edit() if body.edit is not None else None,
        in_order=body.order == "kept",
        rate=body.rate,
        actor=call.actor,
        start=body.start,
    )
    return _shown(call, replay)


@routes.get("/replays", filtered=True)
async def list_all(call: Call, query: PageQuery) -> Listing[ReplayAnswer]:
    """List replays, newest first."""
    replays = call.app[OPERATIONS].replays
    found = await replays.newest(call.groups, query.page)
    return Listing(
        items=[ReplayAnswer.of(each, replays) for each in found], next_cursor=cursor(found.next)
    )


@routes.get("/replays/{replay_id}")
async def show(call: Call, replay_id: ReplayId) -> Tagged[WholeReplayAnswer]:
    """Show a replay, with samples and what became of its runs."""
    replays = call.app[OPERATIONS].replays
    replay = await replays.get(replay_id)
    samples = [
        Sample(
            event_id=each.event_id,
            received_at=at(ids.made_at(each.event_id)),
            origin=each.origin,
        )
        for each in await replays.samples(replay_id)
    ]
    outcomes = await replays.outcomes(replay_id)
    answer = WholeReplayAnswer.of(replay, replays, samples=samples, outcomes=outcomes)
    return Tagged(answer, replay)


@routes.post("/replays/{replay_id}/start", status=200)
async def start(call: Call, replay_id: ReplayId, body: Start) -> Tagged[ReplayAnswer]:
    """Start a planned replay."""
    replays = call.app[OPERATIONS].replays
    return _shown(call, await replays.start(replay_id, body.rate, call.actor))


@routes.post("/replays/{replay_id}/pause", status=200)
async def pause(call: Call, replay_id: ReplayId, body: Reason) -> Tagged[ReplayAnswer]:
    """Let a replay wait."""
    return _shown(call, await call.app[OPERATIONS].replays.pause(replay_id, call.actor))


@routes.post("/replays/{replay_id}/resume", status=200)
async def resume(call: Call, replay_id: ReplayId, body: Reason) -> Tagged[ReplayAnswer]:
    """Let a replay go on."""
    return _shown(call, await call.app[OPERATIONS].replays.resume(replay_id, call.actor))


@routes.post("/replays/{replay_id}/abort", status=200)
async def abort(call: Call, replay_id: ReplayId, body: Reason) -> Tagged[ReplayAnswer]:
    """End a replay; what it has published runs."""
    return _shown(call, await call.app[OPERATIONS].replays.abort(replay_id, call.actor))


@routes.patch("/replays/{replay_id}")
async def change(call: Call, replay_id: ReplayId, body: ReplayChange) -> Tagged[ReplayAnswer]:
    """Change how fast a replay goes on."""
    replays = call.app[OPERATIONS].replays
    return _shown(call, await replays.set_rate(replay_id, body.rate, call.actor))


def _shown(call: Call, replay: Replay) -> Tagged[ReplayAnswer]:
    return Tagged(ReplayAnswer.of(replay, call.app[OPERATIONS].replays), replay)


async def _require_version(call: Call, address: str | None, version: str) -> None:
    """Make sure that a running worker has a version of a flow.

    Raises:
        Invalid: none has, so that runs would wait for it.
    """
    if address is None:
        raise Invalid("version", "of which flow? Select by a flow, or name a target")
    found = {
        served.version
        for each in await Announcement.read_all(call.app[CACHE])
        for served in each.served
        if served.address == address
    }
    if version not in found:
        there = ", ".join(sorted(map(repr, found))) or "none"
        raise Invalid("version", f"no running worker has it; of {address} there is: {there}")
