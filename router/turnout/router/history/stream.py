"""One reader of a stream: from an offset on, no faster than its owner takes what it brings."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Literal, NamedTuple

from pamqp import commands

from turnout.shared.amqp import Channel, Delivery, Link
from turnout.shared.errors import BrokerError, LinkClosed

#: Messages that are under way; the broker sends whole chunks, so it may be more.
_PREFETCH = 100
#: How many come before the broker is asked for as many more.
_ASKING = 50

#: Bytes that wait here before the broker is asked for no more.
_MOST_WAITING = 8 * 1024 * 1024

#: The broker names the offset of a message in a header of type "signed 64 bits".
_OFFSET = b"x-stream-offsetl"

#: Where to begin: an offset, a moment (the broker begins somewhat earlier), or a word of RabbitMQ.
Start = int | datetime | Literal["first", "last", "next"]


class Message(NamedTuple):
    """One message of a stream."""

    offset: int
    body: bytes


class StreamReader(Channel):
    """Reads messages, in the order of their offsets.

    Args:
        on_arrival: called when something has come, or nothing will any more.
    """

    def __init__(self, on_arrival: Callable[[], None] = lambda: None) -> None:
        super().__init__()
        self._on_arrival = on_arrival
        self._waiting: list[Message] = []
        self._bytes = 0
        self._newest_tag = 0
        self._unacknowledged = 0
        self._arrived = asyncio.Event()
        self._reason: BrokerError | None = None

    async def start(self, link: Link, stream: str, start: Start) -> None:
        """Begin to read.

        Raises:
            BrokerError: the connection is gone, or there is no such stream.
        """
        await link.open(self)
        await self.call(commands.Basic.Qos(prefetch_count=_PREFETCH), commands.Basic.QosOk)
        await self.call(
            commands.Basic.Consume(queue=stream, arguments={"x-stream-offset": start}),
            commands.Basic.ConsumeOk,
        )

    async def take(self, timeout: float) -> Sequence[Message]:
        """Return all that has come since the last time; wait for something if nothing has.

        Args:
            timeout: seconds; after them nothing is returned.

        Raises:
            BrokerError: the channel is closed, and all that came before was taken.
        """
        if not self._waiting and self._reason is None:
            try:
                async with asyncio.timeout(timeout):
                    await self._arrived.wait()
            except TimeoutError:
                return []
        return self.taken()

    def taken(self) -> Sequence[Message]:
        """Return all that has come since the last time; do not wait.

        Raises:
            BrokerError: the channel is closed, and all that came before was taken.
        """
        if not self._waiting and self._reason is not None:
            raise self._reason
        taken, self._waiting, self._bytes = self._waiting, [], 0
        if self._reason is None:
            self._arrived.clear()
            self._ask()
        return taken

    async def close(self) -> None:
        """Stop reading.

        Raises:
            BrokerError: it had ended before.
        """
        self._end(LinkClosed("closed by us"))
        await super().close()

    def on_delivery(self, delivery: Delivery) -> None:
        """Keep a message, and ask for more while there is room."""
        if self._reason is not None:  # to acknowledge on a channel that is closed is an error
            return
        begin = delivery.properties.rindex(_OFFSET) + len(_OFFSET)
        offset = int.from_bytes(delivery.properties[begin : begin + 8], signed=True)
        self._waiting.append(Message(offset, delivery.body))
        self._bytes += len(delivery.body)
        self._newest_tag = delivery.tag
        self._unacknowledged += 1
        if self._unacknowledged >= _ASKING and self._bytes < _MOST_WAITING:
            self._ask()
        self._arrived.set()
        self._on_arrival()

    def on_cancel(self, consumer_tag: str) -> None:
        """Note that the stream was deleted."""
        self._end(BrokerError("the stream was deleted"))

    def on_closed(self, reason: BrokerError) -> None:
        """Note that the channel is gone."""
        self._end(reason)

    def _ask(self) -> None:
        """Ask for more: a stream forgets nothing when it is acknowledged."""
        if self._unacknowledged:
            self.ack(self._newest_tag, multiple=True)
            self._unacknowledged = 0

    def _end(self, reason: BrokerError) -> None:
        self._reason = self._reason or reason
        self._arrived.set()
        self._on_arrival()
