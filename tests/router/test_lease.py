"""Which of several routers is the active one, on a real database."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from sqlalchemy import update
from tests.support.waiting import PATIENCE, eventually

from turnout.router import lease as module
from turnout.router import models
from turnout.router.database import Database, open_database
from turnout.router.duties import Duties
from turnout.router.leader import lead
from turnout.router.lease import Lease, LeaseLost
from turnout.router.registry import Registry
from turnout.shared import service

pytestmark = pytest.mark.both_databases


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_BEAT", 0.05)
    monkeypatch.setattr(module, "_LOOK", 0.02)
    monkeypatch.setattr(module, "_TAKEOVER", 0.5)


@pytest.fixture
async def other_database(database: Database, database_url: str) -> AsyncIterator[Database]:
    """The same database, as another router has it open."""
    async with open_database(database_url) as opened:
        yield opened


async def test_a_second_router_waits_until_the_first_gives_up(
    database: Database, other_database: Database
) -> None:
    first, second = Lease(database), Lease(other_database)
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    waiting = asyncio.create_task(second.acquire())
    await asyncio.sleep(1.0)  # twice the time after which a silent one is succeeded
    assert first.held
    assert not second.held
    await service.cancel([keeping])
    await first.release()
    assert not first.held
    await asyncio.wait_for(waiting, PATIENCE)
    assert second.held
    assert second.epoch == 2


async def test_a_transaction_that_takes_long_costs_nobody_the_lease(
    database: Database, other_database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.4)
    first, second = Lease(database), Lease(other_database)
    await first.acquire()
    keeping = asyncio.create_task(first.keep())
    waiting = asyncio.create_task(second.acquire())
    async with database.changing() as connection:
        await asyncio.sleep(1.5)  # longer than a silent router has
        assert first.held
        await connection.execute(update(models.Revision).values(number=7))
    assert not waiting.done()
    await Registry(database).create_group("afterwards")
    assert not keeping.done()
    await service.cancel([keeping, waiting])


async def test_a_silent_router_is_succeeded_and_writes_nothing_any_more(
    database: Database, other_database: Database
) -> None:
    first, second = Lease(database), Lease(other_database)
    await first.acquire()
    await asyncio.wait_for(second.acquire(), PATIENCE)
    assert first.held, "it has not noticed: this is the moment that the fence is for"
    with pytest.raises(LeaseLost):
        await Registry(database).create_group("late")
    assert not first.held
    assert await Registry(other_database).list_groups() == []
    await Registry(other_database).create_group("in-time")


async def test_a_router_steps_down_when_it_finds_another_one_in_its_place(
    database: Database, other_database: Database
) -> None:
    first, second = Lease(database), Lease(other_database)
    await first.acquire()
    await asyncio.wait_for(second.acquire(), PATIENCE)
    with pytest.raises(LeaseLost):
        await asyncio.wait_for(first.keep(), PATIENCE)


async def test_a_router_of_this_machine_that_has_ended_is_succeeded_at_once(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TAKEOVER", 60.0)
    machine = module._machine()
    async with database.writing() as connection:
        # No process has this id: it is above the greatest that Linux gives.
        ended = f"{machine} 4194305 1 on here"
        await connection.execute(update(models.Lease).values(holder=ended, epoch=7))
    lease = Lease(database)
    await asyncio.wait_for(lease.acquire(), PATIENCE)
    assert lease.epoch == 8


async def test_before_it_is_active_a_router_writes_nothing(database: Database) -> None:
    Lease(database)
    with pytest.raises(LeaseLost):
        await Registry(database).create_group("early")


async def test_work_runs_in_the_active_router_alone_and_moves_to_the_next(
    database: Database, other_database: Database
) -> None:
    running: set[str] = set()
    stops = {name: asyncio.Event() for name in ("first", "second")}

    def router(name: str, lease: Lease) -> asyncio.Task[None]:
        async def work() -> None:
            running.add(name)
            try:
                await asyncio.Event().wait()
            finally:
                running.remove(name)

        return asyncio.create_task(lead(lease, stops[name], Duties({"work": work})))

    first = router("first", Lease(database))
    await eventually(lambda: running == {"first"}, what="the first one works")
    second = router("second", Lease(other_database))
    stops["first"].set()
    await asyncio.wait_for(first, PATIENCE)
    await eventually(lambda: running == {"second"}, what="the second one works")
    stops["second"].set()
    await asyncio.wait_for(second, PATIENCE)
    assert not running
