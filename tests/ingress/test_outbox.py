"""Departures to a real broker: which events leave together, and what is said of them later."""

import asyncio
from collections.abc import AsyncIterator, Sequence

import pytest
from tests.support.proxy import Proxy
from tests.support.topology import collecting, linked
from tests.support.waiting import eventually

from turnout.ingress import outbox as module
from turnout.ingress.outbox import Outbox
from turnout.router.declare import declare
from turnout.router.topology import Binding, Exchange, Queue, Topology
from turnout.shared import names
from turnout.shared.amqp import properties_of
from turnout.shared.block import Block
from turnout.shared.publisher import (
    ACCEPTED,
    DISCONNECTED,
    UNROUTABLE,
    Confirm,
    Publisher,
    Verdict,
)

QUEUE = "q"

#: The archive, from which the test reads the blocks, and one route for all events.
TOPOLOGY = Topology(
    frozenset([Exchange(names.ARCHIVE), Exchange(names.TRIGGERS, "direct")]),
    frozenset([Queue(names.ARCHIVE, {"x-queue-type": "stream"}), Queue(QUEUE, {})]),
    frozenset([Binding(names.ARCHIVE, names.ARCHIVE), Binding(names.TRIGGERS, QUEUE, "key")]),
)


@pytest.fixture
async def proxy(amqp_url: str) -> AsyncIterator[Proxy]:
    """A proxy before the broker."""
    async with Proxy(amqp_url) as proxy:
        yield proxy


@pytest.fixture
async def publisher(amqp_url: str, proxy: Proxy) -> AsyncIterator[Publisher]:
    async with linked(amqp_url) as link:
        await declare(link, TOPOLOGY)
    publisher = Publisher([proxy.url], name="test")
    await publisher.start()
    await publisher.ready()
    yield publisher
    await publisher.close()


@pytest.fixture
async def outbox(publisher: Publisher, request: pytest.FixtureRequest) -> Outbox:
    return Outbox(publisher, request.node.name)


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

            found: list[bytes] = await eventually(ours, what=f"there are {count} blocks")
        assert len(found) == count
        return found

    async def blocks(self, count: int) -> list[Block]:
        """Wait until there are so many blocks, and return them."""
        return [Block.decode(each) for each in await self.bodies(count)]


@pytest.fixture
def reader(amqp_url: str, request: pytest.FixtureRequest) -> Reader:
    return Reader(amqp_url, request.node.name)


def add(outbox: Outbox, received_at: int, encoded: bytes) -> asyncio.Future[Confirm]:
    return outbox.publish("evt", "key", received_at, encoded)


async def write(outbox: Outbox, events: Sequence[bytes], first: int = 1) -> None:
    """Write events of one turn of the event loop, received one nanosecond after the other."""
    futures = [add(outbox, first + number, each) for number, each in enumerate(events)]
    assert await asyncio.gather(*futures) == [ACCEPTED] * len(events)


async def test_all_events_of_a_turn_are_in_one_block_in_order(
    outbox: Outbox, reader: Reader
) -> None:
    events = [b"event %d" % number for number in range(500)]
    await write(outbox, events, first=1000)
    (block,) = await reader.blocks(1)
    assert block.events == tuple(events)
    assert (block.sequence, block.first, block.last) == (1, 1000, 1499)
    assert block.verdicts == ()


async def test_events_of_callers_that_run_side_by_side_share_a_block_too(
    outbox: Outbox, reader: Reader
) -> None:
    async def call(number: int) -> None:
        assert await add(outbox, number, b"%d" % number) == ACCEPTED

    await asyncio.gather(*(call(number) for number in range(50)))
    (block,) = await reader.blocks(1)
    assert len(block.events) == 50


async def test_blocks_are_numbered_without_gaps_and_each_event_is_in_one(
    outbox: Outbox, reader: Reader
) -> None:
    for number in range(20):
        await write(outbox, [b"%d" % number] * (number + 1), first=number)
    blocks = await reader.blocks(20)
    assert [each.sequence for each in blocks] == list(range(1, 21))
    assert [each.events for each in blocks] == [(b"%d" % n,) * (n + 1) for n in range(20)]


async def test_what_comes_while_some_are_under_way_leaves_together_when_they_have_ended(
    outbox: Outbox, proxy: Proxy, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT", 60.0)
    monkeypatch.setattr(module, "_MOST_UNDER_WAY", 1)
    proxy.hold_replies()
    futures = [add(outbox, 0, b"0")]
    await eventually(lambda: proxy.held, what="the broker has confirmed some")
    for number in range(1, 10):
        futures.append(add(outbox, number, b"%d" % number))
        await asyncio.sleep(0)
    proxy.thaw()
    assert await asyncio.gather(*futures) == [ACCEPTED] * 10
    blocks = await reader.blocks(2)
    assert [each.events for each in blocks] == [
        (b"0",),
        tuple(b"%d" % number for number in range(1, 10)),
    ]


async def test_an_event_does_not_wait_long_for_those_under_way(
    outbox: Outbox, proxy: Proxy, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOST_UNDER_WAY", 1)
    proxy.hold_replies()
    futures = [add(outbox, 1, b"one")]
    await eventually(lambda: proxy.held, what="the broker has confirmed some")
    futures.append(add(outbox, 2, b"two"))
    assert [each.events for each in await reader.blocks(2)] == [(b"one",), (b"two",)]
    proxy.thaw()
    assert await asyncio.gather(*futures) == [ACCEPTED] * 2


async def test_an_event_without_a_route_is_refused_there_and_in_the_archive_all_the_same(
    outbox: Outbox, reader: Reader
) -> None:
    futures = [outbox.publish("evt_1", "nowhere", 1, b"lost"), add(outbox, 2, b"event")]
    assert await asyncio.gather(*futures) == [UNROUTABLE, ACCEPTED]
    (block,) = await reader.blocks(1)
    assert block.events == (b"lost", b"event")


async def test_a_block_holds_a_mebibyte_or_one_event(outbox: Outbox, reader: Reader) -> None:
    sizes = [400_000, 400_000, 400_000, 648_576, 1, 3_000_000, 1, 1]
    events = [bytes([number]) * size for number, size in enumerate(sizes)]
    await write(outbox, events)
    blocks = await reader.blocks(5)
    assert [[len(event) for event in block.events] for block in blocks] == [
        *([400_000, 400_000], [400_000, 648_576], [1], [3_000_000], [1, 1])
    ]
    assert [event for block in blocks for event in block.events] == events
    assert [each.sequence for each in blocks] == [1, 2, 3, 4, 5]


async def test_small_blocks_are_compressed_and_large_ones_do_not_hold_up_the_loop(
    outbox: Outbox, reader: Reader
) -> None:
    await write(outbox, [b"small" * 1000])
    await write(outbox, [b"large" * 40_000])
    small, large = await reader.bodies(2)
    assert len(small) < 500
    assert len(large) > 200_000


# -- what turns out later


async def test_a_verdict_goes_along_with_the_next_events(outbox: Outbox, reader: Reader) -> None:
    await write(outbox, [b"one"])
    outbox.retract("evt_1", Verdict.UNKNOWN)
    outbox.retract("evt_2", Verdict.REFUSED)
    await write(outbox, [b"two"])
    first, second = await reader.blocks(2)
    assert first.verdicts == ()
    assert second.verdicts == (("evt_1", "unknown"), ("evt_2", "refused"))
    assert second.events == (b"two",)


async def test_a_verdict_does_not_wait_long_for_events(
    outbox: Outbox, reader: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_VERDICT_DELAY", 0.05)
    outbox.retract("evt_1", Verdict.REFUSED)
    outbox.retract("evt_2", Verdict.REFUSED)
    (block,) = await reader.blocks(1)
    assert block.verdicts == (("evt_1", "refused"), ("evt_2", "refused"))
    assert (block.events, block.first, block.last) == ((), 0, 0)


async def test_a_verdict_is_kept_until_the_broker_has_it(
    outbox: Outbox,
    publisher: Publisher,
    proxy: Proxy,
    reader: Reader,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_VERDICT_DELAY", 0.05)
    proxy.down()
    await eventually(lambda: publisher.trouble is DISCONNECTED)
    outbox.retract("evt_1", Verdict.UNKNOWN)
    assert await add(outbox, 1, b"lost") == DISCONNECTED
    outbox.retract("evt_2", Verdict.REFUSED)
    await proxy.up()
    (block,) = await reader.blocks(1)
    assert block.verdicts == (("evt_1", "unknown"), ("evt_2", "refused"))
    assert block.events == ()


async def test_the_verdicts_of_a_long_outage_are_bounded(outbox: Outbox) -> None:
    for number in range(100_010):
        outbox.retract(f"evt_{number}", Verdict.REFUSED)
    assert len(outbox._verdicts) == 100_000
    assert outbox._verdicts[-1] == ("evt_100009", "refused")
    outbox._verdicts.clear()


# -- trouble


async def test_without_a_broker_every_event_of_the_block_is_told_so(
    outbox: Outbox, publisher: Publisher, proxy: Proxy
) -> None:
    proxy.down()
    await eventually(lambda: publisher.trouble is DISCONNECTED)
    futures = [add(outbox, 1, b"event") for _ in range(100)]
    assert await asyncio.gather(*futures) == [DISCONNECTED] * 100


async def test_a_caller_that_gives_up_does_not_disturb_its_neighbours(
    outbox: Outbox, reader: Reader
) -> None:
    futures = [add(outbox, number, b"%d" % number) for number in range(10)]
    for each in futures[::3]:
        each.cancel()
    left = [each for each in futures if not each.cancelled()]
    assert await asyncio.gather(*left) == [ACCEPTED] * len(left)
    (block,) = await reader.blocks(1)
    assert len(block.events) == 10
