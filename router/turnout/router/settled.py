"""Settled: what operators are done with goes after a while, a little at a time.

    dead letters that were replayed or discarded ── too old, or too much ──▶ deleted
    replays that have ended ─────────────────────── too old ───────────────▶ deleted

Dead letters that nobody has settled stay, however old.
"""

import asyncio
import time
from datetime import timedelta

import sqlalchemy as sa

from turnout.router.database import Database
from turnout.router.letters import dead
from turnout.router.letters.models import DeadLetter
from turnout.router.replay import store
from turnout.router.replay.models import Replay

#: Dead letters that are deleted in one transaction.
_STEP = 500

_SETTLED = DeadLetter.state.in_((dead.REPLAYED, dead.DISCARDED))


class Settled:
    """Sweeps them.

    Args:
        database: holds them.
        max_age: how long they are kept.
        max_bytes: how large the payloads of settled dead letters may be together.
    """

    def __init__(self, database: Database, *, max_age: timedelta, max_bytes: int) -> None:
        self._database = database
        self._max_age = max_age
        self._max_bytes = max_bytes

    async def sweep(self) -> int:
        """Delete what is too old or too much; return how many rows that were."""
        before = time.time_ns() - self._max_age // timedelta(microseconds=1) * 1000
        async with self._database.writing() as connection:
            ended = await connection.execute(
                sa.delete(Replay).where(
                    Replay.state.in_((store.DONE, store.ABORTED)), Replay.ended_at < before
                )
            )
        deleted = ended.rowcount
        async with self._database.reading() as connection:
            size = sa.func.sum(sa.func.length(DeadLetter.body))
            excess = int(await connection.scalar(sa.select(size).where(_SETTLED)) or 0)
        excess -= self._max_bytes
        while True:
            # By when they died: that has an index, and is nearly the order in which they settled.
            query = sa.select(DeadLetter.id, sa.func.length(DeadLetter.body)).where(_SETTLED)
            if excess <= 0:
                query = query.where(DeadLetter.settled_at < before)
            async with self._database.reading() as connection:
                found = await connection.execute(query.order_by(DeadLetter.died_at).limit(_STEP))
                oldest = [(str(letter_id), int(length)) for letter_id, length in found]
            if not oldest:
                return deleted
            some = []
            for letter_id, length in oldest:
                some.append(letter_id)
                excess -= length
                if excess <= 0 and excess + length > 0:
                    break
            began = time.monotonic()
            async with self._database.writing() as connection:
                await connection.execute(sa.delete(DeadLetter).where(DeadLetter.id.in_(some)))
            deleted += len(some)
            await asyncio.sleep(time.monotonic() - began)
