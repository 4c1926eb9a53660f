"""The projection: what ingress and workers must know of the registry, written into the cache.

After a change only the records of what is another object in the snapshot are looked at.

The epoch is the promise that everything is there. It is written last, and only if the cache was not
flushed meanwhile: a marker, set before the first record, must still stand. It is another one after
each change: a cache that was set back to an earlier state, by a restored backup or a replica that
lagged behind, is known by it and filled again.

Epoch and marker begin with the number of the lease under which they were written, and Redis itself
checks them with each write: a router that has lost its lease without noticing writes nothing.
"""

import asyncio
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import islice

from redis.asyncio import Redis

from turnout.router.entries import (
    PATTERNS,
    Notice,
    names_of,
    notices_of,
    records_of,
    records_of_one,
)
from turnout.router.registry import ApiKey, Snapshot, Trigger, differences
from turnout.shared import log, names
from turnout.shared.errors import SettingsError

logger = log.get(__name__)

#: Entries that are looked at before others get their turn.
_CHUNK = 500

#: Seconds between two lines about how far a large projection is.
_TELL = 2.0

# KEYS: the guard. ARGV: what it must hold, how many pairs follow, the pairs, names to delete.
_WRITE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
local pairs = 2 * tonumber(ARGV[2])
if pairs > 0 then redis.call('mset', unpack(ARGV, 3, 2 + pairs)) end
if #ARGV > 2 + pairs then redis.call('del', unpack(ARGV, 3 + pairs)) end
return 1
"""
# KEYS: the guard, a hash. ARGV: what the guard must hold, all fields and values of the hash.
_WRITE_HASH = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('del', KEYS[2])
for at = 2, #ARGV, 2 do redis.call('hset', KEYS[2], ARGV[at], ARGV[at + 1]) end
return 1
"""
# KEYS: marker, epoch. ARGV: the marker, the number of the lease in it.
_BEGIN = """
for _, key in ipairs(KEYS) do
  local lease = string.match(redis.call('get', key) or '', '^(%d+)-')
  if lease and tonumber(lease) > tonumber(ARGV[2]) then return 0 end
end
redis.call('set', KEYS[1], ARGV[1])
return 1
"""
_FINISH = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[2], ARGV[1])
redis.call('del', KEYS[1])
return 1
"""
_ADVANCE = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2])
return 1
"""


class Projection:
    """Keeps the cache like the registry.

    Args:
        client: the cache.
        lease: gives the number of our lease: a router that had an earlier one, and does not know
            that it lost it, writes nothing over what we have written.
    """

    def __init__(self, client: Redis, lease: Callable[[], int] = lambda: 0) -> None:
        self._client = client
        self._lease = lease
        # The records that were written: None, not known, so all is compared with the cache.
        self._written: dict[str, bytes] | None = None
        self._snapshot: Snapshot | None = None
        self._epoch = ""
        self._withdrawn: set[str] = set()
        # Whether the cache may lack what was written into it.
        self._doubtful = False

    async def is_complete(self) -> bool:
        """Tell whether the cache holds what was last written: it was not flushed or set back.

        Raises:
            redis.RedisError, OSError: the cache does not answer.
        """
        return self._written is not None and not self._doubtful and await self._is_ours()

    async def write(self, snapshot: Snapshot) -> None:
        """Bring the cache in line: what changed since the last time, or what it has otherwise.

        Raises:
            LeaseLost: this router is not the active one.
            redis.RedisError, OSError: the cache does not answer; the next call compares everything.
        """
        if self._snapshot is not None and await self.is_complete():
            if snapshot is self._snapshot:
                return
            before, written = self._snapshot, self._written or {}
            self._written = None
            wanted = await self._change(before, snapshot, written)
        else:
            self._written, self._doubtful = None, False
            wanted = await self._fill(snapshot)
        self._written, self._snapshot = wanted, snapshot
        if wanted is None:
            logger.warning("the cache was changed while it was written; it is filled again")

    async def withdraw(self, entries: Collection[str]) -> None:
        """Remove records at once, without waiting for a write that is under way.

        Such a write follows an earlier state of the registry: what it brings back, it removes.

        Raises:
            redis.RedisError, OSError: the cache does not answer; the next write removes them.
        """
        if entries:
            self._withdrawn.update(entries)
            await self._client.delete(*entries)

    def admit(self, entries: Collection[str]) -> None:
        """Let records that were withdrawn be written again, where the registry has them."""
        if not self._withdrawn.isdisjoint(entries):
            self._withdrawn.difference_update(entries)
            self._doubtful = True

    async def _is_ours(self) -> bool:
        return await self._client.get(names.AUTH_EPOCH) == self._epoch.encode()

    async def _change(
        self, before: Snapshot, snapshot: Snapshot, written: dict[str, bytes]
    ) -> dict[str, bytes] | None:
        """Write what changed since an earlier snapshot, then another epoch.

        Returns:
            What the cache holds now; None if it was flushed or set back meanwhile.
        """
        changed = False
        pairs = differences(before, snapshot)
        while some := list(islice(pairs, _CHUNK)):
            different, gone = _compared(some, written)
            if different or gone:
                changed = True
                if not await self._put(names.AUTH_EPOCH, self._epoch, different, gone):
                    return None
                written |= different
                for name in gone:
                    del written[name]
            await asyncio.sleep(0)
        notices = await self._change_notices(notices_of(before), notices_of(snapshot))
        if notices is None:
            return None
        if changed or notices:
            epoch, self._epoch = self._epoch, self._new_epoch()
            if not await self._client.eval(_ADVANCE, 1, names.AUTH_EPOCH, epoch, self._epoch):
                return None
        return written

    async def _change_notices(
        self, before: dict[str, Notice], after: dict[str, Notice]
    ) -> bool | None:
        """Write the notices that changed; tell whether any did, None if the epoch is not ours."""
        changed = {name: each for name, each in after.items() if before.get(name) != each}
        for name, notice in changed.items():
            if not await self._put_hash(names.AUTH_EPOCH, self._epoch, name, notice):
                return None
        ended = list(before.keys() - after.keys())
        if not await self._put(names.AUTH_EPOCH, self._epoch, {}, ended):
            return None
        return bool(changed or ended)

    async def _fill(self, snapshot: Snapshot) -> dict[str, bytes] | None:
        """Write what the cache lacks, remove what does not belong, promise that it is complete.

        What is there already is left alone: ingress goes on knowing it.

        Returns:
            What the cache holds now; None if it was flushed meanwhile, or another router fills it.
        """
        began = told = time.monotonic()
        marker = self._new_epoch()
        places = (names.AUTH_FILLING, names.AUTH_EPOCH)
        if not await self._client.eval(_BEGIN, 2, *places, marker, self._lease()):
            return None
        wanted: dict[str, bytes] = {}
        missing = 0
        for portion in _portions(snapshot):
            wanted |= portion
            present = await self._client.mget(list(portion))
            lacking = {
                name: entry
                for (name, entry), there in zip(portion.items(), present, strict=True)
                if there != entry
            }
            missing += len(lacking)
            if not await self._put(names.AUTH_FILLING, marker, lacking):
                return None
            if time.monotonic() - told > _TELL:
                told = time.monotonic()
                of = len(snapshot.keys) + len(snapshot.triggers)
                logger.info("cache is being filled", records=len(wanted), keys_and_triggers=of)
        notices = notices_of(snapshot)
        for name, notice in notices.items():
            if not await self._put_hash(names.AUTH_FILLING, marker, name, notice):
                return None
        stale = [
            name
            for pattern in PATTERNS
            async for found in self._client.scan_iter(match=pattern, count=_CHUNK)
            if (name := found.decode()) not in wanted and name not in notices
        ]
        if not await self._put(names.AUTH_FILLING, marker, {}, stale):
            return None
        if not await self._client.eval(_FINISH, 2, *places, marker):
            return None
        self._epoch = marker
        logger.info(
            "cache filled",
            records=len(wanted),
            written=missing,
            removed=len(stale),
            seconds=round(time.monotonic() - began, 2),
        )
        return wanted

    async def _put(
        self, guard: str, held: str, entries: dict[str, bytes], gone: Sequence[str] = ()
    ) -> bool:
        """Write and delete entries, unless the guard has changed; tell whether it has not."""
        words = [word for pair in entries.items() for word in pair]
        for begin in range(0, max(len(gone), 1), _CHUNK):
            some = gone[begin : begin + _CHUNK]
            if (words or some) and not await self._client.eval(
                _WRITE, 1, guard, held, len(words) // 2, *words, *some
            ):
                return False
            words = []
        if late := self._withdrawn & entries.keys():
            await self._client.delete(*late)
        return True

    async def _put_hash(self, guard: str, held: str, name: str, notice: Notice) -> bool:
        """Write all of a hash at once, unless the guard has changed; tell whether it has not."""
        words = [word for pair in notice.items() for word in pair]
        return bool(await self._client.eval(_WRITE_HASH, 2, guard, name, held, *words))

    def _new_epoch(self) -> str:
        return f"{self._lease()}-{secrets.token_hex(8)}"


def _compared(
    pairs: Sequence[tuple[ApiKey | Trigger | None, ApiKey | Trigger | None]],
    written: Mapping[str, bytes],
) -> tuple[dict[str, bytes], list[str]]:
    """Return the records that are otherwise than they were written, and the names of those gone."""
    different: dict[str, bytes] = {}
    gone: set[str] = set()
    for former, present in pairs:
        records = {} if present is None else records_of_one(present)
        different |= {name: each for name, each in records.items() if written.get(name) != each}
        if former is not None:
            gone |= {each for each in names_of(former) if each in written and each not in records}
    return different, list(gone)


def _portions(snapshot: Snapshot) -> Iterator[dict[str, bytes]]:
    records = records_of(snapshot)
    while portion := dict(islice(records, _CHUNK)):
        yield portion


async def check_eviction(client: Redis) -> None:
    """Make sure that the cache never drops a record to make room.

    Raises:
        SettingsError: its eviction policy could.
        redis.RedisError, OSError: it does not answer.
    """
    memory = await client.info("memory")
    policy = str(memory.get("maxmemory_policy", "noeviction"))
    if memory.get("maxmemory") and policy.startswith("allkeys"):
        raise SettingsError(
            f"Redis evicts entries (maxmemory-policy {policy}): a valid API key could vanish. "
            "Set maxmemory-policy to noeviction"
        )
