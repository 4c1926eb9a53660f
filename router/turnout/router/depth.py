"""Depth: how many runs wait in a queue, asked of the broker itself and so never stale."""

import asyncio
from collections.abc import Sequence

from pamqp import commands

from turnout.shared.amqp import Channel, Link
from turnout.shared.errors import ChannelRefused


class Depth:
    """Counts what waits in queues, over a connection of its own.

    Args:
        urls: addresses of the broker; the next is tried when one fails.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._urls = urls
        self._turn = 0
        self._link: Link | None = None
        self._lock = asyncio.Lock()

    async def of(self, queue: str) -> int:
        """Count the messages of a queue that no worker has; 0 if there is no such queue.

        Raises:
            BrokerError: the broker cannot be asked.
        """
        channel = Channel()
        await (await self._connected()).open(channel)
        try:
            answer = await channel.call(
                commands.Queue.Declare(queue=queue, passive=True), commands.Queue.DeclareOk
            )
        except ChannelRefused as error:
            if error.code == 404:
                return 0
            raise
        await channel.close()
        return answer.message_count or 0

    async def close(self) -> None:
        """Close the connection."""
        if self._link is not None:
            await self._link.close()

    async def _connected(self) -> Link:
        async with self._lock:
            if self._link is None or self._link.closed.done():
                url = self._urls[self._turn % len(self._urls)]
                self._turn += 1
                self._link = await Link.connect(url, name="turnout-router counts")
            return self._link
