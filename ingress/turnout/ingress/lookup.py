"""Looking up the records of a key and a trigger in the cache, in one round trip."""

from typing import NamedTuple, cast

from redis.asyncio import Redis

from turnout.shared import cache, names
from turnout.shared.errors import InvalidRecord
from turnout.shared.records import KeyRecord, TriggerRecord


class Unavailable(Exception):
    """The cache does not answer, or is not complete: nothing can be decided."""


class Found(NamedTuple):
    """What the cache holds of a call."""

    key: KeyRecord | None
    trigger: TriggerRecord | None


class Lookup:
    """Reads records from the cache."""

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def find(self, digest: str, routing_key: str) -> Found:
        """Read the records of a key, by its hash, and of a trigger.

        The epoch is read with them: without it the cache is being filled, and what it lacks may
        exist.

        Raises:
            Unavailable: the cache does not answer, or lacks something and is not complete.
        """
        try:
            entries = await self._client.mget(
                names.AUTH_EPOCH, names.auth_key(digest), names.auth_trigger(routing_key)
            )
            epoch, key, trigger = cast("list[bytes | None]", entries)
            if epoch is None and (key is None or trigger is None):
                raise Unavailable("the cache is not filled")
            return Found(
                None if key is None else KeyRecord.decode(key),
                None if trigger is None else TriggerRecord.decode(trigger),
            )
        except (*cache.ERRORS, InvalidRecord) as error:
            raise Unavailable(str(error)) from error

    async def trouble(self) -> str | None:
        """Say why keys cannot be checked at present; None when they can."""
        try:
            if await self._client.get(names.AUTH_EPOCH) is None:
                return "the cache is not filled: is the router running?"
        except cache.ERRORS as error:
            return f"the cache does not answer: {error}"
        return None
