"""The items of a replay with what they repeat, read from SQL and the archive ahead of time."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import NamedTuple

from turnout.router.history.archive import Archive, Picker, Place
from turnout.router.replay import plan
from turnout.router.replay.plan import Item
from turnout.router.replay.replay import Replay
from turnout.router.replay.store import Store
from turnout.shared.envelope import Envelope
from turnout.shared.errors import InvalidEnvelope

#: Items that are read at once: at first, and at most; and bytes of bodies, about.
_FIRST = 500
_MOST = 4000
_MOST_BYTES = 16 * 1024 * 1024


class Due(NamedTuple):
    """An item whose turn it is."""

    number: int
    item: Item
    event: Envelope | None
    """What it repeats; None: it is gone."""


class Items:
    """The items from a position on.

    Args:
        replay: the row of the replay.
        store: where items and dead letters are.
        picker: reads the archive.
        position: of the first one.
    """

    def __init__(self, replay: Replay, store: Store, picker: Picker, position: int) -> None:
        self._replay = replay
        self._store = store
        self._picker = picker
        self._count = _FIRST
        self._here: Sequence[Due] = ()
        self._begin = 0
        self._next = position
        self._reading = asyncio.create_task(self._read(position), name="replay reads on")

    async def first(self, count: int) -> Sequence[Due]:
        """Return the first ones, at most so many; none when there are no more.

        Raises:
            DatabaseUnavailable, BrokerError: they cannot be read.
        """
        if self._begin == len(self._here):
            self._here, self._begin = await self._reading, 0
            if self._here:
                following = self._here[-1].number + 1
                self._reading = asyncio.create_task(self._read(following), name="replay reads on")
        return self._here[self._begin : self._begin + count]

    def drop(self, count: int) -> None:
        """Go on behind some that were returned."""
        self._begin += count

    async def close(self) -> None:
        """Stop reading."""
        self._reading.cancel()
        await asyncio.wait([self._reading])

    async def _read(self, position: int) -> Sequence[Due]:
        items = await self._store.items(self._replay.id, position, self._count)
        events = await self._events(items)
        size = sum(len(each.body) for each in events.values())
        self._count = max(1, min(_MOST, _MOST_BYTES * len(items) // (size or 1)))
        return [
            Due(number, item, events.get(item.event_id))
            for number, item in enumerate(items, position)
        ]

    async def _events(self, items: Sequence[Item]) -> Mapping[str, Envelope]:
        if self._replay.source == plan.DEAD:
            letters = map(_decoded, await self._store.bodies([each.origin for each in items]))
            events = {event.event_id: event for event in letters if event is not None}
        else:
            places = [Place(each.stream_offset, each.stream_index, each.event_id) for each in items]
            events = await self._picker.events(places)
        for erased in await self._store.erased(list(events)):
            del events[erased]
        return events


@asynccontextmanager
async def reading(
    replay: Replay, store: Store, archive: Archive, position: int
) -> AsyncIterator[Items]:
    """Read the items of a replay from a position on, for the length of a context."""
    async with archive.picking() as picker:
        items = Items(replay, store, picker, position)
        try:
            yield items
        finally:
            await items.close()


def _decoded(body: bytes) -> Envelope | None:
    try:
        return Envelope.decode(body)
    except InvalidEnvelope:
        return None
