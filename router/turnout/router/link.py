"""The router's connections to the broker."""

import asyncio
from collections.abc import Sequence

from turnout.shared.amqp import Link


class Links:
    """One connection at a time, made when it is first needed and again when it was lost.

    Args:
        urls: the broker's addresses, tried in turn.
        name: how the broker's operator sees the connection.
    """

    def __init__(self, urls: Sequence[str], name: str) -> None:
        self._urls = urls
        self._name = name
        self._tried = 0
        self._link: Link | None = None
        self._lock = asyncio.Lock()

    async def connected(self) -> Link:
        """Return the connection.

        Raises:
            BrokerError: the address whose turn it was cannot be reached.
        """
        async with self._lock:
            if self._link is None or self._link.closed.done():
                url = self._urls[self._tried % len(self._urls)]
                self._tried += 1
                self._link = await Link.connect(url, name=self._name)
            return self._link

    async def close(self) -> None:
        """Close the connection, if there is one."""
        if self._link is not None:
            await self._link.close()
