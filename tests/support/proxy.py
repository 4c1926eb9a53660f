"""A proxy before a real server, to trouble its connections one way at a time."""

import asyncio
from types import TracebackType
from typing import Self

from yarl import URL


class Proxy:
    """Passes bytes between clients and a server, until it is told otherwise.

    Args:
        url: of the server.
        port: on which clients find the proxy; 0: any.

    Attributes:
        url: of the server, through the proxy.
        port: of the proxy.
        held: how many pieces of what the server sent are held back.
    """

    def __init__(self, url: str, port: int = 0) -> None:
        self._target = URL(url)
        self.url = ""
        self.port = port
        self.held = 0
        self._server: asyncio.Server | None = None
        self._requests = asyncio.Event()
        self._replies = asyncio.Event()
        self.thaw()
        self._losing = False
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def up(self) -> None:
        """Take connections; the port stays the same."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = str(self._target.with_host("127.0.0.1").with_port(self.port))

    def down(self) -> None:
        """Reset all connections, and refuse new ones."""
        if self._server is not None:
            self._server.close()
        self.cut()

    def cut(self) -> None:
        """Reset all connections; new ones are taken."""
        for writer in self._writers:
            writer.transport.abort()

    def freeze(self) -> None:
        """Keep all connections open, and pass nothing."""
        self._requests.clear()
        self._replies.clear()

    def hold_replies(self) -> None:
        """Keep all connections open, and pass only what clients send."""
        self._replies.clear()

    def thaw(self) -> None:
        """Pass what was held back, and all that follows."""
        self._requests.set()
        self._replies.set()

    def lose_a_reply(self) -> None:
        """Reset all connections instead of passing the next bytes that the server sends."""
        self._losing = True

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.down()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            far_reader, far_writer = await asyncio.open_connection(
                self._target.host, self._target.port
            )
            self._writers.add(far_writer)
            back = asyncio.create_task(self._pass(far_reader, writer, is_reply=True))
            try:
                await self._pass(reader, far_writer, is_reply=False)
            finally:
                back.cancel()
                far_writer.transport.abort()
                self._writers.discard(far_writer)
        except (OSError, asyncio.CancelledError):
            pass  # either end has gone, or the test is over
        finally:
            writer.transport.abort()
            self._writers.discard(writer)
            self._tasks.discard(task)

    async def _pass(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_reply: bool
    ) -> None:
        try:
            while data := await reader.read(65536):
                self.held += is_reply
                await (self._replies if is_reply else self._requests).wait()
                self.held -= is_reply
                if is_reply and self._losing:
                    self._losing = False
                    self.cut()
                    return
                writer.write(data)
                await writer.drain()
        except OSError:
            pass
        writer.transport.abort()
