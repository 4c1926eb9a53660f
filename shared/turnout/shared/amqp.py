"""One AMQP 0-9-1 connection, driven by callbacks instead of tasks.

    Link.connect ──handshake──▶ open ⇄ blocked (memory or disk alarm of the broker)
                                  │
                                  │ close(), Connection.Close, end of stream, silence
                                  ▼
                                closed: the future `closed` holds the reason

A call through ingress or an event through a worker costs a few microseconds here, because a frame
becomes a method call at once: no task, queue or lock stands between the socket and its reader, and
all that is written in one turn of the event loop leaves in one system call. pamqp codes the frames,
except the few that are sent or received for every message. docs/decisions/0001-own-amqp-link.md
has the measurement against client libraries.

Protocol facts are from the AMQP 0-9-1 specification (§2.3.5 frames, §4.2.6 content) and RabbitMQ's
extensions to it (publisher confirms, connection.blocked, authentication_failure_close).
"""

import asyncio
import math
import ssl
import struct
from collections import deque
from functools import lru_cache
from typing import Any, NamedTuple, Protocol, Self, TypeVar, cast

from pamqp import commands, constants, encode, frame, header
from pamqp.base import Frame
from pamqp.exceptions import PAMQPException
from pamqp.heartbeat import Heartbeat
from yarl import URL

from turnout.shared import log
from turnout.shared.errors import BrokerError, ChannelRefused, LinkClosed

logger = log.get(__name__)

_HEAD = struct.Struct(">BHI")  # type, channel, size of the payload
_METHOD = struct.Struct(">I")  # class and method id
_CONFIRM = struct.Struct(">QB")  # delivery tag, bits
_CONTENT = struct.Struct(">HHQ")  # class, weight, size of the body
#: Of a header frame: head, class, weight, size of the body, property flags.
_CONTENT_FRAME = struct.Struct(">BHIHxxQH")
_OTHER_PROPERTIES = 25  # bytes: those and the properties of fixed length, with all lengths
_TAG = struct.Struct(">QB")  # delivery tag, redelivered
_ACK = struct.Struct(">BHIIQBB")  # a whole Basic.Ack frame

_END = b"\xce"
_HEARTBEAT = Heartbeat().marshal()

_DELIVER = commands.Basic.Deliver.index
_RETURN = commands.Basic.Return.index
_BASIC_ACK = commands.Basic.Ack.index
_BASIC_NACK = commands.Basic.Nack.index

# Property flags, in the order in which the properties follow.
_CONTENT_TYPE, _CONTENT_ENCODING, _HEADERS, _DELIVERY_MODE = 0x8000, 0x4000, 0x2000, 0x1000
_PRIORITY, _MESSAGE_ID, _TIMESTAMP, _TYPE = 0x0800, 0x0080, 0x0040, 0x0020
_PERSISTENT = b"\x02"

_CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}

Reply = TypeVar("Reply", bound=Frame)


class Delivery(NamedTuple):
    """One message that the broker handed to a consumer."""

    tag: int
    redelivered: bool
    routing_key: str
    properties: bytes
    """The payload of its content header frame; see `properties_of`."""
    body: bytes


def properties_of(delivery: Delivery) -> commands.Basic.Properties:
    """Decode the properties of a delivery: few readers need them, so this is not done for each."""
    return _properties(delivery.properties)


def _properties(payload: bytes) -> commands.Basic.Properties:
    content = header.ContentHeader()
    content.unmarshal(payload)
    return content.properties


class Channel:
    """One channel of a link. Publishers and consumers override the callbacks they need.

    A callback runs inside the link's reader: it returns at once and never raises.
    """

    link: "Link"
    number: int

    def __init__(self) -> None:
        self._replies: deque[asyncio.Future[Frame]] = deque()
        self._content: _Content | None = None

    def on_confirm(self, tag: int, multiple: bool, accepted: bool) -> None:
        """Handle the broker's confirmation (or refusal) of a publish."""

    def on_return(self, message_id: str, reason: str) -> None:
        """Handle a mandatory message that no queue took; its confirmation follows."""

    def on_delivery(self, delivery: Delivery) -> None:
        """Handle a message for a consumer of this channel."""

    def on_cancel(self, consumer_tag: str) -> None:
        """Handle the broker's cancellation of a consumer, as when its queue is deleted."""

    def on_closed(self, reason: BrokerError) -> None:
        """Handle the end of the channel, whoever ended it."""

    async def call(self, request: Frame, reply: type[Reply], timeout: float = 10.0) -> Reply:
        """Send a request and wait for its reply; several may be under way at once.

        Args:
            request: a synchronous method of AMQP.
            reply: the method that answers it.
            timeout: seconds to wait. A broker that does not answer is not trusted any more: the
                whole link is closed.

        Raises:
            ChannelRefused: the broker closed the channel instead of answering.
            LinkClosed: the connection is gone, or the answer did not come in time.
        """
        if self.link.closed.done():
            raise LinkClosed(str(self.link.closed.result()))
        if self.link.channels.get(self.number) is not self:
            raise LinkClosed("the channel is closed")
        answer = self.next_reply()
        self.link.write(frame.marshal(request, self.number))
        try:
            async with asyncio.timeout(timeout):
                method = await answer
        except TimeoutError:
            reason = LinkClosed(f"RabbitMQ did not answer {request.name} within {timeout} s")
            self.link.abort(reason)
            raise reason from None
        if not isinstance(method, reply):
            raise LinkClosed(f"RabbitMQ answered {method.name} to {request.name}")
        return method

    async def close(self) -> None:
        """Close the channel; what it did not acknowledge is the broker's again.

        Raises:
            BrokerError: the channel, or the link, was closed before.
        """
        await self.call(commands.Channel.Close(200, "", 0, 0), commands.Channel.CloseOk)
        self.link.channels.pop(self.number, None)
        self.end(LinkClosed("the channel was closed by us"))

    def next_reply(self) -> asyncio.Future[Frame]:
        """Return a future for the next reply that nobody waits for yet: replies come in order."""
        future: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        self._replies.append(future)
        return future

    def ack(self, tag: int, *, multiple: bool = False) -> None:
        """Acknowledge a delivery (with `multiple`, all up to it)."""
        self.link.write(
            _ACK.pack(1, self.number, 13, _BASIC_ACK, tag, multiple, constants.FRAME_END)
        )

    def reject(self, tag: int, *, requeue: bool) -> None:
        """Refuse a delivery: back to its queue, or to the queue's dead-letter exchange."""
        self.link.write(frame.marshal(commands.Basic.Reject(tag, requeue), self.number))

    def receive(self, kind: int, payload: bytes) -> None:
        """Take one frame; called by the link.

        Raises:
            LookupError, ValueError, struct.error, PAMQPException: it makes no sense here.
        """
        if kind == constants.FRAME_METHOD:
            (index,) = _METHOD.unpack_from(payload)
            if index in (_BASIC_ACK, _BASIC_NACK):
                tag, bits = _CONFIRM.unpack_from(payload, 4)
                self.on_confirm(tag, bool(bits & 1), index == _BASIC_ACK)
            elif index in (_DELIVER, _RETURN):
                self._content = _Content(payload)
            else:
                method = commands.INDEX_MAPPING[index]()
                method.unmarshal(payload[4:])
                self.receive_method(method)
            return
        content = self._content
        if content is None:
            raise LookupError("content without a method")
        if kind == constants.FRAME_HEADER:
            content.properties = payload
            _, _, content.missing = _CONTENT.unpack_from(payload)
        else:
            content.body.append(payload)
            content.missing -= len(payload)
        if content.missing <= 0:
            self._content = None
            self._receive_message(content)

    def receive_method(self, method: Frame) -> None:
        """Take a method that is neither a confirmation nor the start of a message.

        Raises:
            LookupError: nobody asked for it.
        """
        if isinstance(method, commands.Channel.Close):
            self.link.write(frame.marshal(commands.Channel.CloseOk(), self.number))
            self.link.channels.pop(self.number, None)
            self.end(ChannelRefused(method.reply_code or 0, method.reply_text))
        elif isinstance(method, commands.Basic.Cancel):
            self.on_cancel(method.consumer_tag or "")
        elif self._replies:
            future = self._replies.popleft()
            if not future.done():
                future.set_result(method)
        else:
            raise LookupError(f"unexpected {method.name}")

    def end(self, reason: BrokerError) -> None:
        """Fail everything that waits; called by the link."""
        for future in self._replies:
            if not future.done():
                future.set_exception(reason)
        self._replies.clear()
        self.on_closed(reason)

    def _receive_message(self, content: "_Content") -> None:
        body = content.body[0] if len(content.body) == 1 else b"".join(content.body)
        (index,) = _METHOD.unpack_from(content.method)
        if index == _DELIVER:
            # consumer tag, delivery tag, redelivered, exchange, routing key
            position = 5 + content.method[4]
            tag, redelivered = _TAG.unpack_from(content.method, position)
            position += 9
            position += 1 + content.method[position]
            routing_key = content.method[position + 1 :].decode("utf-8", "surrogateescape")
            self.on_delivery(
                Delivery(tag, bool(redelivered), routing_key, content.properties, body)
            )
        else:
            returned = commands.Basic.Return()
            returned.unmarshal(content.method[4:])
            self.on_return(_properties(content.properties).message_id or "", returned.reply_text)


class _Control(Channel):
    """Channel 0, which carries the connection's own methods."""

    def receive_method(self, method: Frame) -> None:
        if isinstance(method, commands.Connection.Blocked | commands.Connection.Unblocked):
            self.link.on_blocked(getattr(method, "reason", None))
        elif isinstance(method, commands.Connection.Close):
            self.link.on_refused(f"{method.reply_code} {method.reply_text}")
        else:
            super().receive_method(method)


class _Content:
    """A message that is being received: its method frame has come, its parts follow."""

    __slots__ = ("body", "method", "missing", "properties")

    def __init__(self, method: bytes) -> None:
        self.method = method
        self.properties = b""
        self.missing = 0
        self.body: list[bytes] = []


class BlockedListener(Protocol):
    """Who wants to know that the broker blocks (reason) or unblocks (None) publishers."""

    def __call__(self, reason: str | None) -> None:
        """Take note."""


class Link(asyncio.Protocol):
    """One connection to RabbitMQ.

    Attributes:
        closed: resolved, never failed, with the reason once the connection has ended.
        blocked: why the broker accepts no publishes at present, or None.
        channels: the open ones by number.
        frame_max: greatest size of a frame in bytes, as negotiated.
    """

    def __init__(self, host: str, on_blocked: BlockedListener | None, patience: int = 2) -> None:
        self._loop = asyncio.get_running_loop()
        self._host = host
        self._listener = on_blocked
        self._transport: asyncio.WriteTransport
        self._rest = b""
        self._output: list[bytes] = []
        self._heard = self._loop.time()
        self._patience = float(patience)  # in heartbeats, then in seconds
        self._beaten = self._heard
        self._silence = math.inf
        self._watch: asyncio.TimerHandle | None = None
        self._control = _Control()
        self._control.link, self._control.number = self, 0
        self.closed: asyncio.Future[BrokerError] = self._loop.create_future()
        self.blocked: str | None = None
        self.channels: dict[int, Channel] = {0: self._control}
        self.channel_max = 2047
        self.frame_max = 131072

    @classmethod
    async def connect(
        cls,
        url: str,
        *,
        name: str,
        timeout: float = 5.0,
        heartbeat: int = 10,
        patience: int = 2,
        on_blocked: BlockedListener | None = None,
    ) -> Self:
        """Open a connection.

        Args:
            url: amqp[s]://user:password@host:port/vhost; with amqps the certificate is verified
                against the system's authorities, or those of `?cafile=`.
            name: how the broker's operator sees this connection.
            timeout: seconds for all of it.
            heartbeat: seconds; a peer that sends nothing else tells twice as often that it lives.
            patience: after how many heartbeats of silence the broker is given up. It gives up a
                silent client after two or three, so with 1 we know that it may before it does.
            on_blocked: told when the broker blocks and unblocks publishers.

        Raises:
            BrokerError: the broker cannot be reached or refuses; says which and why.
        """
        address = URL(url)
        secure = address.scheme == "amqps"
        port = address.port or (5671 if secure else 5672)
        host = f"{address.host}:{port}"
        context = ssl.create_default_context(cafile=address.query.get("cafile")) if secure else None
        link = None
        try:
            async with asyncio.timeout(timeout):
                _, link = await asyncio.get_running_loop().create_connection(
                    lambda: cls(host, on_blocked, patience), address.host or "", port, ssl=context
                )
                await link.shake_hands(address, name, heartbeat, timeout)
        except BaseException as error:
            if link is not None:
                link.abort(LinkClosed("the connection was not established"))
            if isinstance(error, TimeoutError):
                raise BrokerError(f"RabbitMQ at {host} did not answer within {timeout} s") from None
            if isinstance(error, OSError):
                raise BrokerError(f"RabbitMQ at {host} cannot be reached: {error}") from None
            raise
        return link

    async def shake_hands(self, url: URL, name: str, heartbeat: int, timeout: float) -> None:
        """Log in and choose the virtual host; called by `connect`."""
        start = self._control.next_reply()
        self.write(header.ProtocolHeader().marshal())
        await start
        tune = await self._control.call(
            commands.Connection.StartOk(
                client_properties={
                    "product": "turnout",
                    "connection_name": name,
                    "capabilities": cast("Any", _CAPABILITIES),
                },
                mechanism="PLAIN",
                response=f"\0{url.user or 'guest'}\0{url.password or 'guest'}",
                locale="en_US",
            ),
            commands.Connection.Tune,
            timeout,
        )
        self.frame_max = min(tune.frame_max or self.frame_max, self.frame_max)
        self.channel_max = min(tune.channel_max or self.channel_max, self.channel_max)
        heartbeat = min(tune.heartbeat or heartbeat, heartbeat)
        self.write(
            frame.marshal(
                commands.Connection.TuneOk(self.channel_max, self.frame_max, heartbeat), 0
            )
        )
        vhost = url.path[1:] or "/"
        await self._control.call(
            commands.Connection.Open(virtual_host=vhost), commands.Connection.OpenOk, timeout
        )
        self._patience *= heartbeat
        self._beat(heartbeat)

    @property
    def is_silent(self) -> bool:
        """Whether nothing came for so long that the broker is to be given up; for any thread."""
        return self._loop.time() - self._heard > self._patience > 0

    async def open(self, channel: Channel, timeout: float = 10.0) -> None:
        """Open a channel.

        Raises:
            BrokerError: the link is closed, or the broker refuses.
        """
        number = next(
            (each for each in range(1, self.channel_max + 1) if each not in self.channels), None
        )
        if number is None:
            raise BrokerError(f"all {self.channel_max} channels of the connection are in use")
        channel.link, channel.number = self, number
        self.channels[number] = channel
        await channel.call(commands.Channel.Open(), commands.Channel.OpenOk, timeout)

    def write(self, data: bytes) -> None:
        """Send bytes with all others of this turn of the event loop; after the end, do nothing."""
        if not self._output:
            self._loop.call_soon(self._flush)
        self._output.append(data)

    async def close(self, timeout: float = 5.0) -> None:
        """Say goodbye and end the connection; at once if the broker does not answer in time."""
        if not self.closed.done():
            try:
                await self._control.call(
                    commands.Connection.Close(200, "closed", 0, 0),
                    commands.Connection.CloseOk,
                    timeout,
                )
            except BrokerError as error:
                logger.debug("closing without an answer", reason=str(error))
        self.abort(LinkClosed("closed by us"))

    def abort(self, reason: BrokerError) -> None:
        """End the connection now, for this reason."""
        if self.closed.done():
            return
        self.closed.set_result(reason)
        if self._watch is not None:
            self._watch.cancel()
        self._transport.abort()
        channels, self.channels = self.channels, {}
        for channel in channels.values():
            channel.end(reason)

    # -- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport = cast("asyncio.WriteTransport", transport)

    def connection_lost(self, error: Exception | None) -> None:
        """End everything that waits."""
        self.abort(LinkClosed(f"RabbitMQ at {self._host} closed the connection: {error or 'EOF'}"))

    def data_received(self, data: bytes) -> None:
        """Cut the stream into frames and hand each to its channel.

        Not after a time in which this process was frozen, or its loop blocked, and sent no
        heartbeat: the broker may have given it up, and each message in here to somebody else.
        """
        self._heard = self._loop.time()
        if self._heard - self._beaten > self._silence:
            self.abort(LinkClosed(f"this process was silent for more than {self._silence:g} s"))
            return
        if self._rest:
            data = self._rest + data
        position, size = 0, len(data)
        try:
            while size - position >= 8:  # the smallest frame: head, no payload, end
                kind, number, length = _HEAD.unpack_from(data, position)
                begin = position + 7
                end = begin + length
                if end >= size:
                    break
                channel = self.channels.get(number)
                if channel is not None and kind != constants.FRAME_HEARTBEAT:
                    channel.receive(kind, data[begin:end])
                position = end + 1
        except (PAMQPException, struct.error, ValueError, LookupError) as error:
            self.abort(LinkClosed(f"RabbitMQ at {self._host} sent what is not AMQP: {error!r}"))
        self._rest = data[position:]

    # -- called by channel 0

    def on_blocked(self, reason: str | None) -> None:
        """Note that the broker accepts no publishes, or (None) that it does again."""
        self.blocked = reason
        if self._listener:
            self._listener(reason)

    def on_refused(self, reason: str) -> None:
        """Confirm that the broker closes the connection, and end it."""
        self.write(frame.marshal(commands.Connection.CloseOk(), 0))
        self._flush()
        self.abort(BrokerError(f"RabbitMQ at {self._host} refused: {reason}"))

    def _flush(self) -> None:
        data, self._output = self._output, []
        if data and not self.closed.done():
            self._transport.write(data[0] if len(data) == 1 else b"".join(data))

    def _beat(self, interval: int) -> None:
        """Send a heartbeat four times an interval, and give up a peer that is silent."""
        if interval <= 0:
            return
        self._silence = 2.0 * interval
        self._beaten = self._loop.time()
        if self.is_silent:
            reason = f"RabbitMQ at {self._host} was silent for {self._patience:g} s"
            self.abort(LinkClosed(reason))
            return
        self.write(_HEARTBEAT)
        self._watch = self._loop.call_later(interval / 4, self._beat, interval)


@lru_cache(maxsize=16384)
def publish_method(channel: int, exchange: str, routing_key: str) -> bytes:
    """Return the Basic.Publish frame, mandatory, of one route: nearly always the same few.

    Raises:
        ValueError: exchange or routing key is not an AMQP short string (255 bytes).
    """
    request = commands.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
    return frame.marshal(request, channel)


def message_frames(
    method: bytes,
    channel: int,
    frame_max: int,
    body: bytes,
    *,
    message_id: bytes,
    timestamp: int,
    kind: bytes,
    headers: bytes = b"",
    priority: int | None = None,
) -> bytes:
    """Return all frames of one persistent message.

    Args:
        method: the frame that they follow, see `publish_method`.
        channel: number of the channel.
        frame_max: greatest size of a frame in bytes.
        body: of the message.
        message_id: the property of that name, ASCII.
        timestamp: the property of that name, in seconds since the Unix epoch.
        kind: the property `type`, ASCII.
        headers: an encoded AMQP table, see `table`.
        priority: the property of that name, 0 to 255.
    """
    flags = _DELIVERY_MODE | _MESSAGE_ID | _TIMESTAMP | _TYPE
    size = len(body)
    properties = len(headers) + len(message_id) + len(kind) + _OTHER_PROPERTIES
    how = _PERSISTENT
    if headers:
        flags |= _HEADERS
    if priority is not None:
        flags |= _PRIORITY
        properties += 1
        how += priority.to_bytes()
    frames = [
        method,
        _CONTENT_FRAME.pack(
            constants.FRAME_HEADER, channel, properties, commands.Basic.frame_id, size, flags
        ),
        headers,
        how,
        len(message_id).to_bytes(),
        message_id,
        timestamp.to_bytes(8),
        len(kind).to_bytes(),
        kind,
        _END,
    ]
    most = frame_max - 8
    for begin in range(0, size, most):
        piece = body[begin : begin + most] if size > most else body
        frames += (_HEAD.pack(constants.FRAME_BODY, channel, len(piece)), piece, _END)
    return b"".join(frames)


def table(headers: dict[str, str | int]) -> bytes:
    """Encode an AMQP table: our own headers only, never what a client sent."""
    return encode.field_table(cast("Any", headers))
