"""The only place where a decision becomes an HTTP answer.

Every refusal is RFC 9457 `application/problem+json` with a stable `code`; docs/refusals.md lists
them. Those that an outsider may see are made of constants, so they tell nothing.
"""

import json
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any, Literal, Self

from turnout.ingress.answer import Answer
from turnout.shared import outcome
from turnout.shared.outcome import Outcome
from turnout.shared.publisher import Confirm, Verdict

_PROBLEM = "application/problem+json"


@dataclass(frozen=True)
class Refusal:
    """Why a call is not accepted."""

    status: HTTPStatus
    code: str
    detail: str
    headers: dict[str, str] = field(default_factory=dict)
    closes: bool = False
    """Whether the connection is closed after it, because what follows on it is of no use."""
    event_id: str = ""
    """Of the event that may yet run."""
    reason: str = ""
    """What only an operator is told."""

    def because(self, reason: str, *, event_id: str = "") -> Self:
        """Add why, and which event it is."""
        return replace(self, reason=reason, event_id=event_id)

    def answer(self) -> Answer:
        """Make the answer."""
        problem = {
            "type": "about:blank",
            "title": self.status.phrase,
            "status": self.status.value,
            "code": self.code,
            "detail": self.detail,
        }
        if self.event_id:
            problem["event_id"] = self.event_id
        answer = Answer(self.status, json.dumps(problem).encode(), _PROBLEM, self.headers)
        answer.closes = self.closes
        return answer


MALFORMED = Refusal(
    HTTPStatus.BAD_REQUEST, "malformed_request", "This is not a request of HTTP/1.1.", closes=True
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
OVERLOADED = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "overloaded",
    "Too much is under way at present. Nothing was accepted; send it again.",
    {"Retry-After": "2"},
    closes=True,
)
BODY_TIMEOUT = Refusal(
    HTTPStatus.REQUEST_TIMEOUT,
    "body_timeout",
    "The body took too long to arrive. Nothing was accepted; send it again.",
    closes=True,
)
NOT_PUBLISHED = Refusal(
    HTTPStatus.SERVICE_UNAVAILABLE,
    "not_accepted",
    "The event could not be queued. Nothing was accepted; send it again.",
    {"Retry-After": "2"},
)
TWIN = Refusal(
    HTTPStatus.CONFLICT,
    "idempotency_conflict",
    "A call with the same idempotency key is under way, or its outcome is not known yet.",
    {"Retry-After": "1"},
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


def header_too_large(limit: int, most: int) -> Refusal:
    """Refuse a URL or a header over `limit` bytes, or more headers than `most`."""
    return Refusal(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "header_too_large",
        f"The URL and each header may have at most {limit} bytes, and there may be {most} headers.",
        closes=True,
    )


def headers_too_large(limit: int) -> Refusal:
    """Refuse a call whose headers together have over `limit` bytes."""
    return Refusal(
        HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE,
        "header_too_large",
        f"All headers together may have at most {limit} bytes.",
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


def unsupported_media_type(types: tuple[str, ...]) -> Refusal:
    """Refuse a body of a media type that the trigger does not take."""
    accepted = ", ".join(types)
    return Refusal(
        HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
        "unsupported_media_type",
        f"This trigger takes {accepted}.",
        {"Accept": accepted},
    )


def body_too_large(limit: int) -> Refusal:
    """Refuse a body over `limit` bytes."""
    return Refusal(
        HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
        "body_too_large",
        f"A body may have at most {limit} bytes.",
        closes=True,
    )


def rate_limited(whose: Literal["key", "trigger"], rate: float, burst: int, wait: float) -> Refusal:
    """Refuse a call beyond a rate limit.

    Args:
        whose: limit it is.
        rate: calls a second.
        burst: calls at once.
        wait: seconds until the next one.
    """
    after = max(1, -int(-wait // 1))
    return Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "rate_limited",
        f"This {'API key' if whose == 'key' else whose} takes {rate:g} calls a second.",
        {
            "Retry-After": str(after),
            # https://datatracker.ietf.org/doc/draft-ietf-httpapi-ratelimit-headers/
            "RateLimit-Policy": f'"{whose}";q={burst};w={max(1, round(burst / rate))}',
            "RateLimit": f'"{whose}";r=0;t={after}',
        },
    )


def too_many_in_flight(limit: int) -> Refusal:
    """Refuse a call of a key that has `limit` calls under way."""
    return Refusal(
        HTTPStatus.TOO_MANY_REQUESTS,
        "too_many_in_flight",
        f"This API key may have {limit} calls under way at once. "
        "Wait for answers, then send it again.",
        {
            "Retry-After": "1",
            "RateLimit-Policy": f'"key";q={limit};qu="concurrent-requests"',
            "RateLimit": '"key";r=0',
        },
    )


def not_published(confirm: Confirm, event_id: str) -> Refusal:
    """Refuse a call whose event is not safe, or may not be.

    Args:
        confirm: what became of it.
        event_id: of the event.
    """
    if confirm.verdict is Verdict.REFUSED:
        return NOT_PUBLISHED.because(confirm.reason)
    return UNKNOWN.because(confirm.reason, event_id=event_id)


def waited(event_id: str, last: Outcome | None, seconds: int) -> Answer:
    """Answer a caller who has waited for the end of the run.

    Args:
        event_id: of the event.
        last: that was heard of the run.
        seconds: that the caller was allowed to wait.
    """
    answer: dict[str, Any] = {"event_id": event_id, "status": last.state if last else "accepted"}
    status = HTTPStatus.ACCEPTED
    if last is not None and last.state == outcome.SUCCEEDED:
        status = HTTPStatus.OK
        answer["result"] = last.result
    applied = {"Preference-Applied": f"wait={seconds}"}
    return Answer(status, json.dumps(answer).encode(), headers=applied)


def accepted(event_id: str, *, replayed: bool = False) -> Answer:
    """Say that the event is safe.

    Args:
        event_id: of the event.
        replayed: an earlier call with the same idempotency key brought it.
    """
    return Answer(
        HTTPStatus.ACCEPTED,
        b'{"event_id": "%b", "status": "accepted"}' % event_id.encode(),
        headers={"Idempotency-Replayed": "true"} if replayed else None,
    )


def health(problems: dict[str, str]) -> Answer:
    """Say that all is well, or (503) what is not."""
    return Answer(
        HTTPStatus.SERVICE_UNAVAILABLE if problems else HTTPStatus.OK,
        json.dumps({"status": "unavailable" if problems else "ok", **problems}).encode(),
    )
