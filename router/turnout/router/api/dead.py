"""`/dead`: dead letters, one by one and grouped by what went wrong."""

import base64
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints

from turnout.router.api.body import Answer, Body, Description, Header, Items, Listing, readable
from turnout.router.api.call import Call
from turnout.router.api.control import OPERATIONS
from turnout.router.api.moments import at, moment
from turnout.router.api.params import UUID, LetterId, PageQuery, Text, cut
from turnout.router.api.path import Query
from turnout.router.api.routes import Routes
from turnout.router.api.selection import legal
from turnout.router.letters.dead import KEPT, Group, Wanted
from turnout.router.registry import Invalid
from turnout.shared import names
from turnout.shared.envelope import Envelope
from turnout.shared.errors import InvalidEnvelope

routes = Routes()

_ID = f"(run|raw)_{UUID}"
Id = Annotated[str, StringConstraints(pattern=f"^{_ID}$")]
#: A position in a listing: nanoseconds since the Unix epoch, and an id.
_POSITION = (r"[0-8]?\d{1,18}", _ID)

_STATES = Literal["kept", "replayed", "discarded", "all"]


class DeadQuery(Query):
    """Which dead letters are meant."""

    flow: Text | None = None
    """An address, "group/flow"."""
    group: Text | None = None
    fingerprint: Text | None = None
    state: _STATES = "kept"


class DeadPage(DeadQuery, PageQuery):
    """Which part of them, newest first."""


class DeadSelection(Body):
    """Which dead letters are meant: some by id, or all for which the rest holds."""

    ids: Annotated[tuple[Id, ...], Field(min_length=1, max_length=1000, strict=False)] | None = None
    flow: Text | None = None
    group: Text | None = None
    fingerprint: Text | None = None

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
            died_at=at(row.died_at),
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
    headers: list[Header]
    content_type: str
    body: str
    """In base64; of what is no envelope, all of it."""


class AlikeAnswer(Answer):
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
            first=at(group.first),
            last=at(group.last),
            error=group.error,
            place=group.place,
            reason=group.reason,
        )


class DiscardedAnswer(Answer):
    """How many dead letters were discarded."""

    count: int


@routes.get("/dead", filtered=True)
async def list_all(call: Call, query: DeadPage) -> Listing[LetterAnswer]:
    """List dead letters, newest first."""
    position = query.after(*_POSITION)
    rows = await call.app[OPERATIONS].dead.newest(
        _wanted(call, query),
        limit=query.limit + 1,
        before=None if position is None else (int(position[0]), position[1]),
    )
    found, following = cut(rows, query.limit, lambda row: (str(row.died_at), row.id))
    return Listing(items=[LetterAnswer.of(row) for row in found], next_cursor=following)


@routes.get("/dead-groups", filtered=True)
async def list_alike(call: Call, query: DeadQuery) -> Items[AlikeAnswer]:
    """Count dead letters by what went wrong."""
    found = await call.app[OPERATIONS].dead.groups(_wanted(call, query))
    return Items(items=[AlikeAnswer.of(each) for each in found])


@routes.get("/dead/{letter_id}")
async def show(call: Call, letter_id: LetterId) -> WholeLetterAnswer:
    """Show a dead letter with its payload."""
    row = await call.app[OPERATIONS].dead.show(letter_id)
    try:
        envelope = Envelope.decode(row.body)
    except InvalidEnvelope:
        return WholeLetterAnswer.of(
            row, method=None, headers=[], content_type="", body=_base64(row.body)
        )
    return WholeLetterAnswer.of(
        row,
        method=envelope.method,
        headers=[(readable(name), readable(value)) for name, value in envelope.headers],
        content_type=readable(envelope.content_type),
        body=_base64(envelope.body),
    )


@routes.post("/dead/discard", status=200, filtered=True, refuses=())
async def discard(call: Call, body: Discard) -> DiscardedAnswer:
    """Discard dead letters, with a reason."""
    meant = body.wanted()._replace(groups=call.groups)
    count = await call.app[OPERATIONS].dead.discard(meant, body.reason, call.actor)
    return DiscardedAnswer(count=count)


def _wanted(call: Call, query: DeadQuery) -> Wanted:
    found = wanted(query.flow, query.group, query.fingerprint, state=query.state)
    return found._replace(groups=call.groups)


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
        owner, slug = legal("flow", names.flow_address, flow)
        if group not in {None, owner}:
            raise Invalid("flow", f"it is not of group {group!r}")
        group = owner
    return Wanted(
        ids=ids,
        group=group,
        flow=slug,
        fingerprint=fingerprint,
        state=None if state == "all" else state,
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
