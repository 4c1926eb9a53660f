"""The HTTP server: aiohttp's, with an express way, our own refusals, and an orderly end.

                 ┌── express.py takes the call ──▶ on the express way ── answer() ──┐
    idle ──data──┤                                                                  ├──▶ idle
                 └── any other ──▶ aiohttp's task: request, handler, response ──────┘

A call that goes the express way wakes no task of aiohttp, which is most of what a call costs there.
To everything else in aiohttp the connection is as busy meanwhile as with any other call.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import HttpVersion11, StreamReader, hdrs, web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.http_parser import RawRequestMessage
from aiohttp.web_protocol import RequestHandler, _ErrInfo

from turnout.ingress import responses
from turnout.ingress.admission import Admission
from turnout.ingress.answer import Answer
from turnout.ingress.refused import Caller
from turnout.ingress.responses import Refusal
from turnout.shared import log

logger = log.get(__name__)

Handler = Callable[[web.BaseRequest], Awaitable[Answer]]
Express = Callable[[Admission, RawRequestMessage, StreamReader, Callable[[Answer], None]], bool]
Note = Callable[[Refusal, Caller], None]

#: Seconds in which a refused body is read on and thrown away, so that the sender sees the answer
#: instead of a reset connection.
_LINGER = 1.0


class Connection(RequestHandler):
    """One connection of a sender.

    Attributes:
        admission: what its last call was found to be.
    """

    __slots__ = ("_express", "_idle", "_note", "_server", "admission")

    def __init__(self, server: "Server", express: Express, note: Note, **options: Any) -> None:
        super().__init__(server, **options)
        self._server = server
        self._express = express
        self._note = note
        self._idle: asyncio.Future[None] | None = None
        """What aiohttp's task waits for, while a call is on the express way."""
        self.admission: Admission | None = None

    def data_received(self, data: bytes) -> None:
        """Take what has come; called by the event loop."""
        idle = self._waiter if not self._messages else None
        if idle is None:
            super().data_received(data)
            self._break_body()
            return
        # aiohttp's task sleeps on. What is read from the body may bring more data here.
        self._idle, self._waiter = idle, None
        super().data_received(data)
        if len(self._messages) == 1 and self._goes_express(*self._messages[0]):
            self._messages.popleft()
            if self._parser is not None:
                self._parser.message_consumed()
            self._request_in_progress = True
            return
        self._idle, self._waiter = None, idle
        if self._messages:
            self._break_body()
            if not idle.done():
                idle.set_result(None)

    def answer(self, answer: Answer) -> None:
        """Answer the call that is on the express way."""
        idle, self._idle = self._idle, None
        self._request_in_progress = False
        if self._handler_waiter is not None and not self._handler_waiter.done():
            self._handler_waiter.set_result(None)
        if idle is None or self.transport is None:
            return  # the sender has gone
        self._waiter = idle
        answer.keep_alive = not (answer.closes or self._close or self._server.draining)
        self.transport.write(answer.encode())
        if not answer.keep_alive:
            self.force_close()
            return
        # As aiohttp does after a call.
        self._next_keepalive_close_time = self._loop.time() + self._keepalive_timeout
        if self._keepalive_handle is None:
            self._keepalive_handle = self._loop.call_at(
                self._next_keepalive_close_time, self._process_keepalive
            )
        if self._messages:
            idle.set_result(None)

    async def drained(self) -> None:
        """Wait, if the sender does not read its answers, until it has read most, or has gone."""
        if self.writing_paused:
            with contextlib.suppress(ConnectionError):
                await self._drain_helper()

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note the end of the connection; called by the event loop."""
        if self._idle is not None:
            self._waiter = self._idle  # aiohttp's task ends with it
        super().connection_lost(exc)

    def _goes_express(self, message: RawRequestMessage | _ErrInfo, body: StreamReader) -> bool:
        """Send a call the express way if it may go there; tell whether it does."""
        return (
            self.admission is not None
            and not isinstance(message, _ErrInfo)
            and not message.should_close
            and not message.upgrade
            and message.version == HttpVersion11
            and message.method != hdrs.METH_HEAD
            and not self.writing_paused
            and self._express(self.admission, message, body, self.answer)
        )

    def _break_body(self) -> None:
        """End the body that is being read if it went on with what is none.

        aiohttp's parser forgets it then, and who reads it would wait for the rest until the read
        timeout.
        """
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
        express: takes a call instead, if it can, and answers it later; see `Express.take`.
        note: is told of what was no request, and of who sent it.
        keep_alive: seconds after which a connection without a request is closed; also the time
            that a request's head may take to arrive.
        max_header_bytes: of the URL, and of each header.
    """

    def __init__(
        self,
        handler: Handler,
        express: Express,
        note: Note,
        *,
        keep_alive: float,
        max_header_bytes: int,
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
        self._express = express
        self._note = note
        self.draining = False
        self._empty = asyncio.Event()

    def __call__(self) -> RequestHandler:
        """Make the protocol of a new connection."""
        return Connection(self, self._express, self._note, loop=self._loop, **self._kwargs)

    async def drain(self, patience: float) -> None:
        """Ask senders to go, with their next answer, and wait until they have.

        A connection that is closed while a request is on its way looks like a failure to its
        sender, so one that is silent has `patience` seconds to send another.
        """
        self.draining = True
        # What was accepted in the last moment becomes a connection in the next turn of the loop.
        await asyncio.sleep(0)
        self._note_empty()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                await self._empty.wait()

    def connection_lost(self, handler: RequestHandler, exc: BaseException | None = None) -> None:
        """Note the end of a connection; called by aiohttp."""
        super().connection_lost(handler, exc)
        if self.draining:
            self._note_empty()

    def _note_empty(self) -> None:
        if all(transport.is_closing() for transport in self._connections.values()):
            self._empty.set()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        await cast("Connection", request.protocol).drained()
        answer = await self._answer(request)
        if self.draining:
            answer.closes = True
        return answer.for_server()
