"""Commands for Redis, sent together.

    execute() ──▶ waits ──▶ all of one turn of the event loop in one pipeline, one at a time
                              ├─ answered ───────────────▶ each future has its reply
                              └─ no answer, or refused ──▶ each future fails with `Unavailable`

A call that needs Redis shares a round trip with all others that do, and the connection is never
waited for. After a failure Redis has a moment of rest: who asks meanwhile fails at once.
"""

import asyncio
from typing import Any

from redis.asyncio import Redis

#: Commands in one pipeline, and commands that may wait for one.
_MOST_TOGETHER = 500
_MOST_WAITING = 20_000

#: Seconds for which Redis is not asked after it did not answer.
_REST = 0.5


class Unavailable(Exception):
    """The cache does not answer, or is not complete: nothing is known."""


class Batch:
    """Sends commands.

    Args:
        client: the cache.

    Attributes:
        heard: when Redis last answered, as the time of the event loop.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._waiting: list[tuple[asyncio.Future[Any], tuple[Any, ...]]] = []
        self._sending: asyncio.Task[None] | None = None
        self._rest_until = float("-inf")
        self.heard = float("-inf")

    def execute(self, *command: str | bytes | float) -> asyncio.Future[Any]:
        """Send a command with the next pipeline.

        Args:
            command: its name and arguments.

        Returns:
            A future with the reply as redis-py gives it. It fails with `Unavailable` when Redis
            does not answer, or refuses the command.
        """
        future: asyncio.Future[Any] = self._loop.create_future()
        if self._loop.time() < self._rest_until:
            _fail(future, "the cache did not answer a moment ago")
        elif len(self._waiting) >= _MOST_WAITING:
            _fail(future, "too much waits for the cache")
        else:
            self._waiting.append((future, command))
            if self._sending is None:
                self._sending = self._loop.create_task(self._send_all())
        return future

    async def _send_all(self) -> None:
        while self._waiting:
            now, self._waiting = self._waiting[:_MOST_TOGETHER], self._waiting[_MOST_TOGETHER:]
            replies: list[Any]
            try:
                replies = await self._send([command for _, command in now])
                self.heard = self._loop.time()
            except Exception as error:  # noqa: BLE001 - whatever it is, nobody may wait for ever
                self._rest_until = self._loop.time() + _REST
                replies = [error] * len(now)
            for (future, _), reply in zip(now, replies, strict=True):
                if future.done():  # who asked was cancelled
                    continue
                if isinstance(reply, Exception):
                    reason = str(reply) or type(reply).__name__
                    _fail(future, f"the cache does not answer: {reason}")
                else:
                    future.set_result(reply)
        self._sending = None

    async def _send(self, commands: list[tuple[Any, ...]]) -> list[Any]:
        async with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                # It makes redis-py hand on what SET answers, instead of a truth value.
                options = {"get": True} if command[0] == "SET" else {}
                pipe.execute_command(*command, **options)
            replies: list[Any] = await pipe.execute(raise_on_error=False)
        return replies


def _fail(future: asyncio.Future[Any], reason: str) -> None:
    future.set_exception(Unavailable(reason))
    future.exception()  # else one that nobody awaits would be reported as forgotten
