"""Search: which runs, the newest first, a page at a time.

A page is read from the end of an index, and its last id is where the next one begins. So the newest
of many millions are as near as those of a few.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router.history import states
from turnout.router.history.models import Event, Run
from turnout.router.replay.models import Replay
from turnout.shared import ids
from turnout.shared.envelope import Envelope

#: Runs of a replay that are more than one steps over one by one.
_MANY = 1000

#: The states of a run that waits: for a worker, or for another attempt.
WAITING = (states.QUEUED, states.RETRYING)

#: A row as it comes from the database, its columns by name.
Record = sa.Row[*tuple[Any, ...]]

#: Everything of a run, and of its event what a listing shows.
_LISTED = sa.select(
    Run.__table__,
    Event.received_at,
    Event.method,
    Event.path,
    Event.content_type,
    Event.remote,
    Event.size,
    Event.stream_offset,
    Event.stream_index,
).join_from(Run, Event, Event.id == Run.event_id, isouter=True)


@dataclass(frozen=True)
class Filter:
    """Which runs; all conditions hold together."""

    groups: Sequence[str] | None = None
    """Slugs of the groups that are looked at; None: all."""
    group: str | None = None
    flow: str | None = None
    """Slug; with the group."""
    trigger_id: str | None = None
    key_id: str | None = None
    since: int | None = None
    """Nanoseconds since the Unix epoch, exact to the millisecond; of an event when it came, of a
    replay when it began."""
    until: int | None = None
    state: str | None = None
    error_type: str | None = None
    """The name of an exception, with its module or without."""
    replays: bool | None = None
    """False: only the first run of each event."""

    def takes(self, envelope: Envelope) -> bool:
        """Tell whether an event may be wanted, as far as its envelope says."""
        return (
            (self.groups is None or envelope.group in self.groups)
            and self.group in {None, envelope.group}
            and self.flow in {None, envelope.flow}
            and self.trigger_id in {None, envelope.trigger_id}
            and self.key_id in {None, envelope.key_id}
            and (self.since is None or envelope.run_id >= id_at(self.since))
            and (self.until is None or envelope.run_id < id_at(self.until))
        )

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return the conditions as SQL."""
        found: list[sa.ColumnElement[bool]] = []
        # Of two indexes that of the error is the best, then that of the state, where it is not the
        # one that nearly all runs are in; an expression hides the others.
        by_error = self.error_type is not None
        by_state = self.state not in {None, states.SUCCEEDED} and not by_error
        if self.state is not None:
            found.append((Run.state + "" if by_error else Run.state) == self.state)
        if by_state:
            # Word for word what the index of these states says, so that SQLite uses it.
            found.append(Run.state != sa.literal(states.SUCCEEDED, literal_execute=True))
        if self.groups is not None:
            found.append(Run.group_slug.in_(self.groups))
        for column, value in (
            (Run.group_slug, self.group),
            (Run.flow_slug, self.flow),
            (Run.trigger_id, self.trigger_id),
            (Run.key_id, self.key_id),
        ):
            if value is not None:
                found.append((column + "" if by_error or by_state else column) == value)
        if self.error_type is not None:
            found.append(_is_called(Run.error_type, self.error_type))
        if self.since is not None:
            found.append(Run.id >= id_at(self.since))
        if self.until is not None:
            found.append(Run.id < id_at(self.until))
        if self.replays is not None:
            found.append(Run.replay.is_not(None) if self.replays else Run.replay.is_(None))
        return found


async def newest(
    connection: AsyncConnection, wanted: Filter, *, before: str | None, limit: int
) -> list[Record]:
    """Return the newest runs that are wanted, newest first.

    Args:
        connection: a transaction.
        wanted: which.
        before: the id of a run: only older ones than that.
        limit: how many at most.
    """
    conditions = wanted.conditions()
    if wanted.error_type is not None:
        errors = await _errors_called(connection, wanted.error_type)
        if not errors:
            return []
        conditions.append(Run.error_type.in_(errors))
    found: list[str] = []
    for part in await _parts(connection, wanted):
        query = sa.select(Run.id).where(*conditions, *part).order_by(Run.id.desc())
        if before is not None:
            query = query.where(Run.id < before)
        found += await connection.scalars(query.limit(limit - len(found)))
        if len(found) == limit:
            break
    query = _LISTED.where(Run.id.in_(found)).order_by(Run.id.desc())
    return [*await connection.execute(query)]


async def _parts(
    connection: AsyncConnection, wanted: Filter
) -> list[tuple[sa.ColumnElement[bool], ...]]:
    """Divide what is looked through, newest first, so that events are not sought among replays.

    The runs of one replay are in a row: their ids begin with the moment at which it was started. A
    hundred thousand of them would have to be read to find the one event that came then.
    """
    if wanted.replays is not False:
        return [()]
    large = (
        sa.select(Replay.started_at, Replay.position)
        .where(Replay.position > _MANY)
        .order_by(Replay.started_at.desc())
    )
    parts: list[tuple[sa.ColumnElement[bool], ...]] = []
    above: tuple[sa.ColumnElement[bool], ...] = ()
    for started_at, count in await connection.execute(large):
        first, last = ids.derived_range(ids.RUN, started_at // 1_000_000, count)
        parts += [(*above, Run.id > last), (Run.id.in_(_first_runs(first, last)),)]
        above = (Run.id < first,)
    return [*parts, above]


def _first_runs(first: str, last: str) -> sa.Select[Any]:
    """Select the ids of first runs between two, by those of their events."""
    begin, end = (ids.same_uuid(each, ids.EVENT) for each in (first, last))
    run_id = sa.literal(f"{ids.RUN}_") + sa.func.substr(Event.id, len(ids.EVENT) + 2)
    return sa.select(run_id).where(Event.id.between(begin, end))


async def waiting(
    connection: AsyncConnection, group: str, flow: str, *, after: str, limit: int
) -> list[Record]:
    """Return the runs that wait for a flow, the oldest first.

    Args:
        connection: a transaction.
        group: slug of the flow's group.
        flow: its slug.
        after: the id of a run: only younger ones than that; "": all.
        limit: how many at most.
    """
    found: list[Record] = []
    for state in WAITING:  # each from an index of its own state
        wanted = Filter(group=group, flow=flow, state=state).conditions()
        query = _LISTED.where(*wanted, Run.id > after).order_by(Run.id).limit(limit)
        found += await connection.execute(query)
    return sorted(found, key=lambda run: str(run.id))[:limit]


async def count_waiting(connection: AsyncConnection, group: str, flow: str) -> dict[str, int]:
    """Count the runs that wait for a flow, by their state."""
    found = {}
    for state in WAITING:
        wanted = Filter(group=group, flow=flow, state=state).conditions()
        query = sa.select(sa.func.count()).select_from(Run).where(*wanted)
        found[state] = await connection.scalar(query) or 0
    return found


async def of_ids(connection: AsyncConnection, run_ids: list[str], wanted: Filter) -> list[Record]:
    """Return those of some runs that are wanted."""
    query = _LISTED.where(Run.id.in_(run_ids), *wanted.conditions())
    return [*await connection.execute(query)]


async def _errors_called(connection: AsyncConnection, name: str) -> list[str]:
    """Return the exceptions of a name that there are, each found by one step in their index."""
    lowest = sa.select(sa.func.min(Run.error_type).label("name"))
    there = lowest.where(Run.error_type.is_not(None)).cte("errors", recursive=True)
    following = lowest.where(Run.error_type > there.c.name).scalar_subquery()
    there = there.union_all(sa.select(following).where(there.c.name.is_not(None)))
    query = sa.select(there.c.name).where(_is_called(there.c.name, name))
    return [*await connection.scalars(query)]


def _is_called(error: Any, name: str) -> sa.ColumnElement[bool]:
    """Return the condition that an exception has a name, with its module or without."""
    return sa.or_(error == name, error.endswith(f".{name}", autoescape=True))


def runs_of(event_id: str) -> sa.ColumnElement[bool]:
    """Return the condition that a run is one of an event: the first, or a replay."""
    return sa.or_(
        Run.id == ids.same_uuid(event_id, ids.RUN),
        sa.and_(Run.event_id == event_id, Run.replay.is_not(None)),
    )


def id_at(moment: int) -> str:
    """Return what sorts before the ids of all runs that began at a moment or later."""
    return f"{ids.RUN}_{moment // 1_000_000:012x}"
