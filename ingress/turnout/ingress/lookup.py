"""Looking up the record of a key or a trigger: in this process, or else in Redis.

                          ┌── known here, and tracking is active ──▶ answered without a round trip
    key() / trigger() ────┤
                          └── asked, each name once at a time
                                       ├─ there, or surely not there ──▶ remembered, answered
                                       ├─ not there, and no epoch ─────▶ Unavailable
                                       └─ no answer ─▶ what was known until the connection
                                                       was lost, for a bounded time

What is remembered is right as long as `Tracking` is active: Redis says what changes. An answer that
was under way while its record changed is used once and not remembered.

Records that exist and names that do not are remembered apart: a flood of invented keys fills a
small, short-lived list of its own and evicts nothing.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeVar, cast

from turnout.ingress.tracking import Tracking
from turnout.shared import names
from turnout.shared.batch import Batch, Unavailable
from turnout.shared.errors import InvalidRecord
from turnout.shared.records import KeyRecord, TriggerRecord

Record = TypeVar("Record", KeyRecord, TriggerRecord)

#: How many records, and how many names without one, are remembered; and for how many seconds. Redis
#: reports changes at once: the times only bound the harm of a message that never came.
_MOST_RECORDS = 200_000
_MOST_ABSENT = 10_000
_RECORD_SECONDS = 30.0
_ABSENT_SECONDS = 5.0


class _Known(NamedTuple, Generic[Record]):
    """A record and until when (time of the event loop) it is believed."""

    record: Record
    until: float


class _Question:
    """A name that Redis is being asked for."""

    __slots__ = ("changed", "reply")

    def __init__(self, reply: asyncio.Future[list[bytes | None]]) -> None:
        self.reply = reply
        """With the epoch and the entry."""
        self.changed = False


class Lookup:
    """Finds records.

    Args:
        batch: asks the cache.
        url: of the cache, for the tracking connection.
        outage: for how many seconds without the cache what is known here is still used.
    """

    def __init__(self, batch: Batch, url: str, *, outage: float) -> None:
        self._batch = batch
        self._outage = outage
        self._tracking = Tracking(url, self._changed)
        self._loop = asyncio.get_running_loop()
        self._known: dict[str, _Known[Any]] = {}
        self._absent: dict[str, float] = {}
        self._asked: dict[str, _Question] = {}
        self._generation = 0

    @property
    def generation(self) -> int | None:
        """A number that is another one after each change; None while changes may be missed."""
        return self._generation if self._tracking.active else None

    async def run(self) -> None:
        """Follow the changes of the cache, for ever."""
        await self._tracking.run()

    async def key(self, digest: str, now: float) -> KeyRecord | None:
        """Find the record of an API key by its hash; an expired one is as good as none.

        Args:
            digest: hex SHA-256 of the key.
            now: seconds since the Unix epoch.

        Raises:
            Unavailable: it cannot be known whether there is one.
        """
        return await self._find(names.auth_key(digest), KeyRecord.decode, now)

    async def trigger(self, routing_key: str, now: float) -> TriggerRecord | None:
        """Find the record of a trigger by its routing key; see `key`.

        Raises:
            Unavailable: it cannot be known whether there is one.
        """
        return await self._find(names.auth_trigger(routing_key), TriggerRecord.decode, now)

    def __len__(self) -> int:
        """Return how many records are remembered."""
        return len(self._known)

    async def trouble(self) -> str | None:
        """Say why keys cannot be checked at present; None when they can."""
        try:
            if await self._batch.execute("GET", names.AUTH_EPOCH) is None:
                return "the cache is not filled: is the router running?"
        except Unavailable as error:
            return str(error)
        return None

    async def _find(
        self, name: str, decode: Callable[[bytes], Record], now: float
    ) -> Record | None:
        known = cast("_Known[Record] | None", self._known.get(name))
        if self._tracking.active:
            # An expired key goes the way of an unknown one from here on: both take the same time.
            loop_time = self._loop.time()
            if known is not None and known.until > loop_time and _is_good(known.record, now):
                return known.record
            if self._absent.get(name, 0.0) > loop_time:
                return None
        question = self._ask(name)
        try:
            # Shielded: others may wait for the same answer.
            data = _entry(*await asyncio.shield(question.reply))
            found = None if data is None else decode(data)
        except Unavailable:
            last = max(self._batch.heard, self._tracking.heard)
            if known is None or last + self._outage < self._loop.time():
                raise
            found = known.record
        except InvalidRecord as error:
            raise Unavailable(str(error)) from None
        else:
            if found is not None and not _is_good(found, now):
                found = None
            self._remember(name, found, question)
        return found if found is not None and _is_good(found, now) else None

    def _remember(
        self, name: str, record: KeyRecord | TriggerRecord | None, question: _Question
    ) -> None:
        if question.changed or not self._tracking.active:
            return
        now = self._loop.time()
        if record is None:
            self._known.pop(name, None)
            self._absent[name] = now + _ABSENT_SECONDS
            if len(self._absent) > _MOST_ABSENT:
                del self._absent[next(iter(self._absent))]
        else:
            self._absent.pop(name, None)
            self._known[name] = _Known(record, now + _RECORD_SECONDS)
            if len(self._known) > _MOST_RECORDS:
                del self._known[next(iter(self._known))]

    def _ask(self, name: str) -> _Question:
        """Have Redis asked for a name, unless it is being asked already."""
        question = self._asked.get(name)
        if question is None or question.changed:
            # In one command: an epoch that was read before might be gone by now.
            reply = self._batch.execute("MGET", names.AUTH_EPOCH, name)
            question = self._asked[name] = _Question(reply)
            reply.add_done_callback(partial(self._answered, name, question))
        return question

    def _answered(self, name: str, question: _Question, _: object) -> None:
        if self._asked.get(name) is question:
            del self._asked[name]

    def _changed(self, changed: Sequence[bytes] | None) -> None:
        """Forget what Redis says has changed: some records, or (None) possibly all."""
        self._generation += 1
        if changed is None:
            self._known.clear()
            self._absent.clear()
            for question in self._asked.values():
                question.changed = True
            return
        for each in changed:
            name = each.decode("utf-8", "replace")
            self._known.pop(name, None)
            self._absent.pop(name, None)
            if name in self._asked:
                self._asked[name].changed = True


def _is_good(record: KeyRecord | TriggerRecord, now: float) -> bool:
    return record.expires_at is None or record.expires_at > now


def _entry(epoch: bytes | None, data: bytes | None) -> bytes | None:
    """Return the entry of a name, None if there is surely none.

    Raises:
        Unavailable: the cache is not filled.
    """
    if data is None and epoch is None:
        raise Unavailable("the cache is not filled")
    return data
