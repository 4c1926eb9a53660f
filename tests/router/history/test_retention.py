"""Retention: what is too old or too much goes, what has not ended stays."""

import time
from datetime import timedelta

import pytest
import sqlalchemy as sa
from tests.router.history.test_fold import archived, everything, record, told
from tests.support import history

from turnout.router.database import Database
from turnout.router.history import retention as module
from turnout.router.history.models import Run
from turnout.router.history.retention import Retention
from turnout.shared import ids
from turnout.shared.envelope import Envelope

pytestmark = pytest.mark.both_databases

_AGES = timedelta(days=365 * 100)


def aged(number: int, days: float) -> Envelope:
    """Make an event of some days ago."""
    at = time.time_ns() - int(days * 86_400) * 1_000_000_000
    uuid = f"{at // 1_000_000:012x}7{number:019x}"
    return history.event(
        number,
        event_id=f"{ids.EVENT}_{uuid}",
        run_id=f"{ids.RUN}_{uuid}",
        received_at=at,
    )


async def left(database: Database) -> set[str]:
    async with database.reading() as connection:
        return set(await connection.scalars(sa.select(Run.event_id)))


@pytest.fixture(autouse=True)
def _small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_STEP", 7)


async def test_what_is_too_old_goes_with_all_that_belongs_to_it(database: Database) -> None:
    old = [aged(number, 31) for number in range(30)]
    waiting = [aged(number, 40) for number in range(30, 40)]
    new = [aged(number, 29) for number in range(40, 60)]
    await record(
        database,
        [archived(0, [*old, *waiting, *new])],
        [told([history.ended(each) for each in [*old, *new]])],
    )
    retention = Retention(database, max_age=timedelta(days=30), max_bytes=10**12)
    assert await retention.sweep() == 30
    kept = {each.event_id for each in [*waiting, *new]}
    assert await left(database) == kept
    rows = await everything(database)
    assert {row[0] for row in rows["events"]} == kept
    assert len(rows["attempts"]) == len(new)
    assert await retention.sweep() == 0


async def test_of_what_is_too_large_the_oldest_goes(database: Database) -> None:
    events = [aged(number, 20 - number / 1000) for number in range(3000)]
    await record(database, [archived(0, events)], [told([history.ended(each) for each in events])])

    async with database.writing() as connection:
        if connection.dialect.name == "postgresql":  # else it counts them some time later
            await connection.execute(sa.text("SELECT pg_stat_force_next_flush()"))
    async with database.reading() as connection:
        size = await module._size(connection)
    assert 1_000_000 < size < 4_000_000
    retention = Retention(database, max_age=_AGES, max_bytes=size * 2 // 3)
    deleted = await retention.sweep()
    assert 500 < deleted < 1700
    assert await left(database) == {each.event_id for each in events[deleted:]}
