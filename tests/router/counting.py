"""What ingress leaves in the cache, as tests write it for moments of their choice."""

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Literal

from redis.asyncio import Redis

from turnout.shared import names

SPANS: dict[Literal["day", "hour", "minute"], timedelta] = {
    "day": timedelta(days=1),
    "hour": timedelta(hours=1),
    "minute": timedelta(minutes=1),
}


async def accepted(
    redis: Redis,
    calls: Mapping[tuple[str, str], int],
    *,
    unit: Literal["day", "hour", "minute"] = "day",
    back: int = 0,
) -> datetime:
    """Count accepted calls by trigger and key, so many periods ago; return that moment."""
    moment = datetime.now(UTC) - back * SPANS[unit]
    for ids, count in calls.items():
        await redis.hincrby(names.usage(moment, unit), " ".join(ids), count)
    return moment


async def refused(
    redis: Redis, calls: Mapping[tuple[str, str, str], int], *, back: int = 0
) -> None:
    """Count refused calls by trigger, key ("-": not known) and code, so many days ago."""
    moment = datetime.now(UTC) - timedelta(days=back)
    for fields, count in calls.items():
        await redis.hincrby(names.refused(moment), " ".join(fields), count)


async def note(redis: Redis, code: str, **fields: str) -> None:
    """Write a refused call into the log."""
    entry = {
        "at": f"{time.time():.3f}",
        "status": "429",
        "code": code,
        **dict.fromkeys(("key", "prefix", "trigger", "route", "reason"), ""),
        "method": "POST",
        "remote": "203.0.113.7",
        **fields,
    }
    await redis.xadd(names.REFUSED, dict(entry))
