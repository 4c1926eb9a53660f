"""A duty of the router that fails ends nothing but itself."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from tests.support.waiting import eventually

from turnout.router import duties as module
from turnout.router.database import Database
from turnout.router.duties import Duties
from turnout.router.leader import lead
from turnout.router.lease import Lease
from turnout.shared.errors import SettingsError


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_FIRST", 0.01)


@pytest.fixture
async def stop() -> AsyncIterator[asyncio.Event]:
    stop = asyncio.Event()
    yield stop
    stop.set()


async def test_a_duty_that_fails_is_begun_again_beside_the_others(
    database: Database, stop: asyncio.Event
) -> None:
    begun = {"good": 0, "bad": 0}

    async def good() -> None:
        begun["good"] += 1
        await stop.wait()

    async def bad() -> None:
        begun["bad"] += 1
        if begun["bad"] < 4:
            raise ZeroDivisionError
        await stop.wait()

    duties = Duties({"good": good, "bad": bad})
    leading = asyncio.create_task(lead(Lease(database), stop, duties))
    await eventually(lambda: begun["bad"] == 4, what="the bad one has gone well at last")
    assert begun["good"] == 1
    assert duties.failing == ["bad"]
    assert duties.failures == {"good": 0, "bad": 3}
    stop.set()
    await leading


async def test_a_wrong_setting_ends_the_router(database: Database, stop: asyncio.Event) -> None:
    async def refuse() -> None:
        raise SettingsError("Redis may drop records")

    with pytest.raises(SettingsError):
        await lead(Lease(database), stop, Duties({"cache": refuse}))
