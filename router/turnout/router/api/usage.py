"""`/usage`: the calls that ingress accepted, by trigger and key."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from turnout.router import counts
from turnout.router.api.body import Answer
from turnout.router.api.call import Call
from turnout.router.api.control import USAGE
from turnout.router.api.routes import Routes
from turnout.router.api.selection import PartyAnswer, PartyQuery, Selection
from turnout.router.counts import Unit
from turnout.router.registry import Invalid
from turnout.router.usage import KEPT

routes = Routes()

_LAST: dict[Unit, int] = {"day": 7, "hour": 24, "minute": 60}


class UsageQuery(PartyQuery):
    """Which calls, and how they are counted."""

    unit: Unit = "day"
    last: Annotated[int, Field(ge=1)] | None = None
    """How many periods, the one that is not over included; null: a week, a day or an hour."""


class UsageItem(PartyAnswer):
    """The calls of one key through one trigger."""

    counts: list[int]
    """For each period."""
    total: int


class UsageAnswer(Answer):
    """The calls of some periods, busiest first."""

    unit: Unit
    periods: list[datetime]
    """Their beginnings, in UTC, oldest first."""
    counts: list[int]
    """All calls of each period."""
    total: int
    items: list[UsageItem]


@routes.get("/usage", filtered=True, refuses=(404,))
async def show(call: Call, query: UsageQuery) -> UsageAnswer:
    """Count calls."""
    periods = counts.periods(query.unit, last_of(query.unit, query.last))
    selection = await Selection.of(query, call)
    items = [
        UsageItem.of(party, counts=used.calls, total=sum(used.calls))
        for used in await call.app[USAGE].used(query.unit, periods)
        for party in [selection.party(used.trigger_id, used.key_id)]
        if selection.takes(party)
    ]
    items.sort(key=lambda each: each.total, reverse=True)
    return UsageAnswer(
        unit=query.unit,
        periods=periods,
        counts=[sum(each.counts[index] for each in items) for index in range(len(periods))],
        total=sum(each.total for each in items),
        items=items,
    )


def last_of(unit: Unit, last: int | None) -> int:
    """Return how many periods are counted.

    Raises:
        Invalid: they are more than ingress keeps.
    """
    if last is not None and last > KEPT[unit]:
        raise Invalid("last", f"ingress keeps {KEPT[unit]} periods of one {unit}")
    return last or _LAST[unit]
