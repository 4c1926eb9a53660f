"""The confirm pipeline: messages go out, and each comes back as accepted, refused or unknown.

                     ┌──────────── lost, or the channel closed ◀───────────┐
                     ▼                                                     │
    start() ──▶ connecting ──confirm mode, settled──▶ ready ⇄ blocked ─────┤
                     │                                                     │
                     └──────────────── close() ──▶ closed ◀────────────────┘

What becomes of one publish:

    publish() ── not ready, blocked, too much under way ─────────────▶ refused: never sent
        │        (room() waits for what is under way to become less)
        │
        └─ sent ── basic.ack ────────────────────────────────────────▶ accepted
              ├─── basic.nack, or basic.return and then basic.ack ───▶ refused: in no queue
              └─── deadline, link lost, channel closed ──────────────▶ unknown: may be in its queue

Every future ends by its deadline, with a `Confirm` and never with an exception. A delivery tag is
used once: the n-th publish of a channel has tag n, so that an acknowledgement of many needs no
search. The message id ends in the tag, so that a returned message is told from all others.
"""

import asyncio
import contextlib
import os
import time
from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Literal, NamedTuple

from pamqp import commands

from turnout.shared import log
from turnout.shared.amqp import Channel, Link, message_frames, publish_method, table
from turnout.shared.backoff import Backoff
from turnout.shared.errors import BrokerError

logger = log.get(__name__)

#: Seconds in which a probe is confirmed, or another connection is tried.
_PROBING = 2.0


class Verdict(Enum):
    """What is known of one publish."""

    ACCEPTED = "accepted"
    """The broker has it safely in every queue it routes to."""
    REFUSED = "refused"
    """It is in no queue and never will be."""
    UNKNOWN = "unknown"
    """It may be in its queue or not."""


class Confirm(NamedTuple):
    """The end of one publish."""

    verdict: Verdict
    reason: str


ACCEPTED = Confirm(Verdict.ACCEPTED, "confirmed")
NACKED = Confirm(Verdict.REFUSED, "the broker refused it: a queue is full or failing")
UNROUTABLE = Confirm(Verdict.REFUSED, "no queue is bound for it")
DISCONNECTED = Confirm(Verdict.REFUSED, "there is no connection to the broker")
BLOCKED = Confirm(Verdict.REFUSED, "the broker accepts nothing at present: memory or disk alarm")
BUSY = Confirm(Verdict.REFUSED, "too much is waiting for the broker's confirmation")
CLOSING = Confirm(Verdict.REFUSED, "this process is stopping")
LATE = Confirm(Verdict.UNKNOWN, "the broker did not confirm in time")
LOST = Confirm(Verdict.UNKNOWN, "the connection to the broker was lost")


class Probe(NamedTuple):
    """A message that says nothing, for a stream.

    RabbitMQ 3.10 that was killed may start a stream twice, some seconds apart on a busy machine. A
    channel that published in between got no confirmation at first, and then some for what the
    stream did not have. So after a loss a connection is used only when the stream has confirmed a
    probe on it (tests/faults: kill_broker, buckets).
    """

    exchange: str
    kind: str
    body: bytes


class _Sent(NamedTuple):
    """One publish that waits for its confirmation."""

    ended: Callable[[Confirm], None]
    size: int
    deadline: float


class _ConfirmChannel(Channel):
    """A channel in confirm mode, and what is under way on it."""

    def __init__(self) -> None:
        super().__init__()
        # Random, so that two attempts never share a message id, whoever made them.
        self.nonce = os.urandom(6).hex().encode() + b"."
        self.last_tag = 0
        self.sent: dict[int, _Sent] = {}
        self.bytes = 0
        self.closed: asyncio.Future[BrokerError] = asyncio.get_running_loop().create_future()
        self._returned: set[int] = set()
        self._oldest = 1
        self._less: asyncio.Future[None] | None = None

    def send(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        kind: str,
        ended: Callable[[Confirm], None],
        deadline: float,
        headers: dict[str, str | int] | None = None,
        priority: int | None = None,
    ) -> None:
        """Publish a message; see `Publisher.send`."""
        size = len(body)
        tag = self.last_tag + 1
        message = message_frames(
            publish_method(self.number, exchange, routing_key),
            self.number,
            self.link.frame_max,
            body,
            message_id=self.nonce + b"%d" % tag,
            timestamp=int(time.time()),
            kind=kind.encode(),
            headers=table(headers) if headers else b"",
            priority=priority,
        )
        self.last_tag = tag
        self.bytes += size
        self.sent[tag] = _Sent(ended, size, asyncio.get_running_loop().time() + deadline)
        self.link.write(message)

    async def less(self) -> None:
        """Wait until something that is under way has ended."""
        if self._less is None:
            self._less = asyncio.get_running_loop().create_future()
        await asyncio.shield(self._less)

    def on_confirm(self, tag: int, multiple: bool, accepted: bool) -> None:
        for each in range(self._oldest, tag + 1) if multiple else (tag,):
            entry = self.sent.pop(each, None)
            if entry is not None:
                confirm = ACCEPTED if accepted else NACKED
                if self._returned and each in self._returned:
                    self._returned.remove(each)
                    confirm = UNROUTABLE
                self._resolve(entry, confirm)
        if multiple:
            self._oldest = max(self._oldest, tag + 1)

    def on_return(self, message_id: str, reason: str) -> None:
        tag = int(message_id.rpartition(".")[2])
        if tag in self.sent:
            self._returned.add(tag)

    def on_closed(self, reason: BrokerError) -> None:
        if not self.closed.done():
            self.closed.set_result(reason)
        entries, self.sent = self.sent, {}
        for entry in entries.values():
            self._resolve(entry, LOST)

    def expire(self, now: float) -> None:
        """End what is past its deadline; all deadlines are equally long, so the oldest is first."""
        while self._oldest <= self.last_tag:
            entry = self.sent.get(self._oldest)
            if entry is not None:
                if entry.deadline > now:
                    return
                del self.sent[self._oldest]
                self._returned.discard(self._oldest)
                self._resolve(entry, LATE)
            self._oldest += 1

    def _resolve(self, entry: _Sent, confirm: Confirm) -> None:
        self.bytes -= entry.size
        if self._less is not None:
            self._less.set_result(None)
            self._less = None
        entry.ended(confirm)


class Publisher:
    """Publishes with confirms, reconnecting by itself.

    Args:
        urls: addresses of the broker; the next is tried when one fails.
        name: how the broker's operator sees the connection.
        deadline: seconds after which an unconfirmed publish is unknown.
        most: how many publishes may be under way.
        most_bytes: how many bytes of bodies may be under way.
        patience: seconds that `room` waits.
        probe: published after a loss, before the new connection is used.
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        name: str,
        deadline: float = 5.0,
        most: int = 20_000,
        most_bytes: int = 64 * 1024 * 1024,
        patience: float = 1.0,
        probe: Probe | None = None,
    ) -> None:
        self._urls = urls
        self._name = name
        self._deadline = deadline
        self._most = most
        self._most_bytes = most_bytes
        self._patience = patience
        self._probe = probe
        self._was_connected = False
        self._link: Link | None = None
        self._channel: _ConfirmChannel | None = None
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        self._ready = asyncio.Event()
        self._told = ""

    @property
    def trouble(self) -> Confirm | None:
        """Why nothing can be published at present; None when ready."""
        if self._closing:
            return CLOSING
        if self._channel is None or self._link is None or self._channel.closed.done():
            return DISCONNECTED
        if self._link.blocked is not None:
            return BLOCKED
        return None

    @property
    def state(self) -> Literal["ready", "blocked", "disconnected", "closing"]:
        """Whether something can be published at present."""
        trouble = self.trouble
        if trouble is None:
            return "ready"
        if trouble is CLOSING:
            return "closing"
        return "blocked" if trouble is BLOCKED else "disconnected"

    @property
    def alarm(self) -> str | None:
        """What the broker says of why it blocks publishers; None when it does not."""
        return None if self._link is None else self._link.blocked

    @property
    def unconfirmed(self) -> int:
        """How many publishes wait for their confirmation."""
        return 0 if self._channel is None else len(self._channel.sent)

    async def start(self) -> None:
        """Begin to connect; returns at once."""
        self._task = asyncio.create_task(self._run(), name=f"publisher {self._name}")

    async def ready(self) -> None:
        """Wait until there is a connection."""
        await self._ready.wait()

    def is_full(self, size: int) -> bool:
        """Tell whether a body of `size` bytes has to wait for `room`."""
        channel = self._channel
        return channel is not None and self._has_no_room(channel, size)

    async def room(self, size: int) -> bool:
        """Wait, for a short time, until a body of `size` bytes may go out; tell whether it may.

        It may also when nothing can be published: then it is refused at once.
        """
        channel = self._channel
        if channel is None or not self._has_no_room(channel, size):
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience):
                while self._has_no_room(channel, size):
                    await channel.less()
                return True
        return False

    async def close(self) -> None:
        """Refuse what comes, wait for what is under way, close the connection."""
        self._closing = True
        channel = self._channel
        while channel is not None and channel.sent:
            await channel.less()
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        kind: str,
        headers: dict[str, str | int] | None = None,
        priority: int | None = None,
    ) -> asyncio.Future[Confirm]:
        """Publish one persistent, mandatory message.

        Args:
            exchange: name of the exchange.
            routing_key: at most 255 bytes.
            body: of the message.
            kind: the AMQP property `type`, ASCII.
            headers: AMQP headers of ours; what a client sent never becomes one, because RabbitMQ
                routes by some of them (`CC`, `BCC`).
            priority: 0 to 255, where the queue knows any.

        Returns:
            A future that ends with a `Confirm`, at the latest at the deadline. It never fails.
        """
        future: asyncio.Future[Confirm] = asyncio.get_running_loop().create_future()
        self.send(
            exchange,
            routing_key,
            body,
            kind=kind,
            ended=partial(end, future),
            headers=headers,
            priority=priority,
        )
        return future

    def send(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        kind: str,
        ended: Callable[[Confirm], None],
        headers: dict[str, str | int] | None = None,
        priority: int | None = None,
    ) -> None:
        """Publish one message as `publish` does, and call `ended` instead of ending a future.

        `ended` is called once, perhaps before this returns; it has to return at once, and must
        never raise.
        """
        trouble, channel = self.trouble, self._channel
        if trouble is None and channel is not None and self._has_no_room(channel, len(body)):
            trouble = BUSY
        if trouble is not None or channel is None:
            ended(trouble or DISCONNECTED)
            return
        channel.send(
            exchange,
            routing_key,
            body,
            kind=kind,
            ended=ended,
            deadline=self._deadline,
            headers=headers,
            priority=priority,
        )

    def _has_no_room(self, channel: _ConfirmChannel, size: int) -> bool:
        return bool(channel.sent) and (
            len(channel.sent) >= self._most or channel.bytes + size > self._most_bytes
        )

    async def _run(self) -> None:
        """Stay connected until cancelled."""
        backoff = Backoff()
        attempt = 0
        while True:
            url = self._urls[attempt % len(self._urls)]
            attempt += 1
            try:
                await self._connected(url, backoff)
            except BrokerError as error:
                if str(error) != self._told:  # else each attempt of an outage would say it again
                    self._told = str(error)
                    logger.warning("broker lost", connection=self._name, reason=self._told)
            except Exception:
                logger.exception("publisher failed; it connects again", connection=self._name)
            await asyncio.sleep(backoff.delay())

    async def _connected(self, url: str, backoff: Backoff) -> None:
        """Connect, and stay until the channel or the link is gone.

        Raises:
            BrokerError: why it ended.
        """
        link = await Link.connect(url, name=self._name, on_blocked=self._on_blocked)
        try:
            channel = _ConfirmChannel()
            await link.open(channel)
            await channel.call(commands.Confirm.Select(), commands.Confirm.SelectOk)
            if self._was_connected and self._probe is not None:
                await _confirm_probe(channel, self._probe)
            self._was_connected = True
            self._link, self._channel = link, channel
            self._ready.set()
            channel.closed.add_done_callback(lambda _: self._ready.clear())
            backoff.reset()
            self._told = ""
            logger.info("broker connected", connection=self._name)
            while not channel.closed.done():
                channel.expire(asyncio.get_running_loop().time())
                await asyncio.wait([channel.closed], timeout=min(self._deadline / 10, 0.25))
            raise channel.closed.result()
        finally:
            self._link = self._channel = None
            await link.close()

    def _on_blocked(self, reason: str | None) -> None:
        if reason is None:
            logger.info("broker accepts publishes again", connection=self._name)
        else:
            logger.warning("broker blocks publishes", connection=self._name, reason=reason)


async def _confirm_probe(channel: _ConfirmChannel, probe: Probe) -> None:
    """Wait until the broker has confirmed a probe.

    Raises:
        BrokerError: it has not.
    """
    confirmed: asyncio.Future[Confirm] = asyncio.get_running_loop().create_future()
    ended = partial(end, confirmed)
    channel.send(probe.exchange, "", probe.body, kind=probe.kind, ended=ended, deadline=_PROBING)
    await asyncio.wait([confirmed], timeout=_PROBING)
    confirm = confirmed.result() if confirmed.done() else LATE
    if confirm is not ACCEPTED:
        raise BrokerError(f"{probe.exchange} is not back: {confirm.reason}")


def end(future: asyncio.Future[Confirm], confirm: Confirm) -> None:
    """End a future with what became of a publish."""
    if not future.done():  # its caller may have been cancelled
        future.set_result(confirm)
