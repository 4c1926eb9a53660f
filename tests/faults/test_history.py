"""The history equals the archive, event by event, however often the router is killed meanwhile."""

import random

import pytest
import sqlalchemy as sa
from tests.faults.conftest import Stage
from tests.support import history
from tests.support.history import writing
from tests.support.system import System
from tests.support.waiting import eventually

from turnout.router.database import open_database
from turnout.router.history import states
from turnout.router.history.models import Attempt, Event, Run

pytestmark = [pytest.mark.faults, pytest.mark.timeout(300)]

_WAVES = 20
_IN_WAVE = 5000


async def test_a_hundred_thousand_events_are_recorded_once_by_routers_that_are_killed(
    stage: Stage,
) -> None:
    chosen = random.Random(1)
    router = stage.system.router
    expected: dict[str, str] = {}
    attempts = 0
    async with writing(stage.system.amqp_url) as writer:
        for wave in range(_WAVES):
            events = [history.event(number) for number in range(_IN_WAVE)]
            stories = [history.story(each, chosen) for each in events]
            await writer.events(events)
            await writer.outcomes([each for story in stories for each in story])
            attempts += sum(story[-1].attempt for story in stories)
            expected |= {
                story[-1].event_id: states.OF_OUTCOME[story[-1].state] for story in stories
            }
            if wave % 3 == 1:
                router.command.kill()
                await router.start()
    await eventually(lambda: is_recorded(stage.system), 120, "all is recorded")
    url = f"sqlite+aiosqlite:///{stage.system.directory / 'turnout.db'}"
    async with open_database(url) as database, database.reading() as connection:
        found = sa.select(Run.event_id, Run.state).join(Event, Event.id == Run.event_id)
        recorded = dict((await connection.execute(found)).all())
        tried = (
            sa.select(sa.func.count())
            .select_from(Attempt)
            .where(Attempt.worker_id == history.WORKER)
        )
        assert await connection.scalar(tried) == attempts
    assert {each: recorded.get(each) for each in expected} == expected


async def is_recorded(system: System) -> bool:
    """Tell whether the recorder has come to the end of both streams."""
    found = await system.admin("GET", "history", status=200)
    return all(each["behind"] == 0 and not each["missed"] for each in found["items"])
