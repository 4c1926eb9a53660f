"""The only place where a decision becomes an HTTP answer.

Every refusal is RFC 9457 `application/problem+json` with a stable `code`; docs/refusals.md lists
them. Those that an outsider may see are made of constants, so they tell nothing.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import cast

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.helpers import rfc822_formatted_time

_CLOSE = b"Connection: close\r\n"
_KEEP_ALIVE = b"Connection: keep-alive\r\n"
_PROBLEM = "application/problem+json"


class Answer:
    """An HTTP answer that leaves in one piece.

    It is what aiohttp's server asks of a response. Its own `web.Response` takes 15 of the 30
    microseconds in which aiohttp answers a call; this takes 2.

    Args:
        status: of HTTP.
        body: of the answer.
        content_type: of the body.
        headers: what else is told; ASCII.

    Attributes:
        closes: whether the connection is closed after it.
    """

    __slots__ = ("_body", "_head", "_length", "closes", "keep_alive")

    def __init__(
        self,
        status: HTTPStatus,
        body: bytes,
        content_type: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in (headers or {}).items())
        # "Server" names neither aiohttp nor Python, whose versions are nobody's business.
        self._head = (
            f"HTTP/1.1 {status.value} {status.phrase}\r\nServer: turnout\r\n"
            f"Content-Type: {content_type}\r\nContent-Length: {len(body)}\r\n{lines}"
        ).encode()
        self._body = body
        self.closes = False
        self.keep_alive = True

    async def prepare(self, request: web.BaseRequest) -> None:
        """Write it; called by aiohttp.

        Raises:
            ConnectionResetError: nobody is there any more.
        """
        transport = request.transport
        if transport is None:
            raise ConnectionResetError("the sender has gone")
        self.keep_alive = request.keep_alive and not self.closes
        connection = b""
        if not self.keep_alive:
            connection = _CLOSE
        elif request.version < HttpVersion11:
            connection = _KEEP_ALIVE
        body = b"" if request.method == hdrs.METH_HEAD else self._body
        date = rfc822_formatted_time().encode()
        transport.write(b"%b%bDate: %b\r\n\r\n%b" % (self._head, connection, date, body))

    async def write_eof(self) -> None:
        """Do nothing: all is written; called by aiohttp."""

    def for_server(self) -> web.StreamResponse:
        """Pass it to aiohttp, which asks for no more than it has."""
        return cast("web.StreamResponse", self)


@dataclass(frozen=True)
class Refusal:
    """Why a call is not accepted."""

    status: HTTPStatus
    code: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict)
    closes: bool = False
    """Whether the connection is closed after it, because what follows on it is of no use."""

    def answer(self, **more: str) -> Answer:
        """Make the answer; `more` are further members of the problem."""
        problem = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "code": self.code,
            "detail": self.detail,
            **more,
        }
        answer = Answer(self.status, json.dumps(problem).encode(), _PROBLEM, self.headers)
        answer.closes = self.closes
        return answer


MALFORMED = Refusal(
    HTTPStatus.BAD_REQUEST, "malformed_request", "This is not a request of HTTP/1.1.", closes=True
)
HEADER_TOO_LARGE = Refusal(
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
    "header_too_large",
    "The URL or a header is too long, or there are too many headers.",
    closes=True,
)
NO_PAGE = Refusal(
    HTTPStatus.NOT_FOUND, "not_found", "Triggers are called at /t/ and their routing key."
)
BAD_KEY = Refusal(
    HTTPStatus.UNAUTHORIZED,
    "invalid_api_key",
    "A valid API key is required, as 'Authorization: Bearer', 'X-API-Key' or the Basic password.",
    {"WWW-Authenticate": 'Bearer realm="turnout"'},
)
CACHE_UNAVAILABLE = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "authentication_unavailable",
    "API keys cannot be checked at present. Nothing was accepted; send it again.",
    {"Retry-After": "1"},
)
NO_TRIGGER = Refusal(
    HTTPStatus.NOT_FOUND, "trigger_not_found", "There is no such trigger for this API key."
)
KEY_NOT_ACCEPTED = Refusal(
    HTTPStatus.FORBIDDEN, "key_not_accepted", "This trigger does not accept this API key."
)
TRIGGER_DISABLED = Refusal(
    HTTPStatus.FORBIDDEN, "trigger_disabled", "This trigger is disabled at present."
)
BAD_BODY = Refusal(
    HTTPStatus.BAD_REQUEST,
    "incomplete_body",
    "The body did not arrive as it was announced.",
    closes=True,
)
NOT_PUBLISHED = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "not_accepted",
    "The event could not be queued. Nothing was accepted; send it again.",
    {"Retry-After": "2"},
)
UNKNOWN = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "outcome_unknown",
    "The event may have been queued or not: its confirmation did not come. Send it again.",
    {"Retry-After": "2"},
)
INTERNAL_ERROR = Refusal(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "internal_error",
    "Something failed here that should not. The event may have been queued or not.",
    closes=True,
)


def method_not_allowed(methods: tuple[str, ...]) -> Refusal:
    """Refuse a method that the trigger does not take."""
    allowed = ", ".join(methods)
    return Refusal(
        HTTPStatus.METHOD_NOT_ALLOWED,
        "method_not_allowed",
        f"This trigger takes {allowed}.",
        {"Allow": allowed},
    )


def body_too_large(limit: int) -> Refusal:
    """Refuse a body over `limit` bytes."""
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body_too_large",
        f"A body may have at most {limit} bytes.",
        closes=True,
    )


def accepted(event_id: str) -> Answer:
    """Say that the event is safe."""
    return Answer(
        HTTPStatus.ACCEPTED, b'{"event_id": "%b", "status": "accepted"}' % event_id.encode()
    )


def health(problems: dict[str, str]) -> Answer:
    """Say that all is well, or (503) what is not."""
    return Answer(
        HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK,
        json.dumps({"status": "unavailable" if problems else "ok", **problems}).encode(),
    )
