"""Counts that ingress keeps in the cache: one hash a period, in UTC."""

from collections import defaultdict
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Literal

from redis.asyncio import Redis

Unit = Literal["day", "hour", "minute"]

_SPANS: dict[Unit, timedelta] = {
    "day": timedelta(days=1),
    "hour": timedelta(hours=1),
    "minute": timedelta(minutes=1),
}


def periods(unit: Unit, last: int) -> list[datetime]:
    """Return the beginnings of the last periods, oldest first, that of this moment included."""
    now = datetime.now(UTC).replace(second=0, microsecond=0)
    if unit != "minute":
        now = now.replace(minute=0)
    if unit == "day":
        now = now.replace(hour=0)
    return [now - back * _SPANS[unit] for back in reversed(range(last))]


async def read(client: Redis, hashes: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Read, in one round trip, how often each field was counted in each of the hashes.

    Raises:
        redis.RedisError: the cache does not answer.
    """
    async with client.pipeline(transaction=False) as pipe:
        for name in hashes:
            pipe.hgetall(name)
        found: list[dict[bytes, bytes]] = await pipe.execute()
    counted: defaultdict[str, list[int]] = defaultdict(lambda: [0] * len(found))
    for index, fields in enumerate(found):
        for field, count in fields.items():
            counted[field.decode()][index] = int(count)
    return {field: tuple(counts) for field, counts in counted.items()}
