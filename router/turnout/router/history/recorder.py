"""The recorder: archive and outcomes into SQL, exactly once in effect.

    read both streams from where SQL says ──▶ fold ──▶ one transaction: rows, and where we are now
            ▲                                                       │
            └──────────── lost connection, database away ───────────┘

It may lag, and never loses: what was written and what is still to be read change together. Rows are
merged in an order of their own, so that to read something twice changes nothing. Of two recorders
that run at once, the one that comes second to a transaction finds that the stream was read on, and
begins again from there.

A stream that was made anew, or lost its end in a crash of the broker, is noticed by the checksum of
the last message that was recorded, and read again from its first message.
"""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import NamedTuple, Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router.database import Database, DatabaseUnavailable
from turnout.router.history.erasure import Erased
from turnout.router.history.fold import Batch
from turnout.router.history.models import StreamOffset
from turnout.router.history.stream import Message, StreamReader
from turnout.router.history.write import write
from turnout.router.link import Links
from turnout.shared import log, names
from turnout.shared.amqp import Link
from turnout.shared.backoff import Backoff
from turnout.shared.errors import BrokerError, TurnoutError

logger = log.get(__name__)

#: Seconds in which more may come before a batch is written: above all, how those runs end whose
#: events are in it. One that is written twice costs twice as much.
_GATHERING = 0.25
#: How often it is looked meanwhile whether that is enough.
_LOOKS = 10
#: Bytes of a stream in a batch, or one message: some thousand events and their outcomes, which are
#: not compressed, written in some tenths of a second. For that long other writers of SQLite wait.
_MOST_BYTES = {names.ARCHIVE: 256 * 1024, names.OUTCOMES: 1024 * 1024}
#: Seconds in which the broker begins to deliver what is there.
_PATIENCE = 5.0
#: Seconds behind that are worth a line in the log, and between two of these.
_LATE = 5.0


class Superseded(TurnoutError):
    """Another recorder has read on."""


class Mark(NamedTuple):
    """How far a stream is recorded: a row of `stream_offsets` without its name."""

    last: int
    checksum: int
    written_at: int
    unreadable: int
    missed: int

    @classmethod
    def before(cls) -> Self:
        """Before the first message."""
        return cls(-1, 0, 0, 0, 0)

    def after(self, messages: Sequence[Message], written_at: int, unreadable: int) -> Self:
        """Return the mark after some messages."""
        if not messages:
            return self
        return self._replace(
            last=messages[-1].offset,
            checksum=zlib.crc32(messages[-1].body),
            written_at=max(self.written_at, written_at),
            unreadable=self.unreadable + unreadable,
        )

    def is_at(self, message: Message) -> bool:
        """Tell whether this is the last message that was recorded."""
        return message.offset == self.last and zlib.crc32(message.body) == self.checksum


class _Source:
    """One stream that is being recorded.

    Attributes:
        mark: how far it is recorded.
        waiting: what was read and is not recorded.
    """

    def __init__(self, stream: str, mark: Mark, arrived: asyncio.Event) -> None:
        self.stream = stream
        self.mark = mark
        self.waiting: list[Message] = []
        self._arrived = arrived
        self._reader = StreamReader(arrived.set)

    async def open(self, link: Link) -> None:
        """Begin to read after the last message that is recorded.

        Raises:
            BrokerError: the connection is gone, or there is no such stream.
        """
        last = self.mark.last
        await self._reader.start(link, self.stream, "first" if last < 0 else last)
        if last < 0:
            return
        found = await self._reader.take(_PATIENCE)
        if found and self.mark.is_at(found[0]):
            self.waiting = [*found[1:]]
        elif found and found[0].offset > last:
            gone = found[0].offset - last - 1
            logger.error("the stream was cut before it was recorded", stream=self.stream, gone=gone)
            self.mark = self.mark._replace(missed=self.mark.missed + gone)
            self.waiting = [*found]
        else:
            logger.warning("the stream was made anew, and is read again", stream=self.stream)
            await self.close()
            self._reader = StreamReader(self._arrived.set)
            await self._reader.start(link, self.stream, "first")

    def read(self) -> None:
        """Take in what has come.

        Raises:
            BrokerError: nothing will come any more.
        """
        self.waiting += self._reader.taken()

    @property
    def is_full(self) -> bool:
        """Whether enough waits for a batch."""
        return sum(len(each.body) for each in self.waiting) >= _MOST_BYTES[self.stream]

    def next(self) -> list[Message]:
        """Hand out messages for one batch."""
        size = 0
        for number, each in enumerate(self.waiting):
            size += len(each.body)
            if size > _MOST_BYTES[self.stream] and number:
                messages, self.waiting = self.waiting[:number], self.waiting[number:]
                return messages
        messages, self.waiting = self.waiting, []
        return messages

    async def close(self) -> None:
        """Stop reading."""
        with suppress(BrokerError):  # it has ended by itself
            await self._reader.close()


class Recorder:
    """Records both streams.

    Args:
        database: where to.
        links: the connection to the broker.
    """

    def __init__(self, database: Database, links: Links) -> None:
        self._database = database
        self._links = links
        self._erased = Erased()
        self._told_at = float("-inf")

    async def run(self) -> None:
        """Record for ever, whatever is away in between."""
        backoff = Backoff(0.2, 5.0)
        while True:
            try:
                async with self._sources() as (archive, outcomes, arrived):
                    while True:
                        await arrived.wait()
                        await self._record(archive, outcomes, arrived)
                        backoff.reset()
            except (BrokerError, DatabaseUnavailable, Superseded) as error:
                logger.warning("recording is interrupted", reason=str(error))
                await asyncio.sleep(backoff.delay())

    @asynccontextmanager
    async def _sources(self) -> AsyncIterator[tuple[_Source, _Source, asyncio.Event]]:
        link = await self._links.connected()
        async with self._database.reading() as connection:
            marks = await read_marks(connection)
        arrived = asyncio.Event()
        sources = []
        async with AsyncExitStack() as stack:
            for stream in (names.ARCHIVE, names.OUTCOMES):
                source = _Source(stream, marks.get(stream, Mark.before()), arrived)
                await source.open(link)
                stack.push_async_callback(source.close)
                sources.append(source)
            arrived.set()
            archive, outcomes = sources
            yield archive, outcomes, arrived

    async def _record(self, archive: _Source, outcomes: _Source, arrived: asyncio.Event) -> None:
        """Write one batch."""
        arrived.clear()
        for source in (archive, outcomes):
            source.read()
        for _ in range(_LOOKS):
            if archive.is_full or outcomes.is_full:
                break
            await asyncio.sleep(_GATHERING / _LOOKS)
            for source in (archive, outcomes):
                source.read()
        events, ends = archive.next(), outcomes.next()
        if archive.waiting or outcomes.waiting:
            arrived.set()
        if not events and not ends:
            return
        batch = await asyncio.to_thread(Batch.of, events, ends)
        marks = (
            archive.mark.after(events, batch.newest_event, batch.bad_events),
            outcomes.mark.after(ends, batch.newest_outcome, batch.bad_outcomes),
        )
        rows = batch.rows()
        # What the disk has not got when the power goes is recorded again: both streams have it.
        async with self._database.writing(durable=False) as connection:
            await self._erased.strip(connection, rows)
            await write(connection, rows)
            for source, mark in zip((archive, outcomes), marks, strict=True):
                if mark != source.mark:
                    await _move(connection, source.stream, source.mark, mark)
        archive.mark, outcomes.mark = marks
        self._tell_lag(batch.newest_event)

    def _tell_lag(self, newest: int) -> None:
        """Say in the log now and then how far behind it is."""
        behind = time.time() - newest / 1e9
        now = time.monotonic()
        if newest and behind > _LATE and now - self._told_at > _LATE:
            self._told_at = now
            logger.info("history catches up", seconds_behind=round(behind, 1))


async def read_marks(connection: AsyncConnection) -> dict[str, Mark]:
    """Return how far each stream is recorded."""
    rows = await connection.execute(sa.select(StreamOffset.__table__))
    return {stream: Mark(*fields) for stream, *fields in rows}


async def _move(connection: AsyncConnection, stream: str, old: Mark, new: Mark) -> None:
    """Write how far a stream is recorded.

    Raises:
        Superseded: it is not where it was when this recorder wrote last.
    """
    if old.last < 0:
        values = {"stream": stream, **new._asdict()}
        try:
            await connection.execute(sa.insert(StreamOffset).values(values))
        except IntegrityError:
            raise Superseded(f"another recorder has begun with {stream}") from None
        return
    moved = await connection.execute(
        sa.update(StreamOffset)
        .values(new._asdict())
        .where(
            StreamOffset.stream == stream,
            StreamOffset.last == old.last,
            StreamOffset.checksum == old.checksum,
        )
    )
    if moved.rowcount != 1:
        raise Superseded(f"another recorder has read on in {stream}")
