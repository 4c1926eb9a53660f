"""`/dead`: dead letters, one by one and grouped by what went wrong."""

import base64
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, Self

from aiohttp import web
from pydantic import Field, StringConstraints

from turnout.router.api import path
from turnout.router.api.body import Answer, Body, Description, Items, answer, read
from turnout.router.api.control import OPERATIONS
from turnout.router.letters.dead import DISCARDED, KEPT, REPLAYED, Group, Wanted
from turnout.router.registry import Invalid
from turnout.shared import names
from turnout.shared.envelope import Envelope
from turnout.shared.errors import InvalidEnvelope, InvalidName

routes = web.RouteTableDef()

Id = Annotated[str, StringConstraints(pattern=r"^(run|raw)_[0-9a-f]{32}$")]

_STATES = Literal["kept", "replayed", "discarded", "all"]


class DeadQuery(path.Query):
    """Which dead letters are meant."""

    flow: str | None = None
    """An address, "group/flow"."""
    group: str | None = None
    fingerprint: str | None = None
    state: _STATES = "kept"


class DeadPage(DeadQuery):
    """Which of them are shown."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 50
    before: int | None = None
    """The `next` of the page before."""


class DeadSelection(Body):
    """Which dead letters are meant: some by id, or all for which the rest holds."""

    ids: Annotated[tuple[Id, ...], Field(min_length=1, max_length=1000, strict=False)] | None = None
    flow: str | None = None
    group: str | None = None
    fingerprint: str | None = None

    def wanted(self) -> Wanted:
        """Return the conditions.

        Raises:
            Invalid: there is none.
        """
        if not (self.ids or self.flow or self.group or self.fingerprint):
            raise Invalid("ids", "say which: ids, flow, group or fingerprint")
        return wanted(self.flow, self.group, self.fingerprint, ids=self.ids)


class Discard(DeadSelection):
    """Which are discarded, and why."""

    reason: Description


class LetterAnswer(Answer):
    """A dead letter, without its payload."""

    id: str
    """Of the run; "raw_…" if it is no envelope."""
    event_id: str | None
    flow: str
    trigger_id: str | None
    kind: str | None
    attempt: int
    received_at: datetime | None
    died_at: datetime
    reason: str
    error: str
    place: str
    fingerprint: str
    state: str
    settled_at: datetime | None
    settled_by: str

    @classmethod
    def of(cls, row: Any, /, **more: Any) -> Self:
        """Show one."""
        return cls(
            id=row.id,
            event_id=row.event_id,
            flow=f"{row.group_slug}/{row.flow_slug}",
            trigger_id=row.trigger_id,
            kind=row.kind,
            attempt=row.attempt,
            received_at=moment(row.received_at),
            died_at=moment(row.died_at),
            reason=row.reason,
            error=row.error,
            place=row.place,
            fingerprint=row.fingerprint,
            state=row.state,
            settled_at=moment(row.settled_at),
            settled_by=row.settled_by,
            **more,
        )


class WholeLetterAnswer(LetterAnswer):
    """A dead letter with its payload."""

    method: str | None
    headers: list[tuple[str, str]]
    content_type: str
    body: str
    """In base64; of what is no envelope, all of it."""


class LettersAnswer(Items[LetterAnswer]):
    """A page of dead letters, newest first."""

    next: int | None
    """`before` of the next page."""


class GroupAnswer(Answer):
    """Dead letters that look alike."""

    fingerprint: str
    flow: str
    count: int
    first: datetime
    last: datetime
    error: str
    place: str
    reason: str

    @classmethod
    def of(cls, group: Group) -> Self:
        """Show them."""
        return cls(
            fingerprint=group.fingerprint,
            flow=f"{group.group}/{group.flow}",
            count=group.count,
            first=moment(group.first),
            last=moment(group.last),
            error=group.error,
            place=group.place,
            reason=group.reason,
        )


class Count(Answer):
    """How many it was."""

    count: int


@routes.get("/api/v1/dead")
async def list_(request: web.Request) -> web.Response:
    """List dead letters, newest first."""
    query = path.query(request, DeadPage)
    rows = await request.app[OPERATIONS].dead.newest(
        wanted(query.flow, query.group, query.fingerprint, state=query.state),
        limit=query.limit,
        before=query.before,
    )
    more = rows[-1].died_at if len(rows) == query.limit else None
    return answer(LettersAnswer(items=[LetterAnswer.of(row) for row in rows], next=more))


@routes.get("/api/v1/dead-groups")
async def groups(request: web.Request) -> web.Response:
    """Count dead letters by what went wrong."""
    query = path.query(request, DeadQuery)
    found = await request.app[OPERATIONS].dead.groups(
        wanted(query.flow, query.group, query.fingerprint, state=query.state)
    )
    return answer(Items(items=[GroupAnswer.of(each) for each in found]))


@routes.get("/api/v1/dead/{id:(?:run|raw)_[0-9a-f]{32}}")
async def show(request: web.Request) -> web.Response:
    """Show a dead letter with its payload."""
    row = await request.app[OPERATIONS].dead.show(request.match_info["id"])
    try:
        envelope = Envelope.decode(row.body)
    except InvalidEnvelope:
        return answer(
            WholeLetterAnswer.of(
                row, method=None, headers=[], content_type="", body=_base64(row.body)
            )
        )
    return answer(
        WholeLetterAnswer.of(
            row,
            method=envelope.method,
            headers=list(envelope.headers),
            content_type=envelope.content_type,
            body=_base64(envelope.body),
        )
    )


@routes.post("/api/v1/dead/discard")
async def discard(request: web.Request) -> web.Response:
    """Discard dead letters, with a reason."""
    body = await read(request, Discard)
    return answer(
        Count(count=await request.app[OPERATIONS].dead.discard(body.wanted(), body.reason))
    )


def wanted(
    flow: str | None,
    group: str | None,
    fingerprint: str | None,
    *,
    state: str = KEPT,
    ids: tuple[str, ...] | None = None,
) -> Wanted:
    """Return the conditions of a request.

    Raises:
        Invalid: the flow is no address, or of another group.
    """
    slug = None
    if flow is not None:
        try:
            owner, slug = names.flow_address(flow)
        except InvalidName as error:
            raise Invalid("flow", str(error)) from None
        if group not in {None, owner}:
            raise Invalid("flow", f"it is not of group {group!r}")
        group = owner
    return Wanted(
        ids=ids,
        group=group,
        flow=slug,
        fingerprint=fingerprint,
        state=None
        if state == "all"
        else {"replayed": REPLAYED, "discarded": DISCARDED}.get(state, KEPT),
    )


def moment(nanoseconds: int) -> Any:
    """Return a moment in UTC; None for 0."""
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC) if nanoseconds else None


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
