"""The archive, as it is read: single events by where they are, or all of them in order.

    place = (offset of its block in the stream, number in the block, event id)

The broker drops the oldest blocks by age and size. What is gone is said, never passed over: compare
`bounds` with what is wanted before reading; an event that is gone meanwhile comes as None.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from turnout.router.history.stream import Message, Start, StreamReader
from turnout.router.link import Links
from turnout.shared import log, names
from turnout.shared.block import Block
from turnout.shared.envelope import Envelope
from turnout.shared.errors import BrokerError, InvalidEnvelope

logger = log.get(__name__)

#: Seconds in which the broker begins to deliver what is there.
_PATIENCE = 5.0
#: The same at a moment, after which there may be nothing at all.
_PATIENCE_AT = 1.0
#: Seconds without a further message that mean: this was the newest.
_QUIET = 0.1
#: Blocks that are read over rather than sought for, and blocks that a picker keeps.
_READ_OVER = 200
_KEPT = 50


class Place(NamedTuple):
    """Where an event is in the archive; places sort in the order of the stream."""

    offset: int
    number: int
    event_id: str


class Archived(NamedTuple):
    """An event of the archive."""

    place: Place
    envelope: Envelope


class Bounds(NamedTuple):
    """The offsets of the oldest and the newest message of a stream."""

    first: int
    last: int

    def share(self, end: int) -> float:
        """Tell which share of it is behind somebody who comes from its end, and is at an offset."""
        return (self.last - end) / max(1, self.last - self.first + 1)


class Archive:
    """Reads the archive.

    Args:
        links: the connection to the broker.
    """

    def __init__(self, links: Links) -> None:
        self._links = links

    async def bounds(self, stream: str = names.ARCHIVE) -> Bounds | None:
        """Tell from where to where the archive, or another stream, goes; None if it is empty.

        Raises:
            BrokerError: the broker cannot be reached or does not go on, or there is no archive.
        """
        async with self._reading("first", stream) as reader:
            oldest = await reader.take(_PATIENCE)
        if not oldest:
            return None
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _PATIENCE
        async with self._reading("last", stream) as reader:  # with the newest chunk of messages
            newest = await reader.take(_PATIENCE)
            while newest and loop.time() < deadline and (more := await reader.take(_QUIET)):
                newest = more
        if not newest:
            raise BrokerError(f"RabbitMQ does not deliver the newest of {stream}")
        return Bounds(oldest[0].offset, newest[-1].offset)

    async def offset_at(self, moment: datetime) -> int | None:
        """Return the offset of a block of about a moment, or before; None if none is that new.

        Raises:
            BrokerError: the broker cannot be reached, or there is no archive.
        """
        async with self._reading(moment) as reader:
            messages = await reader.take(_PATIENCE_AT)
        return messages[0].offset if messages else None

    async def event(self, place: Place) -> Envelope | None:
        """Return one event; None if the archive does not hold it any more.

        Raises:
            BrokerError: the broker cannot be reached, or there is no archive.
        """
        async with self.picking() as picker:
            return (await picker.events([place])).get(place.event_id)

    @asynccontextmanager
    async def picking(self) -> AsyncIterator["Picker"]:
        """Read chosen events, for the length of a context."""
        picker = Picker(self._begin, self.bounds)
        try:
            yield picker
        finally:
            await picker.close()

    async def read(self, start: Start, last: int) -> AsyncGenerator[list[Archived]]:
        """Read all events in the order of the stream, block by block.

        Args:
            start: where to begin; at a moment, some older ones come first.
            last: the offset of the last block that is read, see `bounds`.

        Raises:
            BrokerError: the broker cannot be reached, or does not go on.
        """
        async with self._reading(start) as reader:
            while messages := await reader.take(_PATIENCE):
                for message in messages:
                    if message.offset > last:
                        return
                    yield list(_events(message))
                    if message.offset == last:
                        return
        raise BrokerError(f"RabbitMQ delivers no more of {names.ARCHIVE} before offset {last}")

    @asynccontextmanager
    async def _reading(
        self, start: Start, stream: str = names.ARCHIVE
    ) -> AsyncIterator[StreamReader]:
        reader = await self._begin(start, stream)
        try:
            yield reader
        finally:
            await _end(reader)

    async def _begin(self, start: Start, stream: str = names.ARCHIVE) -> StreamReader:
        reader = StreamReader()
        await reader.start(await self._links.connected(), stream, start)
        return reader


class Picker:
    """Picks events, going from one block to a later one.

    Of blocks that are near it reads on, and else begins there anew. The latest are kept: events
    that came at the same time lie in some blocks side by side.

    Args:
        begin: starts to read the archive at an offset.
        bounds: tells from where to where it goes.
    """

    def __init__(
        self,
        begin: Callable[[Start], Awaitable[StreamReader]],
        bounds: Callable[[], Awaitable[Bounds | None]],
    ) -> None:
        self._begin = begin
        self._bounds = bounds
        self._reader: StreamReader | None = None
        self._waiting: deque[Message] = deque()
        self._next = 0
        self._latest: dict[int, Block | None] = {}

    async def events(self, places: Iterable[Place]) -> dict[str, Envelope]:
        """Return events by their id, without those that are gone.

        Raises:
            BrokerError: the broker cannot be reached, does not go on, or there is no archive.
        """
        found = {}
        for offset, group in groupby(sorted(places), attrgetter("offset")):
            block = await self._block(offset)
            for place in group:
                event = _event(block, place)
                if event is not None:
                    found[event.event_id] = event
        return found

    async def close(self) -> None:
        """Stop reading."""
        if self._reader is not None:
            await _end(self._reader)
            self._reader = None
            self._waiting.clear()

    async def _block(self, offset: int) -> Block | None:
        if offset not in self._latest:
            message = await self._message(offset)
            self._latest[offset] = message and block_of(message)
            if len(self._latest) > _KEPT:
                del self._latest[next(iter(self._latest))]
        return self._latest[offset]

    async def _message(self, offset: int) -> Message | None:
        """Return the message at an offset; None if it is gone, or not there yet.

        Raises:
            BrokerError: it is there, and does not come.
        """
        if self._reader is None or not self._next <= offset <= self._next + _READ_OVER:
            await self.close()
            self._reader = await self._begin(offset)
            self._next = offset
        while self._next <= offset:
            if not self._waiting:
                self._waiting.extend(await self._reader.take(_PATIENCE))
                if not self._waiting:
                    bounds = await self._bounds()
                    if bounds is None or bounds.last < offset:
                        return None
                    raise BrokerError(f"RabbitMQ does not deliver {names.ARCHIVE} at {offset}")
            message = self._waiting.popleft()
            self._next = message.offset + 1
            if message.offset == offset:
                return message
        return None


async def _end(reader: StreamReader) -> None:
    with suppress(BrokerError):  # it has ended by itself
        await reader.close()


def block_of(message: Message) -> Block | None:
    """Decode a block; None, with a line in the log, if it is none."""
    try:
        return Block.decode(message.body)
    except InvalidEnvelope as error:
        logger.warning("a block cannot be read", offset=message.offset, error=str(error))
        return None


def _event(block: Block | None, place: Place) -> Envelope | None:
    """Return the event at a place; None if something else is there: the stream was made anew."""
    if block is None or place.number >= len(block.events):
        return None
    try:
        envelope = Envelope.decode(block.events[place.number])
    except InvalidEnvelope as error:
        logger.warning("an event cannot be read", event_id=place.event_id, error=str(error))
        return None
    return envelope if envelope.event_id == place.event_id else None


def _events(message: Message) -> Iterator[Archived]:
    block = block_of(message)
    for number, encoded in enumerate(block.events if block else ()):
        try:
            envelope = Envelope.decode(encoded)
        except InvalidEnvelope as error:
            logger.warning(
                "an event cannot be read", offset=message.offset, number=number, error=str(error)
            )
        else:
            yield Archived(Place(message.offset, number, envelope.event_id), envelope)
