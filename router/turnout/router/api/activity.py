"""`/keys/{id}/activity`: what a key did, when, and how that ended."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from turnout.router import counts
from turnout.router.api.body import Answer
from turnout.router.api.call import Call
from turnout.router.api.control import REFUSALS, USAGE
from turnout.router.api.params import KeyId
from turnout.router.api.path import Query
from turnout.router.api.routes import Routes
from turnout.router.api.selection import PartyAnswer, PartyQuery, Selection
from turnout.router.refusals import DAYS_KEPT, HINTS

routes = Routes()

#: The result of a call that was taken; others are codes of refusals.
_ACCEPTED = "accepted"


class ActivityQuery(Query):
    """Of which time."""

    days: Annotated[int, Field(ge=1, le=DAYS_KEPT)] = 30
    """How many, today included."""


class ActivityItem(PartyAnswer):
    """The calls through one trigger that had one result."""

    result: str
    """"accepted", or the code of the refusal."""
    hint: str | None
    counts: list[int]
    """For each day."""
    total: int


class ActivityAnswer(Answer):
    """The calls of a key in some days, the most frequent first."""

    days: list[datetime]
    """Their beginnings, in UTC, oldest first."""
    total: int
    items: list[ActivityItem]


@routes.get("/keys/{key_id}/activity")
async def show(call: Call, key_id: KeyId, query: ActivityQuery) -> ActivityAnswer:
    """Count the calls of a key by trigger and result.

    A call with a key that is expired or revoked is that of nobody: see `/refusals` and its prefix.
    """
    key = await call.registry.key(key_id)
    days = counts.periods("day", query.days)
    used = await call.app[USAGE].used("day", days)
    refused = await call.app[REFUSALS].refused(days)
    found = [
        *((each.trigger_id, _ACCEPTED, each.calls) for each in used if each.key_id == key.id),
        *((each.trigger_id, each.code, each.calls) for each in refused if each.key_id == key.id),
    ]
    selection = await Selection.of(PartyQuery(), call)
    items = [
        ActivityItem.of(
            selection.party(trigger_id, key.id),
            result=result,
            hint=HINTS.get(result),
            counts=calls,
            total=sum(calls),
        )
        for trigger_id, result, calls in found
    ]
    items.sort(key=lambda each: each.total, reverse=True)
    return ActivityAnswer(days=days, total=sum(each.total for each in items), items=items)
