"""The plan: which runs a selection means, each with its position, written before anything runs.

What is planned is what runs: events that come afterwards are not part of it.
"""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import sqlalchemy as sa

from turnout.router.database import Database
from turnout.router.history.archive import Archive
from turnout.router.history.models import Event, Run
from turnout.router.letters.dead import Wanted
from turnout.router.letters.models import DeadLetter
from turnout.router.replay.models import Replay, ReplayItem
from turnout.shared import envelope, ids

#: Items that are found and written at once: a tenth of a second.
_CHUNK = 10_000

HISTORY = "history"
DEAD = "dead"


class Selection(NamedTuple):
    """Which runs of the history are meant; None: any. Tests and replays are not, unless named."""

    events: Sequence[str] | None = None
    group: str | None = None
    flow: str | None = None
    """Slug of the flow."""
    trigger: str | None = None
    key: str | None = None
    state: str | None = None
    error_type: str | None = None
    since: datetime | None = None
    until: datetime | None = None

    def conditions(self) -> list[sa.ColumnElement[bool]]:
        """Return what holds for them."""
        found = [
            column == value
            for column, value in (
                (Run.group_slug, self.group),
                (Run.flow_slug, self.flow),
                (Run.trigger_id, self.trigger),
                (Run.key_id, self.key),
                (Run.state, self.state),
                (Run.error_type, self.error_type),
            )
            if value is not None
        ]
        if self.events is not None:
            found.append(Run.id.in_([ids.same_uuid(each, ids.RUN) for each in self.events]))
        else:
            found.append(Run.kind == envelope.EVENT)
        # A run's id begins with the millisecond in which its event was received.
        if self.since is not None:
            found.append(Run.id >= ids.first_of(ids.RUN, self.since))
        if self.until is not None:
            found.append(Run.id < ids.first_of(ids.RUN, self.until))
        return found


class Item(NamedTuple):
    """A run that is meant, and where its event is."""

    origin: str
    event_id: str
    stream_offset: int
    stream_index: int


async def write(
    database: Database, archive: Archive, replay_id: str, wanted: Selection | Wanted
) -> None:
    """Find all that is meant, write it down as items, and count it.

    Raises:
        BrokerError: the archive cannot be asked how far it goes back.
        DatabaseUnavailable: it is not written, or only in part.
    """
    first = 0
    if isinstance(wanted, Selection):
        bounds = await archive.bounds()
        first = bounds.first if bounds else 2**62
    total = gone = 0
    async for items in _find(database, wanted):
        there = [each for each in items if each.stream_offset >= first or each.stream_offset < 0]
        gone += len(items) - len(there)
        rows = [
            {"replay_id": replay_id, "position": position, **item._asdict()}
            for position, item in enumerate(there, total)
        ]
        total += len(there)
        async with database.writing() as connection:
            if rows:
                await connection.execute(sa.insert(ReplayItem), rows)
            await connection.execute(
                sa.update(Replay).where(Replay.id == replay_id).values(total=total, gone=gone)
            )


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
