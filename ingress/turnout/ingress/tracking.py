"""Being told by Redis which authentication records change, as it happens.

A connection of its own asks for invalidation messages of all records (`CLIENT TRACKING` in
broadcast mode, https://redis.io/docs/latest/develop/reference/client-side-caching/). Redis sends
them for every write, expiry and flush. What a cache holds is right for as long as this connection
lives; a ping twice a second finds out when it does not.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import cast

from redis._parsers.base import AsyncPushNotificationsParser
from redis.asyncio import Connection, ConnectionPool

from turnout.shared import cache, log, names
from turnout.shared.backoff import Backoff

logger = log.get(__name__)

#: Seconds between two pings, and without an answer until the connection is given up.
_PING = 0.5
_SILENCE = 1.5

OnChange = Callable[[Sequence[bytes] | None], None]


class Tracking:
    """Keeps the tracking connection.

    Args:
        url: of Redis.
        on_change: receives the names of the records that changed, or None for all of them: after
            a flush, and when changes may have been missed because the connection is new.
    """

    def __init__(self, url: str, on_change: OnChange) -> None:
        self._pool = ConnectionPool.from_url(
            url, protocol=3, socket_timeout=_SILENCE, socket_connect_timeout=_SILENCE
        )
        self._on_change = on_change
        self.active = False
        self.heard = float("-inf")
        """When Redis last gave a sign of life, as the time of the event loop."""

    async def run(self) -> None:
        """Stay connected for ever."""
        backoff = Backoff(0.05, 1.0)
        while True:
            connection = self._pool.make_connection()  # type: ignore[no-untyped-call]
            try:
                await self._follow(connection, backoff)
            except cache.ERRORS as error:
                if self.active:
                    logger.warning("cache lost", reason=str(error) or type(error).__name__)
            finally:
                self.active = False
                await connection.disconnect(nowait=True)
            await asyncio.sleep(backoff.delay())

    async def _follow(self, connection: Connection, backoff: Backoff) -> None:
        """Ask for invalidations and pass them on, until the connection is lost.

        Raises:
            RedisError, OSError, TimeoutError: it is lost.
        """
        loop = asyncio.get_running_loop()
        await connection.connect()  # type: ignore[no-untyped-call]
        # redis-py's parser knows invalidations, but its asyncio client has no public way to receive
        # them (redis/redis-py#3916).
        parser = cast("AsyncPushNotificationsParser", connection._parser)  # noqa: SLF001
        parser.set_invalidation_push_handler(self._changed)  # type: ignore[no-untyped-call]
        prefixes = (names.AUTH_KEY_PREFIX, names.AUTH_TRIGGER_PREFIX, names.AUTH_EPOCH)
        command = [word for prefix in prefixes for word in ("PREFIX", prefix)]
        await connection.send_command("CLIENT", "TRACKING", "ON", "BCAST", *command)
        await connection.read_response()
        self._on_change(None)
        self.active = True
        backoff.reset()
        logger.info("cache connected")
        self.heard = asked = loop.time()
        while loop.time() - self.heard < _SILENCE:
            # None: a push, which the handler has had, or nothing within the time.
            if await connection.read_response(timeout=_PING, push_request=True) is not None:
                self.heard = loop.time()
            if loop.time() - asked >= _PING:
                await connection.send_command("PING")
                asked = loop.time()
        raise TimeoutError(f"Redis was silent for {_SILENCE} s")

    async def _changed(self, push: Sequence[Sequence[bytes] | None]) -> None:
        self._on_change(push[1])
