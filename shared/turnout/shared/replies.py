"""Replies: what became of a run, for somebody who waits for it in this process.

    expect(run) ── envelope with `reply_to` = our channel ──▶ worker ── outcome ──▶ who waits

One subscription serves all who wait in a process; its channel is random, so nobody else can answer.
It is best effort: what is lost here was accepted all the same, and is in the history.
"""

import asyncio
import contextlib
import secrets
from collections.abc import Iterator

from redis.asyncio import Redis

from turnout.shared import cache, log, names, outcome
from turnout.shared.backoff import Backoff
from turnout.shared.errors import InvalidEnvelope
from turnout.shared.outcome import Outcome

logger = log.get(__name__)

#: Of one run, as they come; None: there will be no more, because this process stops.
Outcomes = asyncio.Queue[Outcome | None]

#: Seconds between two pings, and without a sign of life until the subscription is made anew.
_PING = 2.0
_SILENCE = 6.0


class Replies:
    """Keeps the subscription.

    Args:
        client: the cache.

    Attributes:
        channel: what an envelope names as `reply_to`.
        active: whether an answer would be heard at present.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._expected: dict[str, Outcomes] = {}
        self.channel = names.reply(secrets.token_urlsafe(24))
        self.active = False

    def __len__(self) -> int:
        return len(self._expected)

    @contextlib.contextmanager
    def expect(self, run_id: str) -> Iterator[Outcomes]:
        """Wait for the outcomes of a run, one for each attempt, within a context."""
        outcomes: Outcomes = asyncio.Queue()
        self._expected[run_id] = outcomes
        try:
            yield outcomes
        finally:
            del self._expected[run_id]

    def stop(self) -> None:
        """Let nobody wait any longer."""
        for outcomes in self._expected.values():
            outcomes.put_nowait(None)

    async def run(self) -> None:
        """Stay subscribed for ever."""
        backoff = Backoff(0.1, 2.0)
        while True:
            try:
                await self._follow(backoff)
            except cache.ERRORS as error:
                if self.active:
                    logger.warning("replies are not heard", reason=str(error) or repr(error))
            finally:
                self.active = False
            await asyncio.sleep(backoff.delay())

    async def _follow(self, backoff: Backoff) -> None:
        loop = asyncio.get_running_loop()
        async with self._client.pubsub() as subscription:
            await subscription.subscribe(self.channel)
            heard = asked = loop.time()
            while loop.time() - heard < _SILENCE:
                message = await subscription.get_message(timeout=_PING)
                if message is not None:
                    heard = loop.time()
                    self._take(message)
                    backoff.reset()
                if loop.time() - asked >= _PING:
                    await subscription.ping()
                    asked = loop.time()
        raise TimeoutError(f"Redis was silent for {_SILENCE} s")

    def _take(self, message: dict[str, object]) -> None:
        data = message["data"]
        if message["type"] == "subscribe":
            self.active = True
        if message["type"] != "message" or not isinstance(data, bytes):
            return
        try:
            found = outcome.decode(data)
        except InvalidEnvelope as error:
            logger.warning("a reply cannot be read", reason=str(error))
            return
        for each in found:
            if (outcomes := self._expected.get(each.run_id)) is not None:
                outcomes.put_nowait(each)
