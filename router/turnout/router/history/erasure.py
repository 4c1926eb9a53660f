"""Erasure: the payload and metadata of an event, gone for good.

    erase ──▶ erasures: the event's id, when and why     (whoever reads the archive honours it)
        └───▶ its row of events, and errors, tracebacks and results of its runs, are deleted

That there was an event, and what state its runs are in, stays. The archive is never rewritten: the
event is in there, told by nobody, until the archive's own retention.
"""

from collections.abc import Iterable

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router.history import fold
from turnout.router.history.fold import Rows
from turnout.router.history.models import Attempt, Erasure, Event, Run
from turnout.router.history.search import runs_of

#: Nanoseconds by which the clocks of two routers may differ.
_SKEW = 60 * 1_000_000_000


class Erased:
    """The events that were erased, as the recorder knows them: what comes late is left out."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._newest = 0

    async def strip(self, connection: AsyncConnection, rows: Rows) -> None:
        """Take out of rows what was erased, within the transaction that writes them."""
        found = await connection.execute(
            sa.select(Erasure.event_id, Erasure.erased_at).where(
                Erasure.erased_at > self._newest - _SKEW
            )
        )
        for event_id, erased_at in found:
            self._ids.add(event_id)
            self._newest = max(self._newest, erased_at)
        if not self._ids:
            return
        rows.events = [each for each in rows.events if each[0] not in self._ids]
        runs = [each for each in (*rows.runs, *rows.progressed) if each[1] in self._ids]
        for run in runs:
            run[fold.ERROR] = None
        erased = {run[0] for run in runs}
        rows.attempts = [
            fold.without_content(each) if each[0] in erased else each for each in rows.attempts
        ]


async def erase(connection: AsyncConnection, event_id: str, reason: str, at: int) -> None:
    """Erase an event, within a transaction; one that is erased already stays so."""
    if not await erased(connection, [event_id]):
        await connection.execute(
            sa.insert(Erasure).values(event_id=event_id, erased_at=at, reason=reason)
        )
    await connection.execute(sa.delete(Event).where(Event.id == event_id))
    runs = sa.select(Run.id).where(runs_of(event_id))
    await connection.execute(
        sa.update(Attempt)
        .where(Attempt.run_id.in_(runs))
        .values(error=None, traceback=None, result=None)
    )
    await connection.execute(sa.update(Run).where(Run.id.in_(runs)).values(error=None))


async def erased(connection: AsyncConnection, event_ids: Iterable[str | None]) -> set[str]:
    """Tell which of some events were erased."""
    wanted = [each for each in event_ids if each is not None]
    found = await connection.scalars(
        sa.select(Erasure.event_id).where(Erasure.event_id.in_(wanted))
    )
    return set(found)
