"""What passes and what does not: counted here, and added to the cache each second.

A second's counts are added exactly once: they carry a number, and what Redis has added already it
does not add again. When Redis does not answer they are kept, with all that follow, for as long as
this process lives.
"""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Literal

from turnout.shared import names
from turnout.shared.batch import Batch, Unavailable

_INTERVAL = 1.0

#: For how long the cache keeps the counts of one period, in seconds.
_KEPT: dict[Literal["minute", "hour", "day"], int] = {
    "minute": 2 * 3600,
    "hour": 3 * 86400,
    "day": 40 * 86400,
}

# ARGV: the number of these counts, then (hash, field, count, seconds to keep the hash) ...
_ADD = """
if tonumber(redis.call('get', KEYS[1]) or 0) >= tonumber(ARGV[1]) then return end
for at = 2, #ARGV, 4 do
  redis.call('hincrby', ARGV[at], ARGV[at + 1], ARGV[at + 2])
  redis.call('expire', ARGV[at], ARGV[at + 3])
end
redis.call('set', KEYS[1], ARGV[1], 'EX', 86400)
"""

#: Counts in one command: a script holds up the cache while it runs.
_MOST = 1000


class Counts:
    """Counts calls.

    Args:
        batch: writes to the cache.
        process: a name of this process that no other one has.
    """

    def __init__(self, batch: Batch, process: str) -> None:
        self._batch = batch
        self._marker = names.counted(process)
        self._accepted: Counter[tuple[str, str]] = Counter()
        self._refused: Counter[tuple[str, str, str]] = Counter()
        self._number = 0
        self._unwritten: list[list[str | int]] = []

    def accepted(self, trigger_id: str, key_id: str) -> None:
        """Count an accepted call."""
        self._accepted[trigger_id, key_id] += 1

    def refused(self, trigger_id: str, key_id: str, code: str) -> None:
        """Count a refused call; an id that is not known is ""."""
        self._refused[trigger_id or "-", key_id or "-", code] += 1

    async def run(self) -> None:
        """Write them each second, for ever."""
        while True:
            await asyncio.sleep(_INTERVAL)
            await self.write()

    async def write(self) -> None:
        """Write what was counted since the last time, and what could not be written before."""
        now = datetime.now(UTC)
        rows = [*self._usage_rows(now), *self._refusal_rows(now)]
        used = self._used(now)
        self._accepted.clear()
        self._refused.clear()
        for begin in range(0, len(rows), _MOST):
            self._number += 1
            counts = [word for row in rows[begin : begin + _MOST] for word in row]
            self._unwritten.append([self._number, *counts])
        try:
            while self._unwritten:
                await self._batch.execute("EVAL", _ADD, 1, self._marker, *self._unwritten[0])
                del self._unwritten[0]
            if used:
                await self._batch.execute("HSET", names.LAST_USED, *used)
        except Unavailable:
            return  # the next second tries again

    def _usage_rows(self, now: datetime) -> Iterator[tuple[str, str, int, int]]:
        for unit, seconds in _KEPT.items():
            name = names.usage(now, unit)
            for (trigger_id, key_id), count in self._accepted.items():
                yield name, f"{trigger_id} {key_id}", count, seconds

    def _refusal_rows(self, now: datetime) -> Iterator[tuple[str, str, int, int]]:
        name = names.refused(now)
        for fields, count in self._refused.items():
            yield name, " ".join(fields), count, _KEPT["day"]

    def _used(self, now: datetime) -> list[str | int]:
        at = int(now.timestamp())
        identifiers = {each for pair in self._accepted for each in pair}
        return [word for identifier in identifiers for word in (identifier, at)]
