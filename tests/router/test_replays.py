"""Replays in SQL: what is left of one when its router has died."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import sqlalchemy as sa
from tests.router.history.test_erasure import delivery
from tests.support import history
from tests.support.waiting import eventually

from turnout.router.database import Database
from turnout.router.history.archive import Archive
from turnout.router.letters.dead import DeadLetters, Wanted
from turnout.router.link import Links
from turnout.router.registry import ROUTER
from turnout.router.replay.edit import Edit
from turnout.router.replay.models import ReplayItem
from turnout.router.replay.replay import Replay
from turnout.router.replay.replays import Replays
from turnout.router.replay.store import ABORTED, PLANNED, Store

pytestmark = pytest.mark.both_databases


@asynccontextmanager
async def running(database: Database) -> AsyncIterator[Replays]:
    """Plan replays, for the length of a context; there is no broker that could run them."""
    replays = Replays(database, Archive(Links(["amqp://127.0.0.1:1/"], "test")), None, None)
    task = asyncio.create_task(replays.run())
    yield replays
    task.cancel()
    await asyncio.wait([task])


async def items(database: Database) -> int:
    async with database.reading() as connection:
        return await connection.scalar(sa.select(sa.func.count()).select_from(ReplayItem)) or 0


async def test_what_an_aborted_replay_still_had_when_the_router_died_is_forgotten(
    database: Database,
) -> None:
    events = [history.event(0) for _ in range(3)]
    await DeadLetters(database).keep([delivery(each) for each in events])
    async with running(database) as replays:
        wanted = Wanted(group=events[0].group)
        made = await replays.plan(wanted, edit=Edit(merge={"to": "Jane"}), rate=0, actor=ROUTER)

        async def planned() -> Replay | None:
            found = await replays.get(made.id)
            return found if found.state == PLANNED else None

        found: Replay = await eventually(planned, what="it is planned")
    assert "Jane" in (found.edit or "")
    assert await items(database) == len(events)

    await Store(database).change(made.id, [PLANNED], state=ABORTED)  # and there the router died
    async with running(database) as replays:

        async def forgotten() -> bool:
            return (await replays.get(made.id)).edit == "" and not await items(database)

        await eventually(forgotten, what="nothing of it is left")
