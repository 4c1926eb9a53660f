"""What waits for the workers of a flow, on the notice board of the cache.

The active router writes it every two seconds from what RabbitMQ's management API says; whoever
scales workers and whoever shows flows reads it. It ends by itself when nobody writes it any more.
"""

from collections.abc import Mapping
from typing import NamedTuple

import msgpack
from redis.asyncio import Redis

from turnout.shared import names

#: Seconds between two reports, and how long one is believed.
INTERVAL = 2
LIFETIME = 15


class Backlog(NamedTuple):
    """What waits for the workers of one flow."""

    queued: int
    """Runs that no worker has."""
    running: int
    """Runs that workers have taken and not yet acknowledged."""
    wait: float
    """Seconds for which a run waits at present, about."""


async def write(cache: Redis, backlogs: Mapping[str, Backlog]) -> None:
    """Replace what is on the notice board.

    Args:
        cache: where it is.
        backlogs: by the flow's address, "group/flow".
    """
    packed = msgpack.packb(backlogs)
    await cache.set(names.BACKLOG, packed, ex=LIFETIME)


async def read(cache: Redis) -> dict[str, Backlog] | None:
    """Read the notice board; None if nobody writes it."""
    packed = await cache.get(names.BACKLOG)
    if packed is None:
        return None
    found: dict[str, list[float]] = msgpack.unpackb(packed)
    return {
        address: Backlog(int(queued), int(running), wait)
        for address, (queued, running, wait, *_) in found.items()
    }
