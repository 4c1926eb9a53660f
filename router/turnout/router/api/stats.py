"""`/flows/{group}/{flow}/stats`: what a flow had to do in some periods, and how it did."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from turnout.router import counts, monitor
from turnout.router.api.body import Answer
from turnout.router.api.call import Call
from turnout.router.api.control import CACHE, HISTORY, REFUSALS, REGISTRY, USAGE
from turnout.router.api.flows import FlowAnswer
from turnout.router.api.history import State
from turnout.router.api.moments import nanoseconds
from turnout.router.api.params import Slug
from turnout.router.api.path import Query
from turnout.router.api.routes import Routes
from turnout.router.api.selection import PartyQuery, Selection
from turnout.router.api.usage import last_of
from turnout.router.counts import Unit
from turnout.router.history.search import Filter
from turnout.router.history.statistics import Durations, Figures
from turnout.router.refusals import HINTS

routes = Routes()

_NOTHING = Figures({}, None)


class StatsQuery(Query):
    """Of which time."""

    unit: Unit = "day"
    last: Annotated[int, Field(ge=1)] | None = None
    """How many periods, the one that is not over included; null: a week, a day or an hour."""


class DurationsAnswer(Answer):
    """How long attempts took, in seconds: the newest of each run."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, durations: Durations | None) -> Self | None:
        """Show them."""
        return None if durations is None else cls(**durations._asdict())


class RefusedCalls(Answer):
    """The refused calls of one reason."""

    code: str
    hint: str | None
    total: int


class PartyStats(Answer):
    """What came through one trigger, or with one key."""

    id: str
    name: str | None
    """The description of the trigger, the name of the key; null: it is gone."""
    calls: int
    counts: list[int]
    """Accepted calls of each period."""
    refused: int
    runs: dict[State, int]
    durations: DurationsAnswer | None


class StatsAnswer(Answer):
    """The statistics of a flow."""

    flow: FlowAnswer
    """As it is now: what is queued, who serves it."""
    unit: Unit
    periods: list[datetime]
    """Their beginnings, in UTC, oldest first."""
    counts: list[int]
    """Accepted calls of each period."""
    calls: int
    refused_since: datetime
    """Refused calls are counted by day: from the beginning of the first one."""
    refused: list[RefusedCalls]
    runs: dict[State, int]
    """By state; all that began in these periods, replays and tests as well."""
    durations: DurationsAnswer | None
    sampled: int | None
    """From how many runs, chosen at random, follow the durations, and how many of each trigger and
    key have succeeded; null: from all of them."""
    triggers: list[PartyStats]
    keys: list[PartyStats]


@routes.get("/flows/{group}/{flow}/stats")
async def show(call: Call, group: Slug, flow: Slug, query: StatsQuery) -> StatsAnswer:
    """Show what a flow had to do in some periods, and how it did."""
    found = await call.registry.flow(group, flow)
    periods = counts.periods(query.unit, last_of(query.unit, query.last))
    load = (await monitor.loads(call.app[CACHE], [found]))[found.address]
    runs = await call.app[HISTORY].statistics(
        Filter(group=group, flow=flow, since=nanoseconds(periods[0]))
    )
    called = _Called(await Selection.of(PartyQuery(flow=found.address), call), len(periods))
    for used in await call.app[USAGE].used(query.unit, periods):
        called.accept(used.trigger_id, used.key_id, used.calls)
    days = counts.periods("day", (periods[-1].date() - periods[0].date()).days + 1)
    for each in await call.app[REFUSALS].refused(days):
        called.refuse(each.trigger_id, each.key_id, each.code, sum(each.calls))
    snapshot = await call.app[REGISTRY].snapshot()
    triggers = {each.id: each.description for each in snapshot.triggers if each.flow_id == found.id}
    keys = {each.id: each.name for each in snapshot.keys if each.group_id == found.group_id}
    return StatsAnswer(
        flow=FlowAnswer.of(found, load),
        unit=query.unit,
        periods=periods,
        counts=called.counts,
        calls=sum(called.counts),
        refused_since=days[0],
        refused=[
            RefusedCalls(code=code, hint=HINTS.get(code), total=total)
            for code, total in called.codes.most_common()
        ],
        runs=runs.all.states,  # type: ignore[arg-type] # text in SQL
        durations=DurationsAnswer.of(runs.all.durations),
        sampled=None if runs.sampled == runs.total else runs.sampled,
        triggers=called.parties(runs.by_trigger, triggers, also=triggers),
        keys=called.parties(runs.by_key, keys),
    )


class _Called:
    """The accepted and refused calls of a flow, by trigger and by key.

    Args:
        selection: tells whether a call was one of the flow.
        periods: how many there are.
    """

    def __init__(self, selection: Selection, periods: int) -> None:
        self.counts = [0] * periods
        self.codes = Counter[str]()
        self._selection = selection
        self._accepted: defaultdict[str, list[int]] = defaultdict(lambda: [0] * periods)
        self._refused = Counter[str]()

    def accept(self, trigger_id: str, key_id: str, calls: tuple[int, ...]) -> None:
        """Add accepted calls, of each period."""
        if self._selection.takes(self._selection.party(trigger_id, key_id)):
            for index, number in enumerate(calls):
                self.counts[index] += number
                self._accepted[trigger_id][index] += number
                self._accepted[key_id][index] += number

    def refuse(self, trigger_id: str, key_id: str, code: str, calls: int) -> None:
        """Add refused calls."""
        if self._selection.takes(self._selection.party(trigger_id, key_id)):
            self.codes[code] += calls
            self._refused[trigger_id] += calls
            self._refused[key_id] += calls

    def parties(
        self, runs: Mapping[str, Figures], names: Mapping[str, str], *, also: Mapping[str, str] = {}
    ) -> list[PartyStats]:
        """Return the figures of triggers or keys, the most called first.

        Args:
            runs: what became of the runs, by id.
            names: of all that there are.
            also: those that are shown even if they did nothing.
        """
        called = {each for each in (*self._accepted, *self._refused) if each in names}
        found = [
            PartyStats(
                id=each,
                name=names.get(each),
                calls=sum(self._accepted.get(each, ())),
                counts=list(self._accepted[each]),
                refused=self._refused[each],
                runs=figures.states,  # type: ignore[arg-type] # the same
                durations=DurationsAnswer.of(figures.durations),
            )
            for each in sorted({*runs, *called, *also} - {""})
            for figures in [runs.get(each, _NOTHING)]
        ]
        return sorted(found, key=lambda each: (-each.calls, -sum(each.runs.values())))
