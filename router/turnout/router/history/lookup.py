"""Look-up: what happened to calls, from SQL and, for their payloads, from the archive."""

import asyncio
import time
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
from turnout.router.history.stream import Start
from turnout.router.history.where import Where
from turnout.router.registry import Actor, NotFound, changing
from turnout.shared import names
from turnout.shared.envelope import Envelope
from turnout.shared.errors import TurnoutError

#: By how much clocks of ingress and broker may differ, and an event wait for its block.
_SLACK = timedelta(minutes=1)
_SLACK_NS = int(_SLACK.total_seconds()) * 1_000_000_000

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
        """Look through the archive, from the oldest event that is wanted to the newest.

        Ends when so many were found, or there are no more; stop iterating to give up. What the
        recorder has not come to is not found yet.
        """
        bounds = await self._archive.bounds()
        if bounds is None:
            return
        since, until = wanted.since, wanted.until
        begin: Start = "first"
        if since is not None:
            begin = datetime.fromtimestamp(since / 1e9, UTC) - _SLACK
        scanned = found = 0
        first: int | None = None
        told_at = time.monotonic()
        async with aclosing(self._archive.read(begin, bounds.last)) as blocks:
            async for block in blocks:
                if not block:
                    continue
                offset = block[0].place.offset
                first = offset if first is None else first
                if until is not None and block[0].envelope.received_at >= until + _SLACK_NS:
                    return
                scanned += len(block)
                matches = await self._matching(block, wanted, where)
                now = time.monotonic()
                if matches or now - told_at > _TELLING:
                    told_at = now
                    share = (offset - first + 1) / (bounds.last - first + 1)
                    yield Scanned(scanned, share, matches[: limit - found])
                found += len(matches)
                if found >= limit:
                    return
                await asyncio.sleep(0)  # a block may be decoded at once: others have their turn
        yield Scanned(scanned, 1.0, [])

    async def erase(self, event_id: str, reason: str, actor: Actor) -> None:
        """Erase an event, see `erasure`.

        Args:
            event_id: which.
            reason: why, for whoever asks for it.
            actor: who wants it gone.

        Raises:
            NotFound: there is no such event.
        """
        async with changing(self._database, actor) as change:
            found = await story.tell(change.connection, event_id)
            if found is None:
                raise NotFound("event", event_id)
            await erasure.erase(change.connection, event_id, reason, time.time_ns())
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
