"""Serving an endpoint: all that is checked before its handler runs, and the answer after it.

token (401) → role (403) → path (400) → group (404) → query (422) → body (400, 413, 415, 422)
→ was it done before (409, 422)? → handler → answer, with its tag
"""

from typing import Any

from aiohttp import web
from pydantic import ValidationError

from turnout.router.api import path, repeat
from turnout.router.api.auth import TOKEN
from turnout.router.api.body import Answer, answer, read
from turnout.router.api.call import Call
from turnout.router.api.content import Bytes, Lines
from turnout.router.api.control import REGISTRY
from turnout.router.api.problem import Problem, named_fields
from turnout.router.api.routes import Endpoint, Tagged
from turnout.router.registry import Actor, AdminToken, Claim, NotFound, etag


async def serve(endpoint: Endpoint, request: web.Request) -> web.StreamResponse:
    """Answer one call of an endpoint.

    Raises:
        Problem: the call is refused.
        TurnoutError: the handler cannot do it.
    """
    token = request.get(TOKEN)
    if token is not None:
        _check_role(endpoint, token)
    arguments: dict[str, Any] = _parts(endpoint, request)
    if token is not None and token.groups is not None:
        await _check_groups(endpoint, arguments, token.groups, request)
    query = path.query(request, endpoint.query)
    body = None if endpoint.body is None else await read(request, endpoint.body, endpoint.max_body)
    if "query" in endpoint.arguments:
        arguments["query"] = query
    if body is not None:
        arguments["body"] = body
    reason = getattr(query, "reason", None) or getattr(body, "reason", None)
    claim = repeat.claim_of(endpoint, request, token, body)
    if claim is not None and (kept := await repeat.answered(request, claim)) is not None:
        return kept
    call = Call(request, token, _actor(endpoint, request, token, reason, claim))
    result = await endpoint.handler(call, **arguments)
    if isinstance(result, Lines):
        return await result.send(request)
    if claim is not None and isinstance(result, Answer | Tagged):
        await repeat.keep(request, claim, endpoint.status, *_answer(result))
    return _written(endpoint, result)


def _check_role(endpoint: Endpoint, token: AdminToken) -> None:
    if endpoint.role is not None and not token.may(endpoint.role):
        raise Problem(
            403,
            "forbidden",
            f"this needs a token with the role {endpoint.role}; this one is a {token.role}'s",
        )
    if token.groups is not None and not endpoint.is_limited:
        raise Problem(
            403, "forbidden", "this concerns all groups, and this token is limited to some"
        )


def _parts(endpoint: Endpoint, request: web.Request) -> dict[str, str]:
    parts = {}
    for name, part in endpoint.parts.items():
        try:
            parts[name] = part.adapter.validate_python(request.match_info[name])
        except ValidationError as error:
            reason = "; ".join(message for _, message in named_fields(error))
            raise Problem(400, "bad_path", f"{name}: {reason}", errors=[(name, reason)]) from None
    return parts


async def _check_groups(
    endpoint: Endpoint, arguments: dict[str, str], groups: tuple[str, ...], request: web.Request
) -> None:
    """Let what is outside of the token's groups not exist."""
    for name, part in endpoint.parts.items():
        value = arguments[name]
        if part.identifier is not None:
            noun = part.identifier.noun
            if await request.app[REGISTRY].owner(noun, value) not in groups:
                raise NotFound(noun, value)
        elif name == "group" and value not in groups:
            raise NotFound("group", value)


def _actor(
    endpoint: Endpoint,
    request: web.Request,
    token: AdminToken | None,
    reason: str | None,
    claim: Claim | None,
) -> Actor:
    expects = None
    if endpoint.is_conditional and "If-Match" in request.headers:
        # One that cannot be read is the tag of nothing.
        expects = frozenset(each.value for each in request.if_match or () if not each.is_weak)
    return Actor(
        id="" if token is None else token.id,
        name="" if token is None else token.name,
        remote=request.remote,
        reason=reason,
        expects=expects,
        claim=claim,
    )


def _written(endpoint: Endpoint, result: object) -> web.Response:
    if result is None:
        return web.Response(status=204)
    if isinstance(result, Bytes):
        return web.Response(body=result.content, content_type=result.media_type)
    assert isinstance(result, Answer | Tagged)  # noqa: S101 - the handler's annotation says so
    tag, shown = _answer(result)
    response = answer(shown, status=endpoint.status)
    if tag is not None:
        response.headers["ETag"] = f'"{tag}"'
    return response


def _answer(result: Answer | Tagged[Any]) -> tuple[str | None, Answer]:
    """Return an answer, with its tag if it has one."""
    return (etag(result.noun), result.answer) if isinstance(result, Tagged) else (None, result)
