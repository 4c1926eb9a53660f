"""Statistics of the runs of a flow, which stay fast with millions of them.

    all runs of the flow in the period ──▶ counted in the index by flow and id, rows untouched
    those that have not succeeded       ──▶ counted in the index of these states: exact, as few
    the others, and all durations       ──▶ every run, or of many a sample

The last digits of an id are random, so that the ids whose last digits are below a bound are a fair
sample: the same index tells which, and only their rows are read.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router.history import states
from turnout.router.history.models import Run
from turnout.router.history.search import Filter

#: Runs that are read for one answer, about.
SAMPLE = 10_000

#: How many hex digits at the end of an id decide whether it is in the sample.
_DIGITS = 6

_QUANTILES = (0.5, 0.95, 0.99)


class Durations(NamedTuple):
    """How long the newest attempts of runs took, in seconds."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class Figures:
    """What became of some runs."""

    states: dict[str, int]
    """How many are in each state; those that have succeeded about, where they are a sample."""
    durations: Durations | None
    """None: no attempt has ended."""


@dataclass(frozen=True)
class Statistics:
    """What became of the runs of a flow."""

    total: int
    sampled: int
    """How many of these were read: all of them, or a sample."""
    all: Figures
    by_trigger: dict[str, Figures]
    by_key: dict[str, Figures]


class _Sampled(NamedTuple):
    """One run of the sample."""

    trigger_id: str
    key_id: str
    state: str
    seconds: float | None
    """How long its newest attempt took; None: it has not ended."""


async def statistics(connection: AsyncConnection, wanted: Filter) -> Statistics:
    """Read the statistics of the runs of a flow in a period, within a transaction."""
    conditions = wanted.conditions()
    counted = await connection.execute(sa.select(sa.func.count()).where(*conditions))
    total = counted.scalar_one()
    rows = await _sample(connection, conditions, total)
    unfinished = await _not_succeeded(connection, wanted)
    scale = total / len(rows) if rows else 1.0

    def figures(rows: Sequence[_Sampled], others: Counter[str], total: int | None) -> Figures:
        succeeded = round(sum(each.state == states.SUCCEEDED for each in rows) * scale)
        if total is not None:  # the sum is exact, and so are all others
            succeeded = total - others.total()
        found = {**others, states.SUCCEEDED: succeeded}
        return Figures(
            {state: found[state] for state in states.ALL if found.get(state)},
            _durations(each.seconds for each in rows if each.seconds is not None),
        )

    def grouped(field: str) -> dict[str, Figures]:
        read: defaultdict[str, list[_Sampled]] = defaultdict(list)
        for row in rows:
            read[getattr(row, field)].append(row)
        others: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for party, count in unfinished.items():
            others[getattr(party, field)][party.state] += count
        return {
            identifier: figures(read[identifier], others[identifier], None)
            for identifier in {*read, *others}
        }

    everywhere = Counter[str]()
    for party, count in unfinished.items():
        everywhere[party.state] += count
    return Statistics(
        total=total,
        sampled=len(rows),
        all=figures(rows, everywhere, total),
        by_trigger=grouped("trigger_id"),
        by_key=grouped("key_id"),
    )


async def _sample(
    connection: AsyncConnection, conditions: Sequence[sa.ColumnElement[bool]], total: int
) -> list[_Sampled]:
    if total > 2 * SAMPLE:
        bound = f"{math.ceil(SAMPLE / total * 16**_DIGITS):0{_DIGITS}x}"
        end = sa.func.substr(Run.id, 37 - _DIGITS)
        # A query of its own, which the index alone answers.
        chosen = sa.select(Run.id).where(*conditions, end < bound)
        conditions = [Run.id.in_(chosen)]
    rows = await connection.execute(
        sa.select(Run.trigger_id, Run.key_id, Run.state, Run.started_at, Run.ended_at).where(
            *conditions
        )
    )
    return [
        _Sampled(
            trigger_id or "",
            key_id or "",
            state,
            (ended_at - started_at) / 1e9 if started_at and ended_at else None,
        )
        for trigger_id, key_id, state, started_at, ended_at in rows
    ]


class _Party(NamedTuple):
    """Runs that are alike."""

    trigger_id: str
    key_id: str
    state: str


async def _not_succeeded(connection: AsyncConnection, wanted: Filter) -> Counter[_Party]:
    """Count the runs that have not succeeded, each state by its index."""
    found: Counter[_Party] = Counter()
    for state in states.ALL:
        if state == states.SUCCEEDED:
            continue
        rows = await connection.execute(
            sa.select(Run.trigger_id, Run.key_id, sa.func.count())
            .where(*replace(wanted, state=state).conditions())
            .group_by(Run.trigger_id, Run.key_id)
        )
        for trigger_id, key_id, count in rows:
            found[_Party(trigger_id or "", key_id or "", state)] = count
    return found


def _durations(seconds: Iterable[float]) -> Durations | None:
    """Return the quantiles, each the duration that so many of them do not exceed."""
    ordered = sorted(seconds)
    if not ordered:
        return None
    return Durations(
        *(ordered[max(0, math.ceil(quantile * len(ordered)) - 1)] for quantile in _QUANTILES)
    )
