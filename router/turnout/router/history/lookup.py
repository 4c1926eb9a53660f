"""Look-up: what happened to calls, from SQL and, for their payloads, from the archive."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from turnout.router.database import Database
from turnout.router.history import erasure, search, story
from turnout.router.history.archive import Archive, Archived, Bounds, Place
from turnout.router.history.recorder import Mark, read_marks
from turnout.router.history.search import Filter, Record
from turnout.router.history.statistics import Statistics, statistics
from turnout.router.history.story import Story
from turnout.router.history.where import Where
from turnout.router.letters import dead, unrouted
from turnout.router.registry import Actor, NotFound, changing
from turnout.router.replay import store
from turnout.shared import names
from turnout.shared.envelope import Envelope
from turnout.shared.errors import TurnoutError

#: By how much clocks of ingress and broker may differ, and an event wait for its block.
_SLACK = timedelta(minutes=1)

#: Blocks that are read at once, to be told backwards: first few, for the newest to come soon.
_FIRST_PART = 50
_MOST_PART = 2000
#: Messages with which the broker begins at a moment, at most: it begins somewhat before.
_MOST_CHUNK = 4096
_NOTHING = Bounds(0, -1)

#: Seconds between two words on how far a scan has come.
_TELLING = 0.5


class PayloadGone(TurnoutError):
    """The payload of an event cannot be had any more."""


class Scanned(NamedTuple):
    """How far a scan of the archive has come, and what it has found since the last word on it."""

    events: int
    """How many were looked at so far."""
    share: float
    """Of the archive, as far as it is wanted: 0 to 1."""
    found: list[Record]


class Lag(NamedTuple):
    """How far a stream is recorded."""

    stream: str
    mark: Mark
    bounds: Bounds | None
    """Of what is at the broker."""

    @property
    def messages(self) -> int:
        """How many are still to be recorded."""
        return 0 if self.bounds is None else max(0, self.bounds.last - self.mark.last)


class History:
    """Answers what happened.

    Every verb raises `database.DatabaseUnavailable` when the database does not answer; those that
    read the archive raise `BrokerError` when the broker does not.

    Args:
        database: holds the history.
        archive: holds the payloads.
    """

    def __init__(self, database: Database, archive: Archive) -> None:
        self._database = database
        self._archive = archive

    async def newest(self, wanted: Filter, *, before: str | None, limit: int) -> list[Record]:
        """Return the newest runs that are wanted, see `search.newest`."""
        async with self._database.reading() as connection:
            return await search.newest(connection, wanted, before=before, limit=limit)

    async def statistics(self, wanted: Filter) -> Statistics:
        """Return what became of the runs that are wanted, see `statistics.statistics`."""
        async with self._database.reading() as connection:
            return await statistics(connection, wanted)

    async def story(self, event_id: str) -> Story:
        """Return all that is known of an event.

        Raises:
            NotFound: nothing is.
        """
        async with self._database.reading() as connection:
            found = await story.tell(connection, event_id)
        if found is None:
            raise NotFound("event", event_id)
        return found

    async def event_of(self, run_id: str) -> str:
        """Return the id of a run's event.

        Raises:
            NotFound: there is no such run.
        """
        async with self._database.reading() as connection:
            event_id = await story.event_of(connection, run_id)
        if event_id is None:
            raise NotFound("run", run_id)
        return event_id

    async def payload(self, event_id: str) -> Envelope:
        """Return an event as it came.

        Raises:
            NotFound: there is no such event.
            PayloadGone: it is erased, or the archive has dropped it.
        """
        found = await self.story(event_id)
        if found.erasure is not None:
            raise PayloadGone(f"{event_id} was erased: {found.erasure.reason}")
        event = found.event
        if event is None:
            raise PayloadGone(f"{event_id} is not in the archive, as far as it is recorded")
        place = Place(event.stream_offset, event.stream_index, event_id)
        envelope = await self._archive.event(place)
        if envelope is None:
            raise PayloadGone(f"the archive does not keep {event_id} any more: it was too old")
        return envelope

    async def scan(self, wanted: Filter, where: Where, *, limit: int) -> AsyncGenerator[Scanned]:
        """Look through the archive, from the newest event that is wanted to the oldest.

        Ends when so many were found, or there are no more; stop iterating to give up. What the
        recorder has not come to is not found yet.
        """
        bounds = await self._span(wanted)
        scanned, told_at = 0, time.monotonic()
        end, size = bounds.last, _FIRST_PART
        while end >= bounds.first and limit:
            begin = max(bounds.first, end - size + 1)
            # A stream is read forwards: of each part the newest are kept, and told backwards.
            newest = deque[Record](maxlen=limit)
            async with aclosing(self._archive.read(begin, end)) as blocks:
                async for block in blocks:
                    scanned += len(block)
                    newest += await self._matching(block, wanted, where)
                    if time.monotonic() - told_at > _TELLING:
                        told_at = time.monotonic()
                        yield Scanned(scanned, bounds.share(end), [])
                    await asyncio.sleep(0)  # a block may be decoded at once: others have their turn
            limit -= len(newest)
            end, size = begin - 1, min(2 * size, _MOST_PART)
            yield Scanned(scanned, bounds.share(end), [*reversed(newest)])

    async def _span(self, wanted: Filter) -> Bounds:
        """Return the part of the archive that may hold what is wanted."""
        bounds = await self._archive.bounds()
        if bounds is None:
            return _NOTHING
        first, last = bounds
        if wanted.since is not None:
            found = await self._archive.offset_at(_moment(wanted.since) - _SLACK)
            if found is None:
                return _NOTHING
            first = max(first, found)
        if wanted.until is not None:
            found = await self._archive.offset_at(_moment(wanted.until) + _SLACK)
            if found is not None:
                last = min(last, found + _MOST_CHUNK)
        return Bounds(first, last)

    async def erase(self, event_id: str, reason: str, actor: Actor) -> None:
        """Erase an event, see `erasure`, and what was kept of it elsewhere.

        Args:
            event_id: which.
            reason: why, for whoever asks for it.
            actor: who wants it gone.

        Raises:
            Conflict: a replay that has not ended changes its body.
            NotFound: there is no such event.
        """
        async with changing(self._database, actor) as change:
            found = await story.tell(change.connection, event_id)
            if found is None:
                raise NotFound("event", event_id)
            await erasure.erase(change.connection, event_id, reason, time.time_ns())
            await dead.empty(change.connection, event_id)
            await unrouted.drop(change.connection, event_id)
            await store.forget_edits(change.connection, event_id)
            group = found.runs[0].group_slug if found.runs else None
            await change.note("event.erase", object_id=event_id, label=event_id, group=group)

    async def lag(self) -> list[Lag]:
        """Tell how far the streams are recorded."""
        async with self._database.reading() as connection:
            marks = await read_marks(connection)
        return [
            Lag(stream, marks.get(stream, Mark.before()), await self._archive.bounds(stream))
            for stream in (names.ARCHIVE, names.OUTCOMES)
        ]

    async def _matching(self, block: list[Archived], wanted: Filter, where: Where) -> list[Record]:
        """Return those events of a block that are wanted; none of them is erased."""
        run_ids = [
            envelope.run_id
            for _, envelope in block
            if wanted.takes(envelope) and where.matches(envelope)
        ]
        if not run_ids:
            return []
        async with self._database.reading() as connection:
            found = {each.id: each for each in await search.of_ids(connection, run_ids, wanted)}
        return [
            found[each] for each in run_ids if each in found and found[each].received_at is not None
        ]


def _moment(nanoseconds: int) -> datetime:
    return datetime.fromtimestamp(nanoseconds / 1e9, UTC)
