"""The only place where a decision becomes an HTTP answer.

Every refusal is RFC 9457 `application/problem+json` with a stable `code`; docs/refusals.md lists
them. Those that an outsider may see are made of constants, so they tell nothing.
"""

import json
from dataclasses import dataclass, field
from http import HTTPStatus

from aiohttp import web

_SERVER = "turnout"  # instead of the versions of Python and aiohttp


@dataclass(frozen=True)
class Refusal:
    """Why a call is not accepted."""

    status: HTTPStatus
    code: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict)

    def response(self, **more: str) -> web.Response:
        """Make the answer; `more` are further members of the problem."""
        problem = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "code": self.code,
            "detail": self.detail,
            **more,
        }
        return web.Response(
            status=self.status.value,
            body=json.dumps(problem).encode(),
            headers={"Server": _SERVER, **self.headers},
            content_type="application/problem+json",
        )


BAD_KEY = Refusal(
    HTTPStatus.UNAUTHORIZED,
    "invalid_api_key",
    "A valid API key is required, as 'Authorization: Bearer', 'X-API-Key' or the Basic password.",
    {"WWW-Authenticate": 'Bearer realm="turnout"'},
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
NO_PAGE = Refusal(
    HTTPStatus.NOT_FOUND, "not_found", "Triggers are called at /t/ and their routing key."
)
CACHE_UNAVAILABLE = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "authentication_unavailable",
    "API keys cannot be checked at present. Nothing was accepted; send it again.",
    {"Retry-After": "1"},
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
BAD_BODY = Refusal(
    HTTPStatus.BAD_REQUEST, "incomplete_body", "The body did not arrive as it was announced."
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
        {"Connection": "close"},
    )


def accepted(event_id: str) -> web.Response:
    """Say that the event is safe."""
    return web.Response(
        status=HTTPStatus.ACCEPTED,
        body=b'{"event_id": "%s", "status": "accepted"}' % event_id.encode(),
        headers={"Server": _SERVER},
        content_type="application/json",
    )


def health(problems: dict[str, str]) -> web.Response:
    """Say that all is well, or (503) what is not."""
    answer = {"status": "unavailable" if problems else "ok", **problems}
    return web.Response(
        status=HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK,
        body=json.dumps(answer).encode(),
        headers={"Server": _SERVER},
        content_type="application/json",
    )
