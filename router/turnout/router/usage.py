"""Usage: the calls that ingress accepted, as it counts them in the cache, in UTC."""

import asyncio
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, cast

from redis.asyncio import Redis

from turnout.router import counts
from turnout.router.counts import Unit
from turnout.shared import cache, log, names

logger = log.get(__name__)

#: How many periods of each unit ingress keeps.
KEPT: dict[Unit, int] = {"day": 40, "hour": 72, "minute": 120}

#: Seconds that a listing waits to say when its keys or triggers were used.
_PATIENCE = 1.0


class Used(NamedTuple):
    """The accepted calls of one key through one trigger."""

    trigger_id: str
    key_id: str
    calls: tuple[int, ...]
    """For each period that was asked for."""


class Activity(NamedTuple):
    """When a key or a trigger was used."""

    last_used_at: datetime | None
    calls_today: int | None
    """None: the cache does not answer, and nothing is known of the last use either."""


UNUSED = Activity(None, 0)
_UNKNOWN = Activity(None, None)


class Usage:
    """Reads what ingress counts.

    Args:
        client: the cache.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def used(self, unit: Unit, moments: Sequence[datetime]) -> list[Used]:
        """Return the counts of those periods, by trigger and key.

        Raises:
            redis.RedisError: the cache does not answer.
        """
        found = await counts.read(self._client, [names.usage(each, unit) for each in moments])
        return [
            Used(trigger_id, key_id, calls)
            for field, calls in found.items()
            for trigger_id, key_id in [field.split(" ")]
        ]

    async def calls_of_key(self, key_id: str, days: int) -> dict[str, int] | None:
        """Return the accepted calls of a key in the last days, by trigger; None: not known."""
        try:
            async with asyncio.timeout(_PATIENCE):
                found = await self.used("day", counts.periods("day", days))
        except cache.ERRORS as error:
            logger.warning("usage is not known", reason=str(error) or type(error).__name__)
            return None
        return {each.trigger_id: sum(each.calls) for each in found if each.key_id == key_id}

    async def activity(self, identifiers: Collection[str]) -> dict[str, Activity]:
        """Return when those keys or triggers were used; unknown if the cache does not answer."""
        if not identifiers:
            return {}
        try:
            async with asyncio.timeout(_PATIENCE):
                return await self._activity(list(identifiers))
        except cache.ERRORS as error:
            logger.warning("usage is not known", reason=str(error) or type(error).__name__)
            return dict.fromkeys(identifiers, _UNKNOWN)

    async def _activity(self, identifiers: list[str]) -> dict[str, Activity]:
        last = cast("list[bytes | None]", await self._client.hmget(names.LAST_USED, identifiers))
        today: Counter[str] = Counter()
        for trigger_id, key_id, (calls,) in await self.used("day", counts.periods("day", 1)):
            today[trigger_id] += calls
            today[key_id] += calls
        return {
            identifier: Activity(
                None if used is None else datetime.fromtimestamp(float(used), UTC),
                today[identifier],
            )
            for identifier, used in zip(identifiers, last, strict=True)
        }
