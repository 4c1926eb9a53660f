"""The feed: messages for worker pools, as a library's own producer makes them.

A producer sends one message of each task. It is the template: all further ones are its bytes, with
an id and a time of their own. So filling a queue takes as long for one library as for another, and
at a constant rate the producer takes no CPU from the worker whose latency is measured.
"""

import asyncio
import re
import time
import uuid
from collections.abc import Callable
from typing import NamedTuple

from bench.load import Failed
from pamqp import commands, frame, header

from turnout.shared.amqp import Channel, Delivery, Link

#: A producer sends this as the time, in nanoseconds: it has as many digits as that of today.
TIME = 1_000_000_000_000_000_000

_ID = re.compile(rb"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}")
_UNCONFIRMED = 2_000
_TICK = 0.001  # seconds; timers of the event loop have no finer grain
_PATIENCE = 30.0


class Message(NamedTuple):
    """What a message consists of."""

    properties: bytes
    """The payload of its header frame."""
    body: bytes


#: Makes a message, given the time at which it counts as accepted.
Make = Callable[[int], Message]


def like(template: Message) -> Make:
    """Make messages like one that a producer has sent."""
    found = _ID.search(template.properties) or _ID.search(template.body)
    if found is None:
        raise Failed("the producer's message has no id")
    old = found[0]

    def make(now: int) -> Message:
        new = str(uuid.uuid4()) if b"-" in old else uuid.uuid4().hex
        body = template.body.replace(b"%d" % TIME, b"%d" % now)
        return Message(
            template.properties.replace(old, new.encode()), body.replace(old, new.encode())
        )

    return make


def properties(size: int, kind: str, message_id: str) -> bytes:
    """Encode the header of a persistent message, as Turnout's ingress does."""
    values = commands.Basic.Properties(delivery_mode=2, message_type=kind, message_id=message_id)
    return frame.marshal(header.ContentHeader(0, size, values), 1)[7:-1]


class Feed(Channel):
    """Publishes to one queue, with confirms.

    Args:
        queue: its name.
    """

    def __init__(self, queue: str) -> None:
        super().__init__()
        self._queue = queue
        self._method = b""
        self._sent = self._confirmed = 0
        self._ahead: set[int] = set()
        self._progress = asyncio.Event()

    async def begin(self, link: Link) -> None:
        """Open the channel."""
        await link.open(self)
        await self.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
        publish = commands.Basic.Publish(exchange="", routing_key=self._queue)
        self._method = frame.marshal(publish, self.number)

    async def fill(self, make: Make, number: int) -> None:
        """Publish so many messages, and wait until the broker has them all.

        Raises:
            Failed: it does not confirm them.
        """
        for _ in range(number):
            self._send(make(time.time_ns()))
            if self._sent - self._confirmed >= _UNCONFIRMED:
                await self._confirm(self._sent - _UNCONFIRMED // 2)
        await self._confirm(self._sent)

    async def stream(self, make: Make, rate: float, seconds: float) -> int:
        """Publish at a constant rate, whatever the consumer does; return how many that were.

        Message n counts as accepted n / rate seconds after the begin, also if it left later.

        Raises:
            Failed: the broker does not confirm them.
        """
        began = time.time_ns()
        sent, total = 0, int(rate * seconds)
        while sent < total:
            due = min(total, int((time.time_ns() - began) / 1e9 * rate) + 1)
            for number in range(sent, due):
                self._send(make(began + int(number / rate * 1e9)))
            sent = due
            await asyncio.sleep(_TICK)
        await self._confirm(self._sent)
        return total

    def on_confirm(self, tag: int, multiple: bool, accepted: bool) -> None:
        """Count it."""
        if not accepted:
            raise ValueError("the broker refused a message")
        if multiple:
            self._confirmed = max(self._confirmed, tag)
        else:
            self._ahead.add(tag)
        while self._confirmed + 1 in self._ahead:
            self._confirmed += 1
            self._ahead.remove(self._confirmed)
        self._progress.set()

    def _send(self, message: Message) -> None:
        self._sent += 1
        parts = [self._method]
        for kind, payload in ((2, message.properties), (3, message.body)):
            parts += (_head(kind, self.number, len(payload)), payload, b"\xce")
        self.link.write(b"".join(parts))

    async def _confirm(self, tag: int) -> None:
        try:
            async with asyncio.timeout(_PATIENCE):
                while self._confirmed < tag:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            raise Failed(f"the broker has confirmed {self._confirmed} of {tag}") from None


async def sample(url: str, queue: str) -> Message:
    """Take the one message that a producer has sent.

    Raises:
        Failed: it is not there.
    """
    link = await Link.connect(url, name="sample")
    try:
        return await _Sample().take(link, queue)
    finally:
        await link.close()


class _Sample(Channel):
    def __init__(self) -> None:
        super().__init__()
        self._taken: asyncio.Future[Message] = asyncio.get_running_loop().create_future()

    def on_delivery(self, delivery: Delivery) -> None:
        self.ack(delivery.tag)
        self._taken.set_result(Message(delivery.properties, delivery.body))

    async def take(self, link: Link, queue: str) -> Message:
        await link.open(self)
        await self.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
        await self.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
        try:
            async with asyncio.timeout(_PATIENCE):
                message = await self._taken
        except TimeoutError:
            raise Failed(f"the producer's message is not in {queue}") from None
        await self.close()  # so the acknowledgement has arrived
        return message


def _head(kind: int, channel: int, size: int) -> bytes:
    return kind.to_bytes(1) + channel.to_bytes(2) + size.to_bytes(4)
