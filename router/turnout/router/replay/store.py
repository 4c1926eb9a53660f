"""The rows of replays: how they are written, so that a crash at any moment leaves them right.

    items   0 … ─────── position ─────── intent ─────── … total
              done: published,    in doubt after     surely not
              and in history      a crash            published

Before a batch is published, `intent` is moved behind it; when all of it is confirmed, `position`
follows, in one transaction with the history of its runs.
"""

import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router.database import Database
from turnout.router.history import states
from turnout.router.history.fold import Rows
from turnout.router.history.models import Erasure, Run
from turnout.router.history.write import queued, write
from turnout.router.letters import dead
from turnout.router.letters.models import DeadLetter
from turnout.router.registry import Conflict, NotFound, Page, Slice
from turnout.router.replay import models, plan
from turnout.router.replay.models import ReplayItem
from turnout.router.replay.plan import Item
from turnout.router.replay.replay import Replay
from turnout.shared.envelope import Envelope

PLANNING = plan.PLANNING
PLANNED = plan.PLANNED
RUNNING = "running"
PAUSED = "paused"
DONE = "done"
ABORTED = "aborted"
#: The states in which an operator still has a say.
UNENDED = (PLANNING, PLANNED, RUNNING, PAUSED)

_REPLAYS = sa.select(
    *(each for each in models.Replay.__table__.c if each.name != "group_slug"),
    models.Replay.group_slug.label("group"),
)

#: Items that are deleted at once.
_CHUNK = 20_000


class Progress(NamedTuple):
    """What one batch changes."""

    position: int
    intent: int
    runs: Sequence[Envelope] = ()
    """Published and confirmed."""
    skipped: int = 0
    note: str = ""


class Store:
    """Reads and writes replays.

    Args:
        database: where they are.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, replay_id: str) -> Replay:
        """Return one.

        Raises:
            NotFound: there is none with this id.
        """
        async with self._database.reading() as connection:
            return await find(connection, replay_id)

    async def newest(self, groups: Sequence[str] | None, page: Slice) -> Page[Replay]:
        """Return a part of those of some groups, newest first; None: of all, and of none."""
        query = _REPLAYS if groups is None else _REPLAYS.where(models.Replay.group_slug.in_(groups))
        async with self._database.reading() as connection:
            return await page.read(
                connection, query, (models.Replay.id,), Replay, newest_first=True
            )

    async def in_state(self, *wanted: str) -> list[Replay]:
        """Return those in some states."""
        query = _REPLAYS.where(models.Replay.state.in_(wanted))
        async with self._database.reading() as connection:
            return [Replay(**row) for row in (await connection.execute(query)).mappings()]

    async def unforgotten(self) -> Sequence[str]:
        """Return the ids of those that have ended, and of which `forget` has left something."""
        table, items = models.Replay, ReplayItem
        has_items = sa.exists().where(items.replay_id == table.id)
        query = sa.select(table.id).where(
            table.state.not_in(UNENDED), sa.or_(table.edit != "", has_items)
        )
        async with self._database.reading() as connection:
            return (await connection.scalars(query)).all()

    async def change(self, replay_id: str, when: Sequence[str], **values: Any) -> bool:
        """Change a replay that is in one of some states; tell whether it was."""
        async with self._database.writing() as connection:
            return await change(connection, replay_id, when, **values)

    async def advance(self, replay: Replay, progress: Progress) -> None:
        """Write how far a replay is, with the history of what was published."""
        values: dict[str, Any] = {"position": progress.position, "intent": progress.intent}
        if progress.skipped:
            skipped = models.Replay.skipped + progress.skipped
            values |= {"skipped": skipped, "note": progress.note}
        async with self._database.writing() as connection:
            await connection.execute(
                sa.update(models.Replay).where(models.Replay.id == replay.id).values(**values)
            )
            if progress.runs:
                await write(
                    connection, Rows([], [queued(each) for each in progress.runs], [], [], [])
                )
            if progress.runs and replay.source == plan.DEAD and not replay.dry_run:
                wanted = dead.Wanted(ids=[str(each.origin) for each in progress.runs])
                await dead.settle(connection, wanted, dead.REPLAYED, replay.id)

    async def items(self, replay_id: str, position: int, limit: int) -> list[Item]:
        """Return items from a position on."""
        table = ReplayItem.__table__.c
        query = (
            sa.select(table.origin, table.event_id, table.stream_offset, table.stream_index)
            .where(table.replay_id == replay_id, table.position >= position)
            .order_by(table.position)
            .limit(limit)
        )
        async with self._database.reading() as connection:
            return [Item(*row) for row in await connection.execute(query)]

    async def count_before(self, replay_id: str, offset: int) -> int:
        """Count the items whose events lie before an offset of the archive."""
        table = ReplayItem.__table__.c
        query = (
            sa.select(sa.func.count())
            .where(table.replay_id == replay_id)
            .where(table.stream_offset >= 0, table.stream_offset < offset)
        )
        async with self._database.reading() as connection:
            return await connection.scalar(query) or 0

    async def forget(self, replay_id: str) -> None:
        """Delete what only a replay that goes on needs: its edit, and its items, some at a time."""
        async with self._database.writing() as connection:
            await _forget_edits(connection, models.Replay.id == replay_id)
        table = ReplayItem
        while True:
            async with self._database.writing() as connection:
                some = sa.select(table.position).where(table.replay_id == replay_id).limit(_CHUNK)
                done = await connection.execute(
                    sa.delete(table).where(table.replay_id == replay_id, table.position.in_(some))
                )
            if not done.rowcount:
                return

    async def bodies(self, letter_ids: Sequence[str]) -> Sequence[bytes]:
        """Return the payloads of dead letters."""
        table = DeadLetter
        query = sa.select(table.body).where(table.id.in_(letter_ids))
        async with self._database.reading() as connection:
            return (await connection.scalars(query)).all()

    async def erased(self, event_ids: Sequence[str]) -> Sequence[str]:
        """Return those of some events that somebody wanted gone."""
        query = sa.select(Erasure.event_id).where(Erasure.event_id.in_(event_ids))
        async with self._database.reading() as connection:
            return (await connection.scalars(query)).all()

    async def begun(self, run_ids: Sequence[str]) -> frozenset[str]:
        """Return those of some runs that are in the history: they were published."""
        query = sa.select(Run.id).where(Run.id.in_(run_ids))
        async with self._database.reading() as connection:
            return frozenset(await connection.scalars(query))

    async def have_ended(self, run_ids: Sequence[str]) -> bool:
        """Tell whether none of some runs is still to run."""
        query = sa.select(Run.id).where(Run.id.in_(run_ids), Run.state.in_(states.OPEN)).limit(1)
        async with self._database.reading() as connection:
            return await connection.scalar(query) is None

    async def outcomes(self, replay_id: str) -> dict[str, int]:
        """Count the runs of a replay by their state."""
        query = (
            sa.select(Run.state, sa.func.count().label("number"))
            .where(Run.replay == replay_id)
            .group_by(Run.state)
        )
        async with self._database.reading() as connection:
            return {row.state: row.number for row in await connection.execute(query)}


async def add(connection: AsyncConnection, replay: Replay) -> None:
    """Add a replay, within a transaction."""
    values = asdict(replay)
    await connection.execute(
        sa.insert(models.Replay).values(group_slug=values.pop("group"), **values)
    )


async def find(connection: AsyncConnection, replay_id: str) -> Replay:
    """Return a replay, within a transaction.

    Raises:
        NotFound: there is none with this id.
    """
    found = await connection.execute(_REPLAYS.where(models.Replay.id == replay_id))
    row = found.mappings().one_or_none()
    if row is None:
        raise NotFound("replay", replay_id)
    return Replay(**row)


async def change(
    connection: AsyncConnection, replay_id: str, when: Sequence[str], **values: Any
) -> bool:
    """Change a replay that is in one of some states, within a transaction; tell whether it was."""
    done = await connection.execute(
        sa.update(models.Replay)
        .where(models.Replay.id == replay_id, models.Replay.state.in_(when))
        .values(**values)
    )
    return bool(done.rowcount)


async def forget_edits(connection: AsyncConnection, event_id: str) -> None:
    """Delete how the body of an event was changed for replays, within a transaction.

    Raises:
        Conflict: such a replay has not ended.
    """
    table = models.Replay
    repeated = sa.select(Run.replay).where(Run.event_id == event_id, Run.replay.is_not(None))
    planned = sa.select(ReplayItem.replay_id).where(ReplayItem.event_id == event_id)
    of_event = sa.or_(table.id.in_(repeated), table.id.in_(planned))
    going_on = await connection.scalar(
        sa.select(table.id).where(of_event, table.edit != "", table.state.in_(UNENDED))
    )
    if going_on is not None:
        raise Conflict(f"replay {going_on} changes the body of {event_id}: abort it first")
    await _forget_edits(connection, of_event)


async def _forget_edits(connection: AsyncConnection, which: sa.ColumnElement[bool]) -> None:
    """Delete how bodies were changed, but not that they were."""
    table = models.Replay
    await connection.execute(sa.update(table).where(which, table.edit.is_not(None)).values(edit=""))


def now() -> int:
    """Return this moment, in nanoseconds since the Unix epoch."""
    return time.time_ns()
