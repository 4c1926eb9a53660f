"""The HTTP server: aiohttp's, with our own answers to what is no request, and an orderly end."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from turnout.ingress import responses
from turnout.ingress.admission import Admission
from turnout.ingress.answer import Answer
from turnout.ingress.refused import Caller
from turnout.ingress.responses import Refusal
from turnout.shared import log

logger = log.get(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[Answer]]
Note = Callable[[Refusal, Caller], None]

#: Seconds in which a refused body is read on and thrown away, so that the sender sees the answer
#: instead of a reset connection.
_LINGER = 1.0


class Connection(RequestHandler):
    """One connection of a sender.

    Attributes:
        admission: what its last call was found to be.
    """

    __slots__ = ("_note", "admission")

    def __init__(self, server: "Server", note: Note, **options: Any) -> None:
        super().__init__(server, **options)
        self._note = note
        self.admission: Admission | None = None

    def data_received(self, data: bytes) -> None:
        """Take what has come; called by the event loop.

        Where a body goes on with what is none, aiohttp's parser forgets it, and who reads it would
        wait for the rest until the read timeout.
        """
        super().data_received(data)
        if self._messages and isinstance(self._messages[-1][0], _ErrInfo):
            body = None
            if len(self._messages) > 1:
                body = self._messages[-2][1]
            elif self._current_request is not None:
                body = self._current_request.content
            if body is not None and not body.is_eof():
                body.set_exception(web.RequestPayloadError("no chunk, and no end"))

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Answer what is no request, and what failed here; called by aiohttp."""
        if status >= 500:
            logger.error("a call failed", exc_info=exc)
            return responses.INTERNAL_ERROR.answer().for_server()
        if isinstance(exc, LineTooLong) or "Too many headers" in str(exc):
            refusal = responses.header_too_large(self.max_field_size, self.max_headers)
        else:
            refusal = responses.MALFORMED
        # The kind of error alone: its text may have a piece of what came, and of the key in it.
        self._note(refusal.because(type(exc).__name__), Caller("-", request.remote or ""))
        return refusal.answer().for_server()


class Server(web.Server):
    """Accepts connections and ends them in order.

    Args:
        handler: answers a request.
        note: is told of what was no request, and of who sent it.
        keep_alive: seconds after which a connection without a request is closed; also the time
            that a request's head may take to arrive.
        max_header_bytes: of the URL, and of each header.
    """

    def __init__(
        self, handler: Handler, note: Note, *, keep_alive: float, max_header_bytes: int
    ) -> None:
        super().__init__(
            self._handle,
            access_log=None,
            auto_decompress=False,  # bodies are kept as they were sent, compressed or not
            keepalive_timeout=keep_alive,
            lingering_time=_LINGER,
            max_line_size=max_header_bytes,
            max_field_size=max_header_bytes,
        )
        self._answer = handler
        self._note = note
        self._draining = False
        self._empty = asyncio.Event()

    def __call__(self) -> RequestHandler:
        """Make the protocol of a new connection."""
        return Connection(self, self._note, loop=self._loop, **self._kwargs)

    async def drain(self, patience: float) -> None:
        """Ask senders to go, with their next answer, and wait until they have.

        A connection that is closed while a request is on its way looks like a failure to its
        sender, so one that is silent has `patience` seconds to send another.
        """
        self._draining = True
        # What was accepted in the last moment becomes a connection in the next turn of the loop.
        await asyncio.sleep(0)
        self._note_empty()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._empty.wait()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Note the end of a connection; called by aiohttp."""
        super().connection_lost(handler, exc)
        if self._draining:
            self._note_empty()

    def _note_empty(self) -> None:
        if all(transport.is_closing() for transport in self._connections.values()):
            self._empty.set()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = await self._answer(request)
        if self._draining:
            answer.closes = True
        return answer.for_server()
