"""Retention: the oldest of the history goes, by age and by size, a little at a time.

    oldest runs that have ended ──a thousand at a time──▶ deleted, with their attempts and events
            └── until none is too old, and the database is not too large

Each step is a short transaction of its own, and as long a rest follows: readers are never locked
out, and the recorder waits for one step at most. Runs that have not ended stay, however old.
"""

import asyncio
import time
from datetime import timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router.database import Database
from turnout.router.history import states
from turnout.router.history.models import Attempt, Event, Run
from turnout.router.history.search import id_at
from turnout.shared import ids

#: Runs that are deleted in one transaction.
_STEP = 1000

_SQLITE_SIZE = """
SELECT (page_count - freelist_count) * page_size
FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""

#: Rows that live, times the size of the newest thousand, times two for the indexes.
_POSTGRESQL_SIZE = """
SELECT 2 * (SELECT avg(pg_column_size(newest)) FROM
    (SELECT * FROM {table} ORDER BY 1 DESC LIMIT 1000) AS newest)
    * (SELECT n_live_tup FROM pg_stat_user_tables WHERE relname = '{table}')
"""


class Retention:
    """Keeps the history bounded.

    Args:
        database: holds the history.
        max_age: how long runs that have ended are kept.
        max_bytes: how large the history may become.
    """

    def __init__(self, database: Database, *, max_age: timedelta, max_bytes: int) -> None:
        self._database = database
        self._max_age = max_age
        self._max_bytes = max_bytes

    async def sweep(self) -> int:
        """Delete what is too old or too much; return how many runs that were."""
        cut = id_at(time.time_ns() - self._max_age // timedelta(microseconds=1) * 1000)
        deleted, after = 0, ""
        while True:
            began = time.monotonic()
            async with self._database.reading() as connection:
                too_large = await _size(connection) > self._max_bytes
                run_ids = await _oldest(connection, after, None if too_large else cut)
            if not run_ids:
                return deleted
            async with self._database.writing(durable=False) as connection:
                await _delete(connection, run_ids)
            deleted, after = deleted + len(run_ids), run_ids[-1]
            await asyncio.sleep(time.monotonic() - began)


async def _oldest(connection: AsyncConnection, after: str, before: str | None) -> list[str]:
    """Return the ids of the oldest runs that have ended."""
    query = sa.select(Run.id).where(Run.id > after, Run.state.not_in(states.OPEN))
    if before is not None:
        query = query.where(Run.id < before)
    return [*await connection.scalars(query.order_by(Run.id).limit(_STEP))]


async def _delete(connection: AsyncConnection, run_ids: list[str]) -> None:
    event_ids = [ids.same_uuid(each, ids.EVENT) for each in run_ids]
    await connection.execute(sa.delete(Attempt).where(Attempt.run_id.in_(run_ids)))
    await connection.execute(sa.delete(Event).where(Event.id.in_(event_ids)))
    await connection.execute(sa.delete(Run).where(Run.id.in_(run_ids)))
    if connection.dialect.name == "postgresql":
        # Else it would count them as living for a second or more, and we would delete on and on.
        await connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))


async def _size(connection: AsyncConnection) -> int:
    """Return the bytes that the history takes.

    What was deleted is used again before a file grows, so it is not counted. SQLite knows that, for
    the whole database. PostgreSQL does not; it knows how many rows live, and how large some are.
    """
    if connection.dialect.name == "sqlite":
        return int(await connection.scalar(sa.text(_SQLITE_SIZE)) or 0)
    size = 0.0
    for model in (Event, Run, Attempt):
        found = await connection.scalar(sa.text(_POSTGRESQL_SIZE.format(table=model.__tablename__)))
        size += float(found or 0)
    return int(size)
