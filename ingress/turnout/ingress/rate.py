"""Rate limits: token buckets in Redis, from which each process takes tokens in advance.

    take() ── a token at hand ──▶ passes at once; when few are left, more are fetched meanwhile
        └──── none at hand ──▶ fetched: up to a quarter of what the bucket holds
                                  ├─ some ──▶ passes
                                  └─ none ──▶ refused, and so is all that comes before the next one

How exact it is. All processes together never let more pass than `burst` and `rate` * time, while
Redis answers. A call may be refused too early by the tokens that other processes hold without using
them: at most a quarter of the burst each, or one, and for at most three seconds. They are given
back within two, and an empty bucket is looked into again after one. Well below the limit no call
waits for Redis. When Redis does not answer, each process by itself holds to the limit.
"""

import asyncio
from typing import Literal

from turnout.shared import names
from turnout.shared.batch import Batch, Unavailable

#: Seconds after which tokens that nobody used are given back.
_IDLE = 1.0

#: Seconds after which an empty bucket is looked into again: others may have given tokens back, and
#: its limit may be another one.
_AGAIN = 1.0

# The bucket is a hash: how many tokens it held, and when. Reply: tokens given, and milliseconds
# until there is another one. A negative number of tokens gives them back.
_TAKE = """
local rate, burst, wanted = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local kept = redis.call('HMGET', KEYS[1], 'level', 'at')
local level, at = tonumber(kept[1] or burst), tonumber(kept[2] or now)
level = math.min(burst, level + math.max(0, now - at) * rate)
local given = wanted
if wanted > 0 then
  given = math.floor(math.min(wanted, level, math.max(1, level / 4)))
end
level = math.min(burst, level - given)
redis.call('HSET', KEYS[1], 'level', tostring(level), 'at', string.format('%.6f', now))
redis.call('PEXPIRE', KEYS[1], math.ceil(burst / rate * 1000) + 1000)
return {given, math.ceil(math.max(0, 1 - level) / rate * 1000)}
"""


class _Bucket:
    """The tokens of one bucket that this process holds."""

    __slots__ = (
        "again",
        "asking",
        "burst",
        "empty_until",
        "few",
        "filled",
        "rate",
        "tokens",
        "used",
    )

    def __init__(self) -> None:
        self.rate = 1.0
        self.burst = 1
        self.tokens = 0
        self.few = 0.0
        """When no more than these are left, others are fetched."""
        self.used = 0.0
        """When a token was last asked for, as the time of the event loop."""
        self.filled = float("-inf")
        """When tokens last came, as the time of the event loop."""
        self.empty_until = float("-inf")
        """When there may be another token, after there was none."""
        self.again = float("-inf")
        """When Redis is asked again, after there was none."""
        self.asking: asyncio.Task[None] | None = None


class Rates:
    """Holds to rate limits.

    Args:
        batch: asks the cache.
    """

    def __init__(self, batch: Batch) -> None:
        self._batch = batch
        self._loop = asyncio.get_running_loop()
        self._buckets: dict[str, _Bucket] = {}

    async def take(
        self, kind: Literal["key", "trigger"], identifier: str, rate: float, burst: int
    ) -> float:
        """Take one token.

        Args:
            kind: whose bucket it is.
            identifier: of the key or trigger.
            rate: tokens a second that are added.
            burst: tokens that the bucket holds at most.

        Returns:
            0 if there was one; else the seconds, more than 0, until there may be.
        """
        name = names.rate(kind, identifier)
        bucket = self._buckets.get(name)
        if bucket is None:
            bucket = self._buckets[name] = _Bucket()
        bucket.rate, bucket.burst = rate, burst
        bucket.used = now = self._loop.time()
        while not bucket.tokens:
            if bucket.again > now:
                return bucket.empty_until - now
            # Shielded: others wait for the same tokens.
            await asyncio.shield(self._fetch(name, bucket))
            now = self._loop.time()
        bucket.tokens -= 1
        if bucket.tokens <= bucket.few and bucket.again <= now:
            self._fetch(name, bucket)
        return 0.0

    async def run(self) -> None:
        """Give back what is not used, for ever."""
        while True:
            await asyncio.sleep(_IDLE)
            now = self._loop.time()
            for name, bucket in list(self._buckets.items()):
                if bucket.asking is not None or bucket.used > now - _IDLE:
                    continue
                if bucket.tokens:
                    bucket.asking = self._loop.create_task(self._give_back(name, bucket))
                elif bucket.filled < now - bucket.burst / bucket.rate:
                    # It would be full by now, as a new one is.
                    del self._buckets[name]

    def _fetch(self, name: str, bucket: _Bucket) -> asyncio.Task[None]:
        """Fetch tokens, unless Redis is being asked already."""
        if bucket.asking is None:
            bucket.asking = self._loop.create_task(self._fill(name, bucket))
        return bucket.asking

    async def _fill(self, name: str, bucket: _Bucket) -> None:
        wanted = max(1, bucket.burst // 4 - bucket.tokens)
        try:
            given, milliseconds = await self._ask(name, bucket, wanted)
            wait = max(1, milliseconds) / 1000
        except Unavailable:
            given, wait = self._make(bucket)
        finally:
            bucket.asking = None
        now = self._loop.time()
        if given:
            bucket.tokens += given
            bucket.few = bucket.tokens / 2
            bucket.filled = now
        else:
            bucket.empty_until = now + wait
            bucket.again = now + min(wait, _AGAIN)

    async def _give_back(self, name: str, bucket: _Bucket) -> None:
        tokens, bucket.tokens = bucket.tokens, 0
        try:
            await self._ask(name, bucket, -tokens)
        except Unavailable:
            bucket.tokens = tokens  # nobody else gets them either
        finally:
            bucket.asking = None

    def _make(self, bucket: _Bucket) -> tuple[int, float]:
        """Make the tokens of the time since the last ones, and say when there will be another."""
        passed = self._loop.time() - bucket.filled
        made = max(0.0, min(bucket.burst - bucket.tokens, passed * bucket.rate))
        return int(made), (1 - made) / bucket.rate

    def _ask(self, name: str, bucket: _Bucket, wanted: int) -> asyncio.Future[list[int]]:
        return self._batch.execute("EVAL", _TAKE, 1, name, bucket.rate, bucket.burst, wanted)
