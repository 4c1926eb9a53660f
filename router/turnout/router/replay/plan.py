"""The plan: which runs a selection means, each with its position, written before anything runs.

    history ──runs, by when their events came──▶ in the archive? ──▶ where? ──▶ item
    dead letters ─────────────────────────────────────────────────────────────▶ item

What is planned is what runs: events that come afterwards are not part of it. The archive is read
only if the selection asks for what came with an event, in one pass.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router.database import Database
from turnout.router.history.archive import Archive, Picker, Place
from turnout.router.history.models import Event, Run
from turnout.router.history.search import Filter
from turnout.router.history.where import Where
from turnout.router.letters.dead import Wanted
from turnout.router.letters.models import DeadLetter
from turnout.router.registry import WrongState
from turnout.router.replay.models import Replay, ReplayItem
from turnout.shared import envelope, ids

#: Items that are found and written at once: a tenth of a second.
_CHUNK = 10_000

HISTORY = "history"
DEAD = "dead"
PLANNING = "planning"
PLANNED = "planned"

_INSERT = sa.insert(ReplayItem)


class Selection(NamedTuple):
    """Which runs of the history are meant. Tests and replays are not, unless named."""

    events: Sequence[str] | None = None
    """None: any."""
    filter: Filter = Filter()
    where: Where = Where()

    @property
    def group(self) -> str | None:
        """Slug of the group that all of them are of."""
        return self.filter.group

    @property
    def is_everything(self) -> bool:
        """Whether there is no condition at all."""
        return self == Selection()

    @property
    def address(self) -> str | None:
        """Of the flow that all of them are of: "group/flow"."""
        return None if self.filter.flow is None else f"{self.filter.group}/{self.filter.flow}"

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return what holds for them, as far as SQL knows."""
        found = self.filter.conditions()
        if self.events is None:
            return [*found, Run.kind == envelope.EVENT]
        return [*found, Run.id.in_([ids.same_uuid(each, ids.RUN) for each in self.events])]

    def told(self) -> dict[str, Any]:
        """Return what was asked for, for people."""
        told = {"events": self.events, **asdict(self.filter), **self.where.told()}
        for name in ("since", "until"):
            if told[name] is not None:
                told[name] = datetime.fromtimestamp(told[name] / 1e9, UTC).isoformat()
        return {name: value for name, value in told.items() if value is not None}


class Item(NamedTuple):
    """A run that is meant, and where its event is."""

    origin: str
    event_id: str
    stream_offset: int
    """-1: it is a dead letter."""
    stream_index: int


async def first_kept(archive: Archive) -> int:
    """Return the offset of the oldest block of the archive; what is before is gone.

    Raises:
        BrokerError: the archive cannot be asked how far it goes back.
    """
    bounds = await archive.bounds()
    return bounds.first if bounds else 2**62


async def write(
    database: Database, archive: Archive, replay_id: str, wanted: Selection | Wanted
) -> None:
    """Find all that is meant, write it down as items, count it, and call the replay planned.

    Raises:
        BrokerError: the archive cannot be read.
        WrongState: the replay is not being planned any more.
        DatabaseUnavailable: it is not written, or only in part.
    """
    first = await first_kept(archive) if isinstance(wanted, Selection) else 0
    total = gone = 0
    async with archive.picking() as picker:
        async for items in _find(database, wanted):
            there = [each for each in items if each.stream_offset >= first or _is_letter(each)]
            gone += len(items) - len(there)
            if isinstance(wanted, Selection) and wanted.where:
                there = await _matching(picker, wanted.where, there)
            await _write(database, replay_id, there, total, gone)
            total += len(there)
    async with database.writing() as connection:
        await _change(connection, replay_id, state=PLANNED)


async def _write(
    database: Database, replay_id: str, items: Sequence[Item], before: int, gone: int
) -> None:
    """Write items behind those that there are, and the counts."""
    rows = [(replay_id, position, *item) for position, item in enumerate(items, before)]
    async with database.writing() as connection:
        await _change(connection, replay_id, total=before + len(items), gone=gone)
        if rows:
            insert = str(_INSERT.compile(dialect=connection.dialect))
            await connection.exec_driver_sql(insert, rows)


async def _change(connection: AsyncConnection, replay_id: str, **values: Any) -> None:
    """Change a replay that is being planned.

    Raises:
        WrongState: it is not any more.
    """
    done = await connection.execute(
        sa.update(Replay).where(Replay.id == replay_id, Replay.state == PLANNING).values(**values)
    )
    if not done.rowcount:
        raise WrongState(f"replay {replay_id} is not being planned any more")


async def _matching(picker: Picker, where: Where, items: Sequence[Item]) -> list[Item]:
    """Return the items for whose events the conditions hold."""
    places = [Place(each.stream_offset, each.stream_index, each.event_id) for each in items]
    events = await picker.events(places)
    return [
        each
        for each in items
        if (event := events.get(each.event_id)) is not None and where.matches(event)
    ]


async def _find(database: Database, wanted: Selection | Wanted) -> AsyncIterator[list[Item]]:
    """Find the runs, in the order in which their events were received."""
    last = ""
    while True:
        query = _of_history(wanted) if isinstance(wanted, Selection) else _of_dead(wanted)
        key = query.selected_columns[0]
        async with database.reading() as connection:
            rows = await connection.execute(query.where(key > last).order_by(key).limit(_CHUNK))
            items = [Item(*row) for row in rows]
        if not items:
            return
        yield items
        last = items[-1].origin


def _of_history(wanted: Selection) -> Any:
    return (
        sa.select(Run.id, Run.event_id, Event.stream_offset, Event.stream_index)
        .join(Event, Event.id == Run.event_id)
        .where(*wanted.conditions())
    )


def _of_dead(wanted: Wanted) -> Any:
    return sa.select(DeadLetter.id, DeadLetter.event_id, sa.literal(-1), sa.literal(0)).where(
        *wanted.conditions(), DeadLetter.event_id.is_not(None)
    )


def _is_letter(item: Item) -> bool:
    return item.stream_offset < 0
