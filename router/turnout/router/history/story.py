"""The story of an event: all that the history knows of it, in order."""

from collections import defaultdict
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router.history.models import Attempt, Erasure, Event, Run
from turnout.router.history.search import Record, runs_of


@dataclass(frozen=True)
class Story:
    """An event, its runs from the oldest on, and the attempts of each."""

    event: Record | None
    """Its row; None if it is erased, or was not read (yet) in the archive."""
    erasure: Record | None
    runs: list[Record]
    attempts: dict[str, list[Record]]
    """By the id of the run."""


async def tell(connection: AsyncConnection, event_id: str) -> Story | None:
    """Return the story of an event, within a transaction; None if the history knows nothing."""
    runs = [
        *await connection.execute(
            sa.select(Run.__table__).where(runs_of(event_id)).order_by(Run.id)
        )
    ]
    event = await _row(connection, Event.__table__, Event.id == event_id)
    erasure = await _row(connection, Erasure.__table__, Erasure.event_id == event_id)
    if not (runs or event or erasure):
        return None
    attempts = defaultdict(list)
    for row in await connection.execute(
        sa.select(Attempt.__table__)
        .where(Attempt.run_id.in_([run.id for run in runs]))
        .order_by(Attempt.number, Attempt.started_at)
    ):
        attempts[row.run_id].append(row)
    return Story(event, erasure, runs, attempts)


async def event_of(connection: AsyncConnection, run_id: str) -> str | None:
    """Return the event of a run, within a transaction; None if there is no such run."""
    return await connection.scalar(sa.select(Run.event_id).where(Run.id == run_id))


async def _row(
    connection: AsyncConnection, table: sa.FromClause, condition: sa.ColumnElement[bool]
) -> Record | None:
    return (await connection.execute(sa.select(table).where(condition))).first()
