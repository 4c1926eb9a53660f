"""The end of a server, as its senders see it."""

import asyncio
import socket

import pytest
import uvloop
from aiohttp import web

from turnout.ingress import responses
from turnout.ingress.answer import Answer
from turnout.ingress.connection import Server

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
    server = Server(ok, lambda *_: None, keep_alive=60, max_header_bytes=8190)
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
