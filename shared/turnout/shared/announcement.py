"""A worker's announcement: who it is and which flows it serves, on the notice board of the cache.

Each process writes its own entry with a time to live, so a dead worker disappears by itself. A
sorted set names the entries, so that reading them never scans the cache.
"""

import time
from typing import NamedTuple, Self, cast

import msgpack
from redis.asyncio import Redis

from turnout.shared import names, ordering

#: Seconds between two announcements of a live worker, and how long one is believed.
INTERVAL = 5
LIFETIME = 15


class Served(NamedTuple):
    """What a worker process says of one of its flows."""

    address: str
    """ "group/flow"."""
    version: str
    """Of its code, as its author names it."""
    concurrency: int
    """How many runs it may have in progress at once in this process."""
    busy: int
    """How many it has."""
    ordered_by: str | None = None
    """Where the key stands in the body, if runs of one key go one after the other."""
    partitions: int | None = None
    limit: int | None = None
    """How many runs all workers together may have in progress; None: any number."""

    def check(self) -> None:
        """Make sure that there can be such a flow.

        Raises:
            InvalidName: its address, or its order, is not legal.
        """
        names.flow_address(self.address)
        ordering.count(self.ordered_by, self.partitions)


class Announcement(NamedTuple):
    """What one worker process says of itself."""

    worker_id: str
    host: str
    pid: int
    started_at: float
    """Seconds since the Unix epoch."""
    flows: tuple[str, ...]
    """Addresses, "group/flow"."""
    concurrency: int
    busy: int = 0
    """Runs in progress."""
    served: tuple[Served, ...] = ()
    """The same flows, and more about each."""
    supervisor: int = 0
    """The process that started this one as one of several; 0: none."""

    async def write(self, cache: Redis) -> None:
        """Put it on the notice board for the next `LIFETIME` seconds."""
        async with cache.pipeline(transaction=False) as pipe:
            pipe.set(names.worker(self.worker_id), msgpack.packb(self._asdict()), ex=LIFETIME)
            pipe.zadd(names.WORKERS, {self.worker_id: time.time() + LIFETIME})
            await pipe.execute()

    async def withdraw(self, cache: Redis) -> None:
        """Take it off the notice board: this worker stops."""
        async with cache.pipeline(transaction=False) as pipe:
            pipe.delete(names.worker(self.worker_id))
            pipe.zrem(names.WORKERS, self.worker_id)
            await pipe.execute()

    @classmethod
    async def read_all(cls, cache: Redis) -> list[Self]:
        """Read those of all live workers, and forget the dead ones."""
        await cache.zremrangebyscore(names.WORKERS, "-inf", time.time())
        ids = cast("list[bytes]", await cache.zrange(names.WORKERS, 0, -1))
        if not ids:
            return []
        entries = await cache.mget([names.worker(each.decode()) for each in ids])
        return [cls._decode(each) for each in entries if each]

    @classmethod
    def _decode(cls, entry: bytes | str) -> Self:
        """Read an entry; what a newer version added is left out."""
        fields = msgpack.unpackb(entry, use_list=False)
        fields["served"] = tuple(
            Served(*each[: len(Served._fields)]) for each in fields.get("served", ())
        )
        return cls(**{name: fields[name] for name in cls._fields if name in fields})
