"""What passes and what does not: counted here, and added to the cache each second.

Counts are added exactly once: those of one command carry a number, and what Redis has added already
it does not add again. When Redis does not answer they are kept, with all that follow, for as long
as this process lives.
"""

import asyncio
from collections import Counter, defaultdict
from datetime import UTC, datetime
from itertools import islice
from typing import Literal, NamedTuple

from turnout.shared import names
from turnout.shared.batch import Batch, Unavailable

_INTERVAL = 1.0

#: For how long the cache keeps the counts of one period, in seconds.
_KEPT: dict[Literal["minute", "hour", "day"], int] = {
    "minute": 2 * 3600,
    "hour": 3 * 86400,
    "day": 40 * 86400,
}

# ARGV: the number of these counts, then (hash, field, seconds to keep the hash, count) ...
# The number is noted first: what Redis cannot add fails once, and not each second anew.
_ADD = """
if tonumber(redis.call('get', KEYS[1]) or 0) >= tonumber(ARGV[1]) then return end
redis.call('set', KEYS[1], ARGV[1], 'EX', 86400)
for at = 2, #ARGV, 4 do
  redis.call('hincrby', ARGV[at], ARGV[at + 1], ARGV[at + 3])
  redis.call('expire', ARGV[at], ARGV[at + 2])
end
"""

#: Counts in one command: a script holds up the cache while it runs.
_MOST = 1000


class _Place(NamedTuple):
    """Where the cache counts something."""

    hash: str
    field: str
    seconds: int
    """For which the hash is kept."""


class Totals(NamedTuple):
    """Calls of this process."""

    accepted: int
    refused: Counter[str]


class Counts:
    """Counts calls.

    Args:
        batch: writes to the cache.
        process: a name of this process that no other one has.

    Attributes:
        totals: accepted calls, and refused ones by code, since the start; up to a second old.
    """

    def __init__(self, batch: Batch, process: str) -> None:
        self.totals = Totals(0, Counter())
        self._batch = batch
        self._marker = names.counted(process)
        self._accepted: Counter[tuple[str, str]] = Counter()
        self._refused: Counter[tuple[str, str, str]] = Counter()
        self._overlapped: Counter[tuple[str, float, str]] = Counter()
        self._last: defaultdict[str, dict[str, int]] = defaultdict(dict)
        """By hash and field: when something last happened."""
        self._unwritten: Counter[_Place] = Counter()
        self._number = 0
        self._sent: list[str | int] = []
        """The number and the counts that Redis may have added, or not."""

    def accepted(self, trigger_id: str, key_id: str) -> None:
        """Count an accepted call."""
        self._accepted[trigger_id, key_id] += 1

    def refused(self, trigger_id: str, key_id: str, code: str) -> None:
        """Count a refused call; an id that is not known is ""."""
        self._refused[trigger_id or "-", key_id or "-", code] += 1

    def overlapped(self, identifier: str, since: float, who: str) -> None:
        """Count a call with what was replaced; see `names.overlap`."""
        self._overlapped[identifier, since, who] += 1

    async def run(self) -> None:
        """Write them each second, for ever."""
        while True:
            await asyncio.sleep(_INTERVAL)
            await self.write()

    async def write(self) -> None:
        """Write what was counted since the last time, and what could not be written before."""
        self._collect(datetime.now(UTC))
        try:
            while self._sent or self._unwritten:
                self._sent = self._sent or self._next()
                await self._batch.execute("EVAL", _ADD, 1, self._marker, *self._sent)
                self._sent = []
            for name in list(self._last):
                words = [word for each in self._last[name].items() for word in each]
                await self._batch.execute("HSET", name, *words)
                if name != names.LAST_USED:
                    await self._batch.execute("EXPIRE", name, _KEPT["day"])
                del self._last[name]
        except Unavailable:
            return  # the next second tries again

    def _collect(self, now: datetime) -> None:
        """Take what was counted since the last time as counts of this moment."""
        for unit, seconds in _KEPT.items():
            name = names.usage(now, unit)
            for pair, count in self._accepted.items():
                self._unwritten[_Place(name, " ".join(pair), seconds)] += count
        name = names.refused(now)
        for fields, count in self._refused.items():
            self._unwritten[_Place(name, " ".join(fields), _KEPT["day"])] += count
        at = int(now.timestamp())
        if self._accepted:
            used = self._last[names.LAST_USED]
            used.update((each, at) for pair in self._accepted for each in pair)
        for (identifier, since, who), count in self._overlapped.items():
            name = names.overlap(identifier, since)
            self._unwritten[_Place(name, who, _KEPT["day"])] += count
            self._last[names.overlap_last(identifier, since)][who] = at
        for (_, _, code), count in self._refused.items():
            self.totals.refused[code] += count
        self.totals = self.totals._replace(accepted=self.totals.accepted + self._accepted.total())
        self._accepted.clear()
        self._refused.clear()
        self._overlapped.clear()

    def _next(self) -> list[str | int]:
        """Take some of the counts that were not sent, and give them their number."""
        self._number += 1
        words: list[str | int] = [self._number]
        for place in list(islice(self._unwritten, _MOST)):
            words += (*place, self._unwritten.pop(place))
        return words
