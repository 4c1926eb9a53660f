"""Overlaps: who still calls with what was replaced, as ingress counts it in the cache."""

from datetime import UTC, datetime
from typing import NamedTuple

from redis.asyncio import Redis

from turnout.shared import names


class OldUse(NamedTuple):
    """The calls of one caller with an old secret, or by an old routing key."""

    trigger_id: str
    network: str
    """Where they came from: a /24, or a /48 of IPv6; "*": from more than are told apart."""
    agent: str
    """The first product of the User-Agent; "-": there was none."""
    calls: int
    last_at: datetime | None


class Overlaps:
    """Reads these counts.

    Args:
        client: the cache.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def old_uses(self, identifier: str, rotated_at: datetime | None) -> list[OldUse]:
        """Return who has called with what was replaced, the most frequent first.

        Args:
            identifier: of a key or trigger.
            rotated_at: when it was rotated; None: never.

        Raises:
            redis.RedisError: the cache does not answer.
        """
        if rotated_at is None:
            return []
        since = rotated_at.timestamp()
        async with self._client.pipeline(transaction=False) as pipe:
            pipe.hgetall(names.overlap(identifier, since))
            pipe.hgetall(names.overlap_last(identifier, since))
            calls, last = await pipe.execute()
        uses = [
            OldUse(
                trigger_id,
                network,
                agent,
                int(count),
                datetime.fromtimestamp(int(last[who]), UTC) if who in last else None,
            )
            for who, count in calls.items()
            for trigger_id, network, agent in [who.decode().split(" ")]
        ]
        return sorted(uses, key=lambda use: use.calls, reverse=True)
