"""Blocks in a real stream: which events are in which, and what is said of them later."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from tests.support.proxy import Proxy
from tests.support.topology import collecting, linked
from tests.support.waiting import eventually

from turnout.ingress import archive as module
from turnout.ingress.archive import Archive
from turnout.router.declare import declare
from turnout.router.topology import Binding, Exchange, Queue, Topology
from turnout.shared import names
from turnout.shared.amqp import properties_of
from turnout.shared.block import Block
from turnout.shared.publisher import ACCEPTED, DISCONNECTED, Publisher, Verdict

#: A stream, from which the test reads what the archive has written.
STREAM = Topology(
    frozenset([Exchange(names.ARCHIVE)]),
    frozenset([Queue(names.ARCHIVE, {"x-queue-type": "stream"})]),
    frozenset([Binding(names.ARCHIVE, names.ARCHIVE)]),
)


@pytest.fixture
async def proxy(amqp_url: str) -> AsyncIterator[Proxy]:
    """A proxy before the broker."""
    async with Proxy(amqp_url) as proxy:
        yield proxy


@pytest.fixture
async def publisher(amqp_url: str, proxy: Proxy) -> AsyncIterator[Publisher]:
    async with linked(amqp_url) as link:
        await declare(link, STREAM)
    publisher = Publisher([proxy.url], name="test")
    await publisher.start()
    await publisher.ready()
    yield publisher
    await publisher.close()


@pytest.fixture
def archive(publisher: Publisher, request: pytest.FixtureRequest) -> Archive:
    return Archive(publisher, request.node.name)


class Reader:
    """Reads the blocks of one test."""

    def __init__(self, url: str, process: str) -> None:
        self._url = url
        self._process = process

    async def bodies(self, count: int) -> list[bytes]:
        """Wait until there are so many blocks, and return them as they are."""
        async with collecting(self._url, names.ARCHIVE, stream=True) as collector:

            def ours() -> list[bytes] | None:
                assert all(
                    properties_of(each).message_type == "turnout.block"
                    for each in collector.deliveries
                )
                bodies = [each.body for each in collector.deliveries]
                found = [each for each in bodies if Block.decode(each).process == self._process]
                return found if len(found) >= count else None

            found: list[bytes] = await eventually(ours, 10, f"there are {count} blocks")
        assert len(found) == count
        return found

    async def blocks(self, count: int) -> list[Block]:
        """Wait until there are so many blocks, and return them."""
        return [Block.decode(each) for each in await self.bodies(count)]


@pytest.fixture
def reader(amqp_url: str, request: pytest.FixtureRequest) -> Reader:
    return Reader(amqp_url, request.node.name)


async def write(archive: Archive, events: Sequence[bytes], first: int = 1) -> None:
    """Write events of one turn of the event loop, received one nanosecond after the other."""
    futures = [archive.add(first + number, each) for number, each in enumerate(events)]
    assert await asyncio.gather(*futures) == [ACCEPTED] * len(events)


async def test_all_events_of_a_turn_are_in_one_block_in_order(
    archive: Archive, reader: Reader
) -> None:
    events = [b"event %d" % number for number in range(500)]
    await write(archive, events, first=1000)
    (block,) = await reader.blocks(1)
    assert block.events == tuple(events)
    assert (block.sequence, block.first, block.last) == (1, 1000, 1499)
    assert block.verdicts == ()


async def test_events_of_callers_that_run_side_by_side_share_a_block_too(
    archive: Archive, reader: Reader
) -> None:
    async def call(number: int) -> None:
        assert await archive.add(number, b"%d" % number) is ACCEPTED

    await asyncio.gather(*(call(number) for number in range(50)))
    (block,) = await reader.blocks(1)
    assert len(block.events) == 50


async def test_blocks_are_numbered_without_gaps_and_each_event_is_in_one(
    archive: Archive, reader: Reader
) -> None:
    for number in range(20):
        await write(archive, [b"%d" % number] * (number + 1), first=number)
    blocks = await reader.blocks(20)
    assert [each.sequence for each in blocks] == list(range(1, 21))
    assert [each.events for each in blocks] == [(b"%d" % n,) * (n + 1) for n in range(20)]


async def test_a_block_holds_a_mebibyte_or_one_event(archive: Archive, reader: Reader) -> None:
    sizes = [400_000, 400_000, 400_000, 648_576, 1, 3_000_000, 1, 1]
    events = [bytes([number]) * size for number, size in enumerate(sizes)]
    await write(archive, events)
    blocks = await reader.blocks(5)
    assert [[len(event) for event in block.events] for block in blocks] == [
        *([400_000, 400_000], [400_000, 648_576], [1], [3_000_000], [1, 1])
    ]
    assert [event for block in blocks for event in block.events] == events
    assert [each.sequence for each in blocks] == [1, 2, 3, 4, 5]


async def test_small_blocks_are_compressed_and_large_ones_do_not_hold_up_the_loop(
    archive: Archive, reader: Reader
) -> None:
    await write(archive, [b"small" * 1000])
    await write(archive, [b"large" * 40_000])
    small, large = await reader.bodies(2)
    assert len(small) < 500
    assert len(large) > 200_000


# -- what turns out later


async def test_a_verdict_goes_along_with_the_next_events(archive: Archive, reader: Reader) -> None:
    await write(archive, [b"one"])
    archive.retract("evt_1", Verdict.UNKNOWN)
    archive.retract("evt_2", Verdict.REFUSED)
    await write(archive, [b"two"])
    first, second = await reader.blocks(2)
    assert first.verdicts == ()
    assert second.verdicts == (("evt_1", "unknown"), ("evt_2", "refused"))
    assert second.events == (b"two",)


async def test_a_verdict_does_not_wait_long_for_events(
    archive: Archive, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_VERDICT_DELAY", 0.05)
    archive.retract("evt_1", Verdict.REFUSED)
    archive.retract("evt_2", Verdict.REFUSED)
    (block,) = await reader.blocks(1)
    assert block.verdicts == (("evt_1", "refused"), ("evt_2", "refused"))
    assert (block.events, block.first, block.last) == ((), 0, 0)


async def test_a_verdict_is_kept_until_the_broker_has_it(
    archive: Archive,
    publisher: Publisher,
    proxy: Proxy,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_VERDICT_DELAY", 0.05)
    proxy.down()
    await eventually(lambda: publisher.trouble is DISCONNECTED)
    archive.retract("evt_1", Verdict.UNKNOWN)
    assert await archive.add(1, b"lost") is DISCONNECTED
    archive.retract("evt_2", Verdict.REFUSED)
    await proxy.up()
    (block,) = await reader.blocks(1)
    assert block.verdicts == (("evt_1", "unknown"), ("evt_2", "refused"))
    assert block.events == ()


async def test_the_verdicts_of_a_long_outage_are_bounded(archive: Archive) -> None:
    for number in range(100_010):
        archive.retract(f"evt_{number}", Verdict.REFUSED)
    assert len(archive._verdicts) == 100_000
    assert archive._verdicts[-1] == ("evt_100009", "refused")
    archive._verdicts.clear()


# -- trouble


async def test_without_a_broker_every_event_of_the_block_is_told_so(
    archive: Archive, publisher: Publisher, proxy: Proxy
) -> None:
    proxy.down()
    await eventually(lambda: publisher.trouble is DISCONNECTED)
    futures = [archive.add(1, b"event") for _ in range(100)]
    assert await asyncio.gather(*futures) == [DISCONNECTED] * 100


async def test_a_caller_that_gives_up_does_not_disturb_its_neighbours(
    archive: Archive, reader: Reader
) -> None:
    futures = [archive.add(number, b"%d" % number) for number in range(10)]
    for each in futures[::3]:
        each.cancel()
    left = [each for each in futures if not each.cancelled()]
    assert await asyncio.gather(*left) == [ACCEPTED] * len(left)
    (block,) = await reader.blocks(1)
    assert len(block.events) == 10
