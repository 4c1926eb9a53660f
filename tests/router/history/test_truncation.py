"""What the broker has dropped is said, with counts: by the recorder, and before a replay starts."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest
from tests.router.history.conftest import delete_streams
from tests.support import history
from tests.support.history import Writer, declare_streams
from tests.support.topology import declare_route
from tests.support.waiting import eventually

from turnout.router.database import Database
from turnout.router.depth import Depth
from turnout.router.history.archive import Archive
from turnout.router.history.recorder import Mark, Recorder, read_marks
from turnout.router.history.search import Filter
from turnout.router.link import Links
from turnout.router.registry import ROUTER, WrongState
from turnout.router.replay.plan import Selection
from turnout.router.replay.replay import Replay
from turnout.router.replay.replays import Replays
from turnout.shared import names
from turnout.shared.envelope import Envelope
from turnout.shared.publisher import Publisher

Record = Callable[[], Awaitable[Mark]]

EVENTS = 100
IN_BLOCK = 10
BLOCKS = EVENTS // IN_BLOCK

#: Two segments: the oldest is dropped soon after the third begins.
_MOST = {"x-max-length-bytes": 2_000_000}


@pytest.fixture
async def streams(amqp_url: str) -> AsyncIterator[str]:
    await declare_streams(amqp_url, **_MOST)
    yield amqp_url
    await delete_streams(amqp_url)


@pytest.fixture
async def replays(
    database: Database, archive: Archive, links: Links, streams: str
) -> AsyncIterator[Replays]:
    publisher = Publisher([streams], name="test replays")
    await publisher.start()
    await publisher.ready()
    replays = Replays(database, archive, publisher, Depth(links))
    running = asyncio.create_task(replays.run())
    yield replays
    running.cancel()
    await asyncio.wait([running])
    await publisher.close()


@pytest.fixture
def record(database: Database, links: Links, archive: Archive) -> Record:
    async def record() -> Mark:
        """Record all that there is of the archive, and return how far that is."""
        recording = asyncio.create_task(Recorder(database, links).run())

        async def recorded() -> Mark | None:
            async with database.reading() as connection:
                mark = (await read_marks(connection)).get(names.ARCHIVE)
            bounds = await archive.bounds()
            return mark if mark and bounds and mark.last == bounds.last else None

        mark: Mark = await eventually(recorded, what="the archive is recorded")
        recording.cancel()
        await asyncio.wait([recording])
        return mark

    return record


def large(number: int, **fields: str) -> Envelope:
    """Make an event that cannot be compressed, of which a segment takes some sixty."""
    return history.event(number, body=os.urandom(15_000), **fields)


async def write(writer: Writer, **fields: str) -> None:
    """Write one event after another of the same route, in blocks."""
    await writer.events([large(0, **fields) for _ in range(EVENTS)], in_block=IN_BLOCK)


async def drop(writer: Writer, archive: Archive, beyond: int) -> int:
    """Write on until the broker has dropped what is before an offset; return the oldest."""
    while (bounds := await archive.bounds()) is None or bounds.first <= beyond:
        await writer.events([large(1) for _ in range(IN_BLOCK)], in_block=IN_BLOCK)
    return bounds.first


async def planned(replays: Replays) -> Replay:
    """Plan a replay of what `write` has written."""
    wanted = Selection(filter=Filter(trigger_id=history.event(0).trigger_id))
    replay = await replays.plan(wanted, rate=0, actor=ROUTER)

    async def is_planned() -> Replay | None:
        found = await replays.get(replay.id)
        return found if found.state == "planned" else None

    found: Replay = await eventually(is_planned, what="it is planned")
    return found


async def test_what_left_the_archive_is_counted_by_the_plan_and_before_the_start(
    archive: Archive, writer: Writer, record: Record, replays: Replays, streams: str
) -> None:
    event = history.event(0)
    await declare_route(streams, "x", names.flow_queue(event.group, event.flow), "k")
    await write(writer)
    await record()
    early = await planned(replays)
    assert (early.total, early.gone) == (EVENTS, 0)

    first = await drop(writer, archive, 0)
    gone = IN_BLOCK * min(first, BLOCKS)
    with pytest.raises(WrongState, match=f"{gone} of its {EVENTS} events have left the archive"):
        await replays.start(early.id, None, ROUTER)
    early = await replays.get(early.id)
    assert (early.state, early.gone_since) == ("planned", gone)
    late = await planned(replays)
    assert (late.total, late.gone) == (EVENTS - gone, gone)

    await replays.start(early.id, None, ROUTER)

    async def done() -> Replay | None:
        found = await replays.get(early.id)
        return found if found.state == "done" else None

    ended = await eventually(done, what="it has gone on without them")
    assert (ended.position, ended.skipped) == (EVENTS, gone)


async def test_what_was_dropped_before_it_was_recorded_is_counted(
    archive: Archive, writer: Writer, record: Record
) -> None:
    await write(writer)
    await record()
    first = await drop(writer, archive, BLOCKS)
    assert (await record()).missed == first - BLOCKS
