"""The recorder at real streams: all of them, once in effect, whatever interrupts it."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest
import sqlalchemy as sa
from tests.router.history.conftest import delete_streams
from tests.support import history
from tests.support.history import Writer, declare_streams, writing
from tests.support.waiting import eventually

from turnout.router.database import Database
from turnout.router.history import recorder as module
from turnout.router.history.models import Attempt, Event, Run
from turnout.router.history.recorder import Mark, Recorder, read_marks
from turnout.router.link import Links
from turnout.shared import names
from turnout.shared.envelope import Envelope

pytestmark = pytest.mark.both_databases

Recording = Callable[[], AbstractAsyncContextManager[None]]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.5)
    monkeypatch.setattr(module, "_GATHERING", 0.01)


@pytest.fixture
def recording(database: Database, streams: str) -> Recording:
    @asynccontextmanager
    async def recording() -> AsyncIterator[None]:
        """Record for the length of a context."""
        links = Links([streams], "recorder")
        task = asyncio.create_task(Recorder(database, links).run())
        yield
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled() or task.exception() is None
        await links.close()

    return recording


async def states(database: Database) -> dict[str, str]:
    async with database.reading() as connection:
        query = sa.select(Run.event_id, Run.state).join(Event, Event.id == Run.event_id)
        return dict((await connection.execute(query)).all())


async def marks(database: Database) -> dict[str, Mark]:
    async with database.reading() as connection:
        return await read_marks(connection)


async def recorded(database: Database, expected: dict[str, str]) -> None:
    """Wait until these events are recorded, in these states, and no others."""

    async def holds() -> bool:
        return await states(database) == expected

    await eventually(holds, what=f"{len(expected)} events are recorded")


def all_ended(events: list[Envelope], state: str = "succeeded") -> dict[str, str]:
    return {each.event_id: state for each in events}


async def write(writer: Writer, count: int) -> list[Envelope]:
    """Write events, and that they have succeeded."""
    events = [history.event(number) for number in range(count)]
    await writer.events(events, in_block=10)
    await writer.outcomes([history.ended(each) for each in events])
    return events


async def test_what_was_written_before_and_meanwhile_is_recorded(
    database: Database, writer: Writer, recording: Recording
) -> None:
    before = await write(writer, 500)
    async with recording():
        meanwhile = await write(writer, 300)
        await recorded(database, all_ended(before + meanwhile))
        queued = [history.event(number) for number in range(20)]
        await writer.events(queued)
        await recorded(database, all_ended(before + meanwhile) | all_ended(queued, "queued"))


async def test_recording_goes_on_where_it_stopped_wherever_that_was(
    database: Database, writer: Writer, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = dict.fromkeys((names.ARCHIVE, names.OUTCOMES), 2000)
    monkeypatch.setattr(module, "_MOST_BYTES", small)
    chosen = random.Random(7)
    events = await write(writer, 800)
    for _ in range(6):
        async with recording():
            await asyncio.sleep(chosen.uniform(0.02, 0.2))  # anywhere
        assert len(await states(database)) <= len(events)
    async with recording():
        await recorded(database, all_ended(events))
    async with database.reading() as connection:
        assert await connection.scalar(sa.select(sa.func.count()).select_from(Attempt)) == 800


async def test_a_batch_that_fails_half_way_leaves_nothing_behind(
    database: Database, writer: Writer, recording: Recording, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = module._move
    failed = asyncio.Event()

    async def fail(connection: object, stream: str, *_: object) -> None:
        if stream == names.OUTCOMES:
            failed.set()
            raise module.Superseded("a test")

    monkeypatch.setattr(module, "_move", fail)
    events = await write(writer, 50)
    async with recording():
        await eventually(failed.is_set)
        assert await states(database) == {}
        monkeypatch.setattr(module, "_move", real)
        await recorded(database, all_ended(events))


async def test_two_recorders_at_once_record_everything_once(
    database: Database, writer: Writer, recording: Recording
) -> None:
    async with recording(), recording():
        events = await write(writer, 300)
        await recorded(database, all_ended(events))
        more = await write(writer, 300)
        await recorded(database, all_ended(events + more))


@pytest.mark.parametrize("count", [5, 200])
async def test_a_stream_that_was_made_anew_is_recorded_from_its_beginning(
    database: Database, streams: str, recording: Recording, count: int
) -> None:
    async with writing(streams) as writer:
        old = await write(writer, 100)
        async with recording():
            await recorded(database, all_ended(old))
    await delete_streams(streams)
    await declare_streams(streams)
    async with writing(streams) as writer:
        new = await write(writer, count)  # it ends before, or after, what is recorded
    async with recording():
        await recorded(database, all_ended(old + new))


async def test_streams_that_are_deleted_under_way_are_waited_for(
    database: Database, streams: str, recording: Recording
) -> None:
    async with recording():
        async with writing(streams) as writer:
            old = await write(writer, 100)
            await recorded(database, all_ended(old))
        await delete_streams(streams)
        await declare_streams(streams)
        async with writing(streams) as writer:
            new = await write(writer, 100)
            await recorded(database, all_ended(old + new))


async def test_unreadable_messages_are_counted_and_passed_over(
    database: Database, writer: Writer, recording: Recording
) -> None:
    await writer._publish(names.ARCHIVE, "x", [b"none"])
    await writer._publish(names.OUTCOMES, "x", [b"none"])
    events = await write(writer, 10)
    async with recording():
        await recorded(database, all_ended(events))
    assert {each.unreadable for each in (await marks(database)).values()} == {1}
