"""Endpoints, each declared once: path, role and types, all of it at its handler.

    routes = Routes()

    @routes.post("/groups/{group}/flows", refuses=(409,))
    async def create(call: Call, group: Slug, body: NewFlow) -> Tagged[FlowAnswer]:
        "Register a flow of a group."

From that follow what is checked before the handler runs (`serve`), what is written after it, and
the OpenAPI document (`openapi`): there is no second list.
"""

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from http import HTTPStatus
from typing import (
    Any,
    Generic,
    NamedTuple,
    TypedDict,
    TypeVar,
    Unpack,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import TypeAdapter

from turnout.router.api.body import Answer, Body
from turnout.router.api.content import Bytes, Lines
from turnout.router.api.limits import LARGEST_EVENT
from turnout.router.api.params import ChangeQuery, Identifier
from turnout.router.api.path import Query
from turnout.router.registry import Noun, Role

PREFIX = "/api/v1"

#: Bytes of the largest body, unless said otherwise.
_LARGEST_BODY = 64 * 1024
#: Bytes of the largest that holds a payload, in base64, as large as ingress can be set to take.
LARGEST_PAYLOAD = LARGEST_EVENT * 4 // 3 + _LARGEST_BODY

_AnswerType = TypeVar("_AnswerType", bound=Answer)
_Handler = TypeVar("_Handler", bound=Callable[..., Awaitable[object]])


class Tagged(NamedTuple, Generic[_AnswerType]):
    """An answer that shows one noun, whose tag (ETag) goes with it."""

    answer: _AnswerType
    noun: Noun


@dataclass(frozen=True)
class Part:
    """A variable part of a path."""

    adapter: TypeAdapter[str]
    identifier: Identifier | None
    """What it identifies; None: it is a slug."""


@dataclass(frozen=True)
class Endpoint:
    """One method of one path."""

    method: str
    path: str
    handler: Callable[..., Awaitable[object]]
    role: Role | None
    """What a token needs; None: nobody needs a token."""
    filtered: bool
    """Whether the handler itself keeps to `Call.groups`."""
    status: int
    refuses: frozenset[int]
    """Statuses of its own, besides those that follow from the rest."""
    max_body: int
    """Bytes of the largest body."""

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return get_type_hints(self.handler, include_extras=True)

    @cached_property
    def arguments(self) -> frozenset[str]:
        """What the handler takes besides the call."""
        return frozenset(self._hints) - {"call", "return"}

    @cached_property
    def parts(self) -> dict[str, Part]:
        """The variable parts of the path, by name, as the handler takes them."""
        parts = {}
        for name, hint in self._hints.items():
            if name in {"call", "query", "body", "return"}:
                continue
            extras = get_args(hint)[1:]
            found = next((each for each in extras if isinstance(each, Identifier)), None)
            parts[name] = Part(TypeAdapter(hint), found)
        return parts

    @cached_property
    def query(self) -> type[Query]:
        """What may stand in the query."""
        default = Query if self.method == "GET" else ChangeQuery
        model: type[Query] = self._hints.get("query", default)
        return model

    @cached_property
    def body(self) -> type[Body] | None:
        """What has to be sent."""
        return self._hints.get("body")

    @cached_property
    def is_tagged(self) -> bool:
        """Whether the answer has a tag."""
        return get_origin(self._hints["return"]) is Tagged

    @cached_property
    def media_type(self) -> str | None:
        """What the answer is; None: nothing is answered, with 204."""
        hint = self._hints["return"]
        if hint is type(None):
            return None
        if hint is Bytes:
            return Bytes.media_type
        return Lines.media_type if get_origin(hint) is Lines else "application/json"

    @cached_property
    def answer(self) -> type[Answer] | None:
        """The model of the answer, or of each line of it; None: it has none."""
        hint = self._hints["return"]
        if hint in {type(None), Bytes}:
            return None
        model: type[Answer] = get_args(hint)[0] if get_origin(hint) in {Tagged, Lines} else hint
        return model

    @property
    def is_repeatable(self) -> bool:
        """Whether it makes something, so that a repeated request has to be known as one."""
        return self.method == "POST" and self.status == HTTPStatus.CREATED

    @property
    def name(self) -> str:
        """Its name: the noun and the verb."""
        return f"{self.noun}.{self.handler.__name__.strip('_')}"

    @property
    def noun(self) -> str:
        """The module of the handler."""
        return self.handler.__module__.rpartition(".")[2]

    @property
    def description(self) -> str:
        """What it does."""
        return inspect.getdoc(self.handler) or ""

    @property
    def is_limited(self) -> bool:
        """Whether a token that is limited to groups may call it at all."""
        return (
            self.filtered
            or "group" in self.parts
            or any(part.identifier for part in self.parts.values())
        )

    @cached_property
    def is_conditional(self) -> bool:
        """Whether it changes one thing that exists, so that a caller can say which (If-Match)."""
        if self.method == "POST":
            identified = any(part.identifier for part in self.parts.values())
            return self.is_tagged and (self.status == HTTPStatus.OK or identified)
        return self.method != "GET"

    @cached_property
    def refusals(self) -> frozenset[int]:
        """Every status of a refusal that it may answer."""
        found = set(self.refuses) | {422}
        if self.role is not None:
            found |= {401, 503}
        if self.role not in {None, "viewer"} or not self.is_limited:
            found |= {403}
        if self.parts:
            found |= {400, 404}
        if self.body is not None:
            found |= {400, 408, 413, 415}
        if self.is_conditional:
            found |= {412}
        if self.is_repeatable:
            found |= {409}
        return frozenset(found)


class Options(TypedDict, total=False):
    """What an endpoint is declared with besides its method and path."""

    status: int
    """Of the answer, if all goes well."""
    role: Role | None
    """What a token needs; None: nobody needs a token, and the path is all of it."""
    filtered: bool
    """The handler keeps to `Call.groups`: needed where no part of the path tells the group, or else
    a token that is limited to groups is refused."""
    refuses: tuple[int, ...]
    """Statuses that the handler has of its own."""
    max_body: int
    """Bytes of the largest body; more where it holds the payload of an event, or a registry."""


class Routes:
    """The endpoints of one noun."""

    def __init__(self) -> None:
        self.endpoints: list[Endpoint] = []

    def get(self, path: str, **options: Unpack[Options]) -> Callable[[_Handler], _Handler]:
        """Declare an endpoint that shows something; `path` is below `/api/v1`."""
        return self._declare("GET", path, {"role": "viewer", "refuses": (), **options})

    def post(self, path: str, **options: Unpack[Options]) -> Callable[[_Handler], _Handler]:
        """Declare an endpoint that makes or does something."""
        return self._declare("POST", path, {"status": 201, **options})

    def patch(self, path: str, **options: Unpack[Options]) -> Callable[[_Handler], _Handler]:
        """Declare an endpoint that changes something."""
        return self._declare("PATCH", path, options)

    def put(self, path: str, **options: Unpack[Options]) -> Callable[[_Handler], _Handler]:
        """Declare an endpoint that sets something."""
        return self._declare("PUT", path, options)

    def delete(self, path: str, **options: Unpack[Options]) -> Callable[[_Handler], _Handler]:
        """Declare an endpoint that takes something away."""
        return self._declare("DELETE", path, {"status": 204, **options})

    def _declare(self, method: str, path: str, options: Options) -> Callable[[_Handler], _Handler]:
        role = options.get("role", "operator")

        def declare(handler: _Handler) -> _Handler:
            self.endpoints.append(
                Endpoint(
                    method=method,
                    path=path if role is None else PREFIX + path,
                    handler=handler,
                    role=role,
                    filtered=options.get("filtered", False),
                    status=options.get("status", 200),
                    refuses=frozenset(options.get("refuses", (409,))),
                    max_body=options.get("max_body", _LARGEST_BODY),
                )
            )
            return handler

        return declare
