"""Bodies: how they are read, checked and written. The models are the documentation of the API."""

import asyncio
from typing import Annotated, Final, Generic, TypeVar

from aiohttp import web
from pydantic import (
    AfterValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SerializationInfo,
    StringConstraints,
    ValidationError,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from turnout.router.api.described import Described
from turnout.router.api.problem import Problem, invalid_fields, named_fields


class Body(Described):
    """What a client sends: no field that is unknown, no value that only looks right."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Answer(Described):
    """What a client gets."""


#: Seconds in which a body must have come.
_READ_TIMEOUT = 30.0
#: Bytes of a body that is read beside everything else, so that it holds nothing up.
_LARGE = 1024 * 1024

BodyType = TypeVar("BodyType", bound=Body)
AnswerType = TypeVar("AnswerType", bound=Answer)


def _once(value: str | None, info: SerializationInfo) -> str | None:
    return None if info.context is KEPT else value


#: The context in which an answer is written that is kept, should its request come again.
KEPT: Final = object()

ShownOnce = Annotated[
    str | None, PlainSerializer(_once, return_type=str | None), Field(description="Shown once.")
]
"""A secret: null in the answer to a request that comes again."""


class Items(Answer, Generic[AnswerType]):
    """A listing."""

    items: list[AnswerType]


class Listing(Items[AnswerType]):
    """A part of a listing."""

    next_cursor: str | None
    """Asks for the part after this one: `?cursor=…`; null: there is none."""


def _printable(text: str) -> str:
    """Refuse line breaks and control characters: names are shown in terminals and logs."""
    if not text.isprintable():
        raise PydanticCustomError("printable", "one line of printable characters is wanted")
    return text


Name = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=100),
    AfterValidator(_printable),
]
Description = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=500),
    AfterValidator(_printable),
]


Header = Annotated[
    tuple[str, str],
    WithJsonSchema({"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2}),
]
"""Its name and its value."""


def readable(text: str) -> str:
    """Return what a sender wrote as UTF-8 can carry it: it may have sent any bytes."""
    return text.encode("utf-8", "replace").decode()


class Reason(Body):
    """Why something is done, for whoever asks later."""

    reason: Description | None = None


class Rotation(Reason):
    """How to replace a secret or a routing key."""

    overlap: Annotated[int, Field(ge=0, le=90 * 86400)] = 86400
    """For how many seconds the old one is good as well; 0 ends it at once."""


async def read(request: web.Request, model: type[BodyType], most: int) -> BodyType:
    """Read the body of a request, of so many bytes at most.

    Raises:
        Problem: 413 it has more, 408 it does not come, 415 it is not sent as JSON, 400 it is no
            JSON, 422 a field is wrong or unknown.
    """
    if request.content_type != "application/json":
        detail = "send the body as JSON: application/json"
        raise Problem(415, "unsupported_media_type", detail, errors=[("Content-Type", detail)])
    content = await _content(request, most)
    try:
        if len(content) > _LARGE:
            return await asyncio.to_thread(model.model_validate_json, content)
        return model.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        if first["type"] == "json_invalid":
            raise Problem(400, "bad_json", first["msg"], errors=[("body", first["msg"])]) from None
        raise invalid_fields(named_fields(error)) from None


async def _content(request: web.Request, most: int) -> bytes:
    detail = f"this endpoint reads bodies of {most} bytes at most"
    too_large = Problem(413, "body_too_large", detail, errors=[("body", detail)])
    if (request.content_length or 0) > most:
        raise too_large
    content = bytearray()
    try:
        async with asyncio.timeout(_READ_TIMEOUT):
            async for part in request.content.iter_any():
                content += part
                if len(content) > most:
                    raise too_large
    except (TimeoutError, ConnectionError):
        detail = "the rest of the body did not come"
        raise Problem(408, "body_incomplete", detail, errors=[("body", detail)]) from None
    return bytes(content)


def answer(model: Answer, *, status: int = 200) -> web.Response:
    """Write the body of an answer."""
    return web.Response(
        status=status,
        body=model.model_dump_json().encode(),
        content_type="application/json",
    )
