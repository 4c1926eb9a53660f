"""Errors as RFC 9457 problem details: the only place where one becomes an HTTP answer.

Each has a `code` that stays the same over versions; for refused fields, `errors` names each one.
"""

from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from redis.exceptions import RedisError

from turnout.router.api.described import Described
from turnout.router.database import DatabaseUnavailable
from turnout.router.lease import LeaseLost
from turnout.router.registry import (
    Conflict,
    Invalid,
    KeyReused,
    NotFound,
    RegistryError,
    Repeated,
    Stale,
    WrongState,
)
from turnout.shared import log
from turnout.shared.errors import BrokerError

_log = log.get(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_RETRY_AFTER = {"Retry-After": "2"}

#: How the registry's errors are answered.
_REGISTRY: dict[type[RegistryError], tuple[int, str]] = {
    NotFound: (404, "not_found"),
    Conflict: (409, "exists"),
    WrongState: (409, "wrong_state"),
    Repeated: (409, "repeated"),
    KeyReused: (422, "idempotency_key_reused"),
    Stale: (412, "stale"),
}
#: The code of what aiohttp itself refuses.
_CODES = {404: "unknown_path", 405: "method_not_allowed", 413: "body_too_large"}


class FieldError(BaseModel):
    """Why a field was refused."""

    field: str
    """Its path, for example "limits.rate"."""
    message: str


class ProblemAnswer(Described):
    """Why a call was refused: problem details (RFC 9457). Some codes come with more members."""

    title: str
    status: int
    code: str
    """Stays the same over versions."""
    detail: str
    """One sentence for people."""
    errors: list[FieldError] = Field([])
    """The fields that were refused, where it is about fields."""

    model_config = ConfigDict(extra="allow")


class Problem(Exception):
    """Ends a request with problem details.

    Attributes:
        status: the HTTP status.
        code: the stable code.
        detail: one sentence for people.
        errors: the refused fields and why.
        facts: what else a program may want to know.
        headers: more headers of the answer.
    """

    def __init__(
        self,
        status: int,
        code: str,
        detail: str,
        *,
        errors: list[tuple[str, str]] | None = None,
        facts: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.errors = errors or []
        self.facts = facts or {}
        self.headers = headers

    def answer(self) -> web.Response:
        """Return the HTTP answer."""
        document = ProblemAnswer(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            code=self.code,
            detail=self.detail,
            errors=[FieldError(field=name, message=text) for name, text in self.errors],
            **self.facts,
        )
        return web.Response(
            status=self.status,
            body=document.model_dump_json(exclude_defaults=True).encode(),
            content_type="application/problem+json",
            headers=self.headers,
        )


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into problem details, and keep every answer out of caches."""
    try:
        answer = await handler(request)
    except Exception as error:  # noqa: BLE001 - the last resort: no traceback leaves the process
        answer = _problem(request, error).answer()
    # An answer may hold a key or a routing key.
    answer.headers["Cache-Control"] = "no-store"
    return answer


def _problem(request: web.Request, error: Exception) -> Problem:
    match error:
        case Problem():
            return error
        case Invalid():
            return invalid_fields([(error.field, str(error))])
        case RegistryError():
            status, code = _REGISTRY[type(error)]
            field = _field(error)
            errors = [(field, str(error))] if field else []
            return Problem(status, code, str(error), errors=errors)
        case web.HTTPException() if error.status >= HTTPStatus.BAD_REQUEST:
            return _refused_by_aiohttp(request, error)
        case _:
            return _failure(request, error)


def _field(error: RegistryError) -> str:
    """Return what of a request an error is about; "": nothing in particular."""
    match error:
        case Conflict():
            return error.field
        case Stale():
            return "If-Match"
        case Repeated() | KeyReused():
            return "Idempotency-Key"
        case _:
            return ""


def _failure(request: web.Request, error: Exception) -> Problem:
    """Log what is not the client's fault, and tell it no more than it needs."""
    what = {"method": request.method, "path": request.path}
    match error:
        case DatabaseUnavailable():
            _log.warning("database unavailable", reason=str(error), **what)
            return Problem(
                503, "database_unavailable", "the database does not answer", headers=_RETRY_AFTER
            )
        case LeaseLost():
            return on_standby()
        case BrokerError():
            _log.warning("broker unavailable", reason=str(error), **what)
            return Problem(
                503, "broker_unavailable", "RabbitMQ does not answer", headers=_RETRY_AFTER
            )
        case RedisError():
            _log.warning("cache unavailable", reason=str(error), **what)
            return Problem(503, "cache_unavailable", "Redis does not answer", headers=_RETRY_AFTER)
        case _:
            _log.error("request failed", exc_info=error, **what)
            return Problem(500, "internal", "something went wrong here; the router's log says what")


def on_standby() -> Problem:
    """Refuse what only the active router does; a balancer that asks /readyz sends nothing here."""
    return Problem(
        503, "standby", "this router is on standby: another one is active", headers=_RETRY_AFTER
    )


def invalid_fields(errors: list[tuple[str, str]]) -> Problem:
    """Refuse fields of a body or a query: pairs of a field's path and what is wrong with it."""
    detail = "; ".join(f"{name}: {message}" for name, message in errors)
    return Problem(422, "invalid_fields", detail, errors=errors)


def named_fields(error: ValidationError) -> list[tuple[str, str]]:
    """Return the path of each wrong field and what is wrong with it, without its value."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    return [(".".join(map(str, each["loc"])) or "body", each["msg"]) for each in found]


def _refused_by_aiohttp(request: web.Request, error: web.HTTPException) -> Problem:
    details = {
        404: f"there is nothing at {request.path}",
        405: f"{request.method} is not allowed at {request.path}",
        413: "the body is larger than the admin API reads",
    }
    allow = error.headers.get("Allow")
    return Problem(
        error.status,
        _CODES.get(error.status, "refused"),
        details.get(error.status, error.reason),
        headers={"Allow": allow} if allow else None,
    )
