"""The connection to the broker: how it begins, how it ends, and how bytes become frames."""

import asyncio
import itertools
import struct
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pamqp import body, commands, frame, header
from tests.support.proxy import Proxy
from yarl import URL

from turnout.shared.amqp import Channel, Delivery, Link
from turnout.shared.errors import BrokerError, ChannelRefused, LinkClosed


@pytest.fixture
async def proxy(amqp_url: str) -> AsyncIterator[Proxy]:
    """A proxy before the broker."""
    async with Proxy(amqp_url) as proxy:
        yield proxy


class Noting(Channel):
    """A channel that notes what happens to it."""

    def __init__(self) -> None:
        super().__init__()
        self.deliveries: list[Delivery] = []
        self.confirms: list[tuple[int, bool, bool]] = []
        self.returned: list[str] = []
        self.ends: list[BrokerError] = []

    def on_delivery(self, delivery: Delivery) -> None:
        self.deliveries.append(delivery)

    def on_confirm(self, tag: int, multiple: bool, accepted: bool) -> None:
        self.confirms.append((tag, multiple, accepted))

    def on_return(self, message_id: str, reason: str) -> None:
        self.returned.append(message_id)

    def on_closed(self, reason: BrokerError) -> None:
        self.ends.append(reason)


# -- the end


async def test_a_broker_that_falls_silent_is_given_up_and_all_that_waits_is_told(
    proxy: Proxy,
) -> None:
    link = await Link.connect(proxy.url, name="test", heartbeat=1)
    channel = Noting()
    await link.open(channel)
    proxy.freeze()
    waiting = asyncio.create_task(
        channel.call(commands.Queue.Declare(queue="q"), commands.Queue.DeclareOk, timeout=60.0)
    )
    async with asyncio.timeout(10):
        reason = await link.closed
    assert "silent for 2 s" in str(reason)
    with pytest.raises(LinkClosed, match="silent"):
        await waiting
    assert channel.ends == [reason]
    with pytest.raises(LinkClosed):
        await channel.call(commands.Queue.Declare(queue="q"), commands.Queue.DeclareOk)


async def test_with_less_patience_a_broker_is_given_up_before_it_gives_us_up(
    proxy: Proxy,
) -> None:
    link = await Link.connect(proxy.url, name="test", heartbeat=1, patience=1)
    await asyncio.sleep(1.5)
    assert not link.is_silent
    proxy.freeze()
    async with asyncio.timeout(10):
        assert "silent for 1 s" in str(await link.closed)
    assert link.is_silent


async def test_a_process_that_was_frozen_leaves_what_had_come_to_whoever_has_it_by_now(
    amqp_url: str,
) -> None:
    link = await Link.connect(amqp_url, name="test", heartbeat=1)
    channel = Noting()
    await link.open(channel)
    queue = commands.Queue.Declare(
        queue="frozen", arguments={"x-queue-type": "quorum"}, durable=True
    )
    await channel.call(queue, commands.Queue.DeclareOk)
    await channel.call(commands.Basic.Consume(queue="frozen"), commands.Basic.ConsumeOk)
    async with asyncio.timeout(10):
        other = await Link.connect(amqp_url, name="test")
        publishes = Channel()
        await other.open(publishes)
        publish = commands.Basic.Publish(routing_key="frozen")
        other.write(
            frame.marshal(publish, publishes.number)
            + frame.marshal(header.ContentHeader(0, 0), publishes.number)
        )
        await asyncio.sleep(0)  # it leaves
        time.sleep(2.5)  # noqa: ASYNC251 - that is the matter
        reason = await link.closed
    assert "this process was silent" in str(reason)
    assert not channel.deliveries
    await other.close()


async def test_heartbeats_keep_an_idle_connection_alive(proxy: Proxy) -> None:
    link = await Link.connect(proxy.url, name="test", heartbeat=1)
    with pytest.raises(TimeoutError):
        # Silence is given up after two seconds.
        await asyncio.wait_for(asyncio.shield(link.closed), 3.0)
    await link.close()


async def test_a_broker_that_does_not_answer_a_call_in_time_is_not_trusted_any_more(
    proxy: Proxy,
) -> None:
    link = await Link.connect(proxy.url, name="test")
    channel = Noting()
    await link.open(channel)
    proxy.freeze()
    with pytest.raises(LinkClosed, match="did not answer"):
        await channel.call(commands.Queue.Declare(queue="q"), commands.Queue.DeclareOk, 0.1)
    assert link.closed.done()
    assert len(channel.ends) == 1


async def test_a_channel_that_the_broker_closes_is_told_why_and_others_go_on(
    amqp_url: str,
) -> None:
    link = await Link.connect(amqp_url, name="test")
    broken, other = Noting(), Noting()
    await link.open(broken)
    await link.open(other)
    missing = commands.Queue.Declare(queue="missing", passive=True)
    with pytest.raises(ChannelRefused, match="404") as refused:
        await broken.call(missing, commands.Queue.DeclareOk)
    assert refused.value.code == 404
    assert broken.ends == [refused.value]
    await other.call(commands.Basic.Qos(prefetch_count=1), commands.Basic.QosOk)
    assert other.ends == []
    await link.close()
    assert len(other.ends) == 1


# -- the beginning


@pytest.mark.parametrize("trouble", ["password", "vhost", "silent", "down", "not AMQP"])
async def test_a_connection_that_cannot_be_made_says_where_and_why(
    amqp_url: str, proxy: Proxy, trouble: str
) -> None:
    url = URL(proxy.url)
    match trouble:
        case "password":
            url = url.with_password("wr0ng")
        case "vhost":
            url = url.with_path("/missing")
        case "silent":
            proxy.freeze()
        case "down":
            proxy.down()
        case "not AMQP":
            # It answers with a line of HTTP before it has read anything of ours.
            server = await asyncio.start_server(_speak_http, "127.0.0.1", 0)
            url = url.with_port(server.sockets[0].getsockname()[1])
    with pytest.raises(BrokerError) as error:
        await Link.connect(str(url), name="test", timeout=1.0 if trouble == "silent" else 5.0)
    text = str(error.value)
    assert f"{url.host}:{url.port}" in text
    assert (URL(amqp_url).password or "none") not in text
    assert "wr0ng" not in text
    if trouble == "not AMQP":
        server.close()


async def _speak_http(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
    await writer.drain()
    writer.close()


# -- bytes


def delivery_frames(tag: int, content: bytes, frame_max: int) -> bytes:
    """Return a delivery as another implementation writes it."""
    method = commands.Basic.Deliver(
        "consumer", tag, redelivered=False, exchange="x", routing_key="k"
    )
    properties = header.ContentHeader(
        0, len(content), commands.Basic.Properties(message_id=f"id.{tag}")
    )
    data = frame.marshal(method, 1) + frame.marshal(properties, 1)
    for begin in range(0, len(content), frame_max):
        data += frame.marshal(body.ContentBody(content[begin : begin + frame_max]), 1)
    return data


def return_frames(tag: int) -> bytes:
    method = commands.Basic.Return(312, "NO_ROUTE", "x", "k")
    properties = header.ContentHeader(0, 0, commands.Basic.Properties(message_id=f"id.{tag}"))
    return frame.marshal(method, 1) + frame.marshal(properties, 1)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes into pieces."""
    edges = [0, *sorted({place % (len(data) + 1) for place in places}), len(data)]
    return [data[begin:end] for begin, end in itertools.pairwise(edges)]


@given(
    contents=st.lists(st.binary(max_size=50), max_size=6),
    places=st.lists(st.integers(0, 5000), max_size=20),
)
def test_frames_are_read_however_the_network_cuts_them(
    contents: list[bytes], places: list[int]
) -> None:
    data = b""
    for tag, content in enumerate(contents, 1):
        data += delivery_frames(tag, content, frame_max=7)
        data += frame.marshal(commands.Basic.Ack(tag, multiple=tag % 2 == 0), 1)
        data += return_frames(tag) + b"\x08\x00\x00\x00\x00\x00\x00\xce"  # and a heartbeat
        data += frame.marshal(commands.Basic.Nack(tag), 1)

    async def read() -> Noting:
        link, channel = Link("test", None), Noting()
        link.channels[1] = channel
        for piece in cut(data, places):
            link.data_received(piece)
        assert not link.closed.done()
        return channel

    channel = asyncio.run(read())
    assert [(each.tag, each.body) for each in channel.deliveries] == list(enumerate(contents, 1))
    numbers = range(1, len(contents) + 1)
    assert channel.returned == [f"id.{tag}" for tag in numbers]
    assert channel.confirms == [
        each for tag in numbers for each in ((tag, tag % 2 == 0, True), (tag, False, False))
    ]


class Transport(asyncio.WriteTransport):
    """Where a link ends that was never connected."""

    def abort(self) -> None:
        pass


@given(kind=st.integers(0, 255), payload=st.binary(max_size=60), known=st.booleans())
def test_what_is_no_frame_ends_the_link_and_raises_nothing(
    kind: int, payload: bytes, known: bool
) -> None:
    async def read() -> None:
        link, channel = Link("test", None), Noting()
        link.connection_made(Transport())
        link.channels[1] = channel
        number = 1 if known else 7
        link.data_received(struct.pack(">BHI", kind, number, len(payload)) + payload + b"\xce")
        assert len(channel.ends) == link.closed.done()

    asyncio.run(read())
