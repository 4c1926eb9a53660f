"""`/refusals`: the calls that ingress refused, and why."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from turnout.router import counts
from turnout.router.api.body import Answer, Items
from turnout.router.api.call import Call
from turnout.router.api.control import REFUSALS
from turnout.router.api.routes import Routes
from turnout.router.api.selection import Party, PartyAnswer, PartyQuery, Selection
from turnout.router.refusals import DAYS_KEPT, HINTS, Refusal

routes = Routes()


class RefusalQuery(PartyQuery):
    """Which refused calls."""

    code: str | None = None


class NewestQuery(RefusalQuery):
    """Which of the newest."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class CountQuery(RefusalQuery):
    """Of which days."""

    days: Annotated[int, Field(ge=1, le=DAYS_KEPT)] = 7
    """How many, today included."""


class RefusalAnswer(PartyAnswer):
    """A refused call.

    A key or trigger that ingress did not come to know is found by `prefix` and `route`, if the
    registry has one like it; that the sender holds this key is then not proven.
    """

    at: datetime
    status: int
    code: str
    hint: str | None
    prefix: str | None
    """`tk_<id>` of what was presented; null: nothing that has the form of a key."""
    route: str | None
    """The first characters of the routing key; null: nothing that has the form of one."""
    method: str
    remote: str
    reason: str | None
    """What ingress knows beyond the code, for example which alarm RabbitMQ raised."""


class RefusedItem(PartyAnswer):
    """The refused calls of one key at one trigger, for one reason."""

    code: str
    hint: str | None
    counts: list[int]
    """For each day."""
    total: int


class RefusedAnswer(Answer):
    """The refused calls of some days, the most frequent first."""

    days: list[datetime]
    """Their beginnings, in UTC, oldest first."""
    total: int
    items: list[RefusedItem]


@routes.get("/refusals", filtered=True, refuses=(404,))
async def newest(call: Call, query: NewestQuery) -> Items[RefusalAnswer]:
    """List the newest refused calls that ingress keeps, newest first."""
    selection = await Selection.of(query, call)

    def party(refusal: Refusal) -> Party:
        return selection.party(
            refusal.trigger_id, refusal.key_id, route=refusal.route, prefix=refusal.prefix
        )

    def wanted(refusal: Refusal) -> bool:
        return query.code in {None, refusal.code} and selection.takes(party(refusal))

    found = await call.app[REFUSALS].newest(query.limit, wanted)
    return Items(
        items=[
            RefusalAnswer.of(
                party(each),
                at=each.at,
                status=each.status,
                code=each.code,
                hint=HINTS.get(each.code),
                prefix=each.prefix or None,
                route=each.route or None,
                method=each.method,
                remote=each.remote,
                reason=each.reason or None,
            )
            for each in found
        ]
    )


@routes.get("/refusals/counts", filtered=True, refuses=(404,))
async def count(call: Call, query: CountQuery) -> RefusedAnswer:
    """Count refused calls by trigger, key and code."""
    selection = await Selection.of(query, call)
    days = counts.periods("day", query.days)
    items = [
        RefusedItem.of(
            party,
            code=refused.code,
            hint=HINTS.get(refused.code),
            counts=refused.calls,
            total=sum(refused.calls),
        )
        for refused in await call.app[REFUSALS].refused(days)
        if query.code in {None, refused.code}
        for party in [selection.party(refused.trigger_id, refused.key_id)]
        if selection.takes(party)
    ]
    items.sort(key=lambda each: each.total, reverse=True)
    return RefusedAnswer(days=days, total=sum(each.total for each in items), items=items)
