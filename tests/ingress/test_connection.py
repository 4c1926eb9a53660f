"""A server as its senders see it: on the express way, and at its end."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import pytest
import uvloop
from aiohttp import StreamReader, web
from aiohttp.http_parser import RawRequestMessage
from tests.ingress.serving import PATIENCE, Sender, Talk, connected
from tests.ingress.serving import Answer as Answered
from tests.support.waiting import eventually

from turnout.ingress import responses
from turnout.ingress.admission import Admission
from turnout.ingress.answer import Answer
from turnout.ingress.connection import Connection, Server

CALL = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

#: More turns of the event loop than it takes to accept a connection.
TURNS = 8


async def ok(_: web.BaseRequest) -> Answer:
    return responses.health({})


async def end_after(turns: int) -> bytes | None:
    """Stop a server some turns after a connection came, which calls a moment later.

    Returns:
        The answer, or None if the connection was not accepted and waits for another process.
    """
    listening = socket.create_server(("127.0.0.1", 0))
    server = Server(ok, lambda *_: False, lambda *_: None, keep_alive=60, max_header_bytes=8190)
    runner = web.ServerRunner(server)
    await runner.setup()
    with listening.dup() as kept, socket.create_connection(listening.getsockname()) as sender:
        site = web.SockSite(runner, listening)
        await site.start()

        async def call() -> None:
            for _ in range(turns + 3):
                await asyncio.sleep(0)
            sender.send(CALL)

        calling = asyncio.create_task(call())
        for _ in range(turns):
            await asyncio.sleep(0)
        await site.stop()
        await server.drain(10)
        await runner.cleanup()
        await calling
        kept.setblocking(False)
        try:
            kept.accept()[0].close()
        except BlockingIOError:
            sender.settimeout(10)
            return sender.recv(1024)
        return None


@pytest.mark.parametrize("turns", range(TURNS))
def test_who_is_accepted_in_the_last_moment_is_answered(turns: int) -> None:
    answer = uvloop.run(end_after(turns))
    assert answer is None or answer.startswith(b"HTTP/1.1 200 ")


class Way:
    """A server of which all calls but the first of a connection go the express way, if they may.

    Attributes:
        handled: how many calls went the way of all calls.
        taken: what answers each of the others.
    """

    def __init__(self, keep_alive: float = 60) -> None:
        self.handled = 0
        self.taken: list[Callable[[Answer], None]] = []
        self.server = Server(
            self._handle, self._take, lambda *_: None, keep_alive=keep_alive, max_header_bytes=8190
        )
        self._runner = web.ServerRunner(self.server)

    async def start(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def seen(self) -> None:
        """Wait until it has seen all that was sent before."""
        async with self.sender():
            pass

    @asynccontextmanager
    async def sender(self) -> AsyncIterator[Sender]:
        """Open a connection, on which a first call has been answered, for as long as it lasts."""
        async with connected(self._runner.addresses[0][1]) as sender:
            assert who(await sender.call(CALL)) == "handler"
            yield sender

    async def took(self, number: int) -> None:
        """Wait until it has taken so many calls."""
        await eventually(lambda: len(self.taken) >= number, PATIENCE, f"{number} are taken")

    async def _handle(self, request: web.BaseRequest) -> Answer:
        cast("Connection", request.protocol).admission = cast("Admission", self)
        await request.read()
        self.handled += 1
        return said("handler")

    def _take(
        self,
        last: Admission,
        message: RawRequestMessage,
        body: StreamReader,
        answer: Callable[[Answer], None],
    ) -> bool:
        assert last is self
        if body.is_eof():
            self.taken.append(answer)
        return body.is_eof()


def who(answer: Answered) -> str:
    """Return who gave an answer."""
    return str(answer.json["problem"])


def said(problem: str) -> Answer:
    return responses.health({"problem": problem})


@pytest.fixture
async def way() -> AsyncIterator[Way]:
    way = Way()
    await way.start()
    yield way
    await way.stop()


async def test_calls_on_the_express_way_are_answered_one_after_the_other(way: Way) -> None:
    async with way.sender() as sender:
        for number in range(1, 4):
            sender.send(CALL)
            await way.took(number)
            way.taken[-1](said(f"express {number}"))
            assert who(await sender.answer()) == f"express {number}"


async def test_what_comes_meanwhile_is_answered_afterwards(way: Way) -> None:
    async with way.sender() as sender:
        sender.send(CALL)
        await way.took(1)
        sender.send(CALL + CALL)
        sender.send(CALL[:20])
        await way.seen()
        way.taken[0](said("express"))
        assert [who(await sender.answer()) for _ in range(3)] == ["express", "handler", "handler"]
        sender.send(CALL[20:])
        await way.took(2)
        way.taken[1](said("express again"))
        assert who(await sender.answer()) == "express again"


async def test_what_is_no_call_and_comes_meanwhile_is_refused_afterwards(way: Way) -> None:
    async with way.sender() as sender:
        sender.send(CALL)
        await way.took(1)
        sender.send(b"\0 is no request\r\n\r\n")
        await way.seen()
        way.taken[0](said("express"))
        assert who(await sender.answer()) == "express"
        assert (await sender.rest()).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize(
    "call",
    [
        b"HEAD / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
        CALL * 2,
    ],
)
async def test_what_needs_more_goes_the_way_of_all_calls(way: Way, call: bytes) -> None:
    async with way.sender() as sender:
        sender.send(call)
        assert await sender.head()
        assert not way.taken


async def test_a_body_that_comes_in_pieces_is_read_as_with_all_calls(way: Way) -> None:
    async with way.sender() as sender:
        sender.send(b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\n{")
        await way.seen()
        assert who(await sender.call(b'"}}')) == "handler"
        assert not way.taken


async def test_a_sender_that_goes_away_meanwhile_leaves_nothing_behind(way: Way) -> None:
    async with way.sender() as sender:
        sender.send(CALL)
        await way.took(1)
        await sender.close()
        await eventually(lambda: not way.server.connections, PATIENCE, "the connection has ended")
        way.taken[0](said("express"))
        await way.seen()


async def test_a_connection_is_not_idle_meanwhile() -> None:
    way = Way(keep_alive=0.5)
    await way.start()
    async with way.sender() as sender:
        sender.send(CALL)
        await way.took(1)
        await asyncio.sleep(1.5)  # longer than one without a call is kept
        way.taken[0](said("express"))
        assert who(await sender.answer()) == "express"
        assert await sender.rest() == b"", "it is idle now, and closed"
    await way.stop()


async def test_a_server_that_stops_waits_for_calls_on_the_express_way(way: Way) -> None:
    async with way.sender() as sender:
        sender.send(CALL)
        await way.took(1)
        draining = asyncio.create_task(way.server.drain(PATIENCE))
        _, waits = await asyncio.wait([draining], timeout=0.1)
        assert waits
        way.taken[0](said("express"))
        (answer,) = Talk.read(await sender.rest()).answers
        assert (answer.json["problem"], answer.headers["connection"]) == ("express", "close")
        await asyncio.wait_for(draining, PATIENCE)


async def test_a_server_that_is_cleaned_up_waits_for_calls_on_the_express_way(way: Way) -> None:
    async with way.sender() as sender:
        sender.send(CALL)
        await way.took(1)
        stopping = asyncio.create_task(way.stop())
        _, waits = await asyncio.wait([stopping], timeout=0.1)
        assert waits
        way.taken[0](said("express"))
        (answer,) = Talk.read(await sender.rest()).answers
        assert answer.json["problem"] == "express"
        await asyncio.wait_for(stopping, PATIENCE)


async def test_who_does_not_read_its_answers_is_not_served_until_it_does(way: Way) -> None:
    async with way.sender() as sender:
        (connection,) = way.server.connections
        connection.pause_writing()  # as the transport says when its buffer is full
        sender.send(CALL * 20)
        await way.seen()
        before = way.handled
        for _ in range(20):
            await way.seen()
        assert way.handled == before + 20, "none of the calls of the first sender"
        connection.resume_writing()
        assert [who(await sender.answer()) for _ in range(20)] == ["handler"] * 20
