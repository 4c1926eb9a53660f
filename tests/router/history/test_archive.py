"""The archive, as it is read: by places, by ranges, and with a part of it gone."""

from datetime import UTC, datetime

import pytest
from tests.support import history
from tests.support.history import Writer

from turnout.router.history import archive as module
from turnout.router.history.archive import Archive, Place
from turnout.shared.envelope import Envelope


async def everything(archive: Archive) -> list[tuple[Place, Envelope]]:
    bounds = await archive.bounds()
    assert bounds is not None
    return [each async for block in archive.read("first", bounds.last) for each in block]


async def test_all_events_are_read_in_order_with_their_places(
    archive: Archive, writer: Writer
) -> None:
    events = [history.event(number) for number in range(430)]
    await writer.events(events, in_block=20)
    found = await everything(archive)
    assert [envelope for _, envelope in found] == events
    assert [place for place, _ in found] == [
        Place(number // 20, number % 20, each.event_id) for number, each in enumerate(events)
    ]


async def test_chosen_events_are_found_near_and_far_and_in_the_same_block(
    archive: Archive, writer: Writer
) -> None:
    events = [history.event(number) for number in range(2000)]
    await writer.events(events, in_block=2)
    found = await everything(archive)
    wanted = [found[number] for number in (3, 0, 1, 1999, 700, 701, 702, 40)]
    async with archive.picking() as picker:
        for some in (wanted[:3], wanted[3:]):  # the second part goes back
            picked = await picker.events(place for place, _ in some)
            assert picked == {place.event_id: envelope for place, envelope in some}
    for place, envelope in wanted[:3]:
        assert await archive.event(place) == envelope


async def test_what_the_archive_has_not_is_not_picked(archive: Archive, writer: Writer) -> None:
    first, second = history.event(1), history.event(2)
    await writer.events([first])
    places = [
        Place(0, 0, second.event_id),  # another event is there
        Place(0, 1, second.event_id),  # the block has no more
        Place(0, 0, first.event_id),
    ]
    async with archive.picking() as picker:
        assert await picker.events(places) == {first.event_id: first}


async def test_reading_begins_at_a_moment_and_ends_at_an_offset(
    archive: Archive, writer: Writer
) -> None:
    events = [history.event(number) for number in range(10)]
    await writer.events(events, in_block=1)
    at = datetime.fromtimestamp(events[0].received_at / 1e9, UTC)
    found = [each async for block in archive.read(at, 4) for each in block]
    assert [envelope for _, envelope in found] == events[:5]


async def test_an_empty_archive_has_no_bounds(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PATIENCE", 0.3)
    assert await archive.bounds() is None
