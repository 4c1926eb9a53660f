"""`/replays`: events and dead letters that run again."""

import base64
import binascii
import json
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from aiohttp import web
from pydantic import AwareDatetime, Field, StringConstraints, model_validator

from turnout.router.api import path
from turnout.router.api.body import Answer, Body, Items, answer, read
from turnout.router.api.control import OPERATIONS, REGISTRY
from turnout.router.api.dead import DeadSelection, moment
from turnout.router.letters.dead import Wanted
from turnout.router.registry import Invalid
from turnout.router.replay.edit import Edit
from turnout.router.replay.plan import Selection
from turnout.router.replay.replays import Replays
from turnout.shared import ids, names
from turnout.shared.errors import InvalidName

routes = web.RouteTableDef()

#: Runs a second, unless said otherwise.
RATE = 500.0

EventId = Annotated[str, StringConstraints(pattern=r"^evt_[0-9a-f]{32}$")]
_Rate = Annotated[float, Field(ge=0, le=1_000_000, strict=False)]


class EventSelection(Body):
    """Which events are meant: some by id, or all for which the rest holds."""

    events: (
        Annotated[tuple[EventId, ...], Field(min_length=1, max_length=1000, strict=False)] | None
    ) = None
    flow: str | None = None
    group: str | None = None
    trigger: str | None = None
    key: str | None = None
    state: (
        Literal["queued", "running", "retrying", "succeeded", "dead", "cancelled", "unknown"] | None
    ) = None
    error_type: str | None = None
    since: Annotated[AwareDatetime, Field(strict=False)] | None = None
    until: Annotated[AwareDatetime, Field(strict=False)] | None = None

    def selection(self) -> Selection:
        """Return the conditions.

        Raises:
            Invalid: there is none, or the flow is no address.
        """
        group, flow = self.group, None
        if self.flow is not None:
            group, flow = _address("flow", self.flow)
        found = Selection(**self.model_dump(exclude={"group", "flow"}), group=group, flow=flow)
        if not any(found):
            raise Invalid("events", "say which: everything is never meant")
        return found


class EditBody(Body):
    """How bodies are changed: a JSON merge patch, or one body instead of all."""

    merge: dict[str, Any] | None = None
    body: str | None = None
    """In base64."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.merge is None) == (self.body is None):
            raise ValueError("either merge or body")
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


class NewReplay(Body):
    """A replay to plan."""

    events: EventSelection | None = None
    """From the history and the archive."""
    dead: DeadSelection | None = None
    """Dead letters."""
    target: str | None = None
    """Another flow of the group, "group/flow", that runs instead: only in a dry run."""
    dry_run: bool = False
    """Each run is a test: one attempt, marked as such everywhere."""
    edit: EditBody | None = None
    rate: _Rate = RATE
    """Runs a second; 0: as fast as it goes."""
    start: bool = False
    """Start it as soon as it is planned."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.events is None) == (self.dead is None):
            raise ValueError("either events or dead")
        if self.target is not None and not self.dry_run:
            raise ValueError("another flow runs only in a dry run: set dry_run")
        return self

    def wanted(self) -> Selection | Wanted:
        """Return the conditions.

        Raises:
            Invalid: there is none, or they make no sense.
        """
        if self.events is not None:
            return self.events.selection()
        assert self.dead is not None  # noqa: S101 - see above
        return self.dead.wanted()


class Start(Body):
    """How a planned replay is started."""

    rate: _Rate | None = None
    """null: as it was planned."""


class Rate(Body):
    """How fast a replay goes on."""

    rate: _Rate


class Sample(Answer):
    """One of the first items."""

    event_id: str
    origin: str
    """The run that is repeated."""


class ReplayAnswer(Answer):
    """A replay."""

    id: str
    state: str
    source: str
    selection: dict[str, Any]
    target: str | None
    dry_run: bool
    edited: bool
    total: int
    gone: int
    """Events that were meant, and not in the archive any more when it was planned."""
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
    def of(cls, row: Any, replays: Replays, /, **more: Any) -> Self:
        """Show one."""
        progress = replays.progress(row)
        done = max(row.position, progress.position)
        remaining = progress.remaining
        if row.state in {"planning", "planned"} and row.rate:
            remaining = row.total / row.rate
        return cls(
            id=row.id,
            state=row.state,
            source=row.source,
            selection=json.loads(row.selection),
            target=row.target,
            dry_run=row.dry_run,
            edited=row.edit is not None,
            total=row.total,
            gone=row.gone,
            done=done,
            skipped=row.skipped,
            rate=row.rate,
            current_rate=round(progress.rate, 1),
            remaining_seconds=remaining,
            note=progress.waits or row.note,
            created_at=moment(row.created_at),
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


@routes.post("/api/v1/replays")
async def create(request: web.Request) -> web.Response:
    """Plan a replay: what is meant is counted in the background."""
    body = await read(request, NewReplay)
    wanted = body.wanted()
    if body.target is not None:
        flow = await request.app[REGISTRY].flow(*_address("target", body.target))
        if wanted.group != flow.group:
            raise Invalid("target", "select by a flow or group, the target's own: nothing crosses")
    replays = request.app[OPERATIONS].replays
    row = await replays.plan(
        wanted,
        target=body.target,
        dry_run=body.dry_run,
        edit=body.edit.edit() if body.edit is not None else None,
        rate=body.rate,
        start=body.start,
    )
    return answer(ReplayAnswer.of(row, replays), status=201)


@routes.get("/api/v1/replays")
async def list_(request: web.Request) -> web.Response:
    """List the newest replays."""
    replays = request.app[OPERATIONS].replays
    rows = await replays.newest(50)
    return answer(Items(items=[ReplayAnswer.of(row, replays) for row in rows]))


@routes.get("/api/v1/replays/{id}")
async def show(request: web.Request) -> web.Response:
    """Show a replay, with samples and what became of its runs."""
    replay_id = path.identifier(request, ids.REPLAY)
    replays = request.app[OPERATIONS].replays
    row = await replays.get(replay_id)
    samples = [
        Sample(event_id=each.event_id, origin=each.origin)
        for each in await replays.samples(replay_id)
    ]
    outcomes = await replays.outcomes(replay_id)
    return answer(WholeReplayAnswer.of(row, replays, samples=samples, outcomes=outcomes))


@routes.post("/api/v1/replays/{id}/start")
async def start(request: web.Request) -> web.Response:
    """Start a planned replay."""
    body = await read(request, Start)
    replays = request.app[OPERATIONS].replays
    row = await replays.start(path.identifier(request, ids.REPLAY), body.rate)
    return answer(ReplayAnswer.of(row, replays))


@routes.post("/api/v1/replays/{id}/pause")
async def pause(request: web.Request) -> web.Response:
    """Let a replay wait."""
    replays = request.app[OPERATIONS].replays
    return answer(
        ReplayAnswer.of(await replays.pause(path.identifier(request, ids.REPLAY)), replays)
    )


@routes.post("/api/v1/replays/{id}/resume")
async def resume(request: web.Request) -> web.Response:
    """Let a replay go on."""
    replays = request.app[OPERATIONS].replays
    return answer(
        ReplayAnswer.of(await replays.resume(path.identifier(request, ids.REPLAY)), replays)
    )


@routes.post("/api/v1/replays/{id}/abort")
async def abort(request: web.Request) -> web.Response:
    """End a replay; what it has published runs."""
    replays = request.app[OPERATIONS].replays
    return answer(
        ReplayAnswer.of(await replays.abort(path.identifier(request, ids.REPLAY)), replays)
    )


@routes.patch("/api/v1/replays/{id}")
async def change(request: web.Request) -> web.Response:
    """Change how fast a replay goes on."""
    body = await read(request, Rate)
    replays = request.app[OPERATIONS].replays
    row = await replays.set_rate(path.identifier(request, ids.REPLAY), body.rate)
    return answer(ReplayAnswer.of(row, replays))


def _address(field: str, text: str) -> tuple[str, str]:
    try:
        return names.flow_address(text)
    except InvalidName as error:
        raise Invalid(field, str(error)) from None
