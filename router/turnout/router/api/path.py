"""The variable parts of a URL, each checked before anything is looked up."""

import re
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from turnout.router.api.problem import Problem, invalid_fields, named_fields
from turnout.shared import names
from turnout.shared.errors import InvalidName

_HEX = re.compile("[0-9a-f]{32}")


class Query(BaseModel):
    """What may stand in the query."""

    model_config = ConfigDict(extra="forbid")


QueryType = TypeVar("QueryType", bound=Query)


def slug(request: web.Request, part: str) -> str:
    """Return the slug of a group or flow.

    Args:
        request: the request.
        part: "group" or "flow", as the route calls it.

    Raises:
        Problem: 400, it is no slug.
    """
    try:
        return names.slug(request.match_info[part], part)
    except InvalidName as error:
        raise Problem(400, "bad_path", str(error)) from None


def flow(request: web.Request) -> tuple[str, str]:
    """Return the two slugs of the address in a route.

    Raises:
        Problem: 400, one is no slug.
    """
    return slug(request, "group"), slug(request, "flow")


def identifier(request: web.Request, prefix: str) -> str:
    """Return the `{id}` of a route.

    Raises:
        Problem: 400, it is no identifier with this prefix.
    """
    text = request.match_info["id"]
    start, _, rest = text.partition("_")
    if start != prefix or not _HEX.fullmatch(rest):
        raise Problem(
            400, "bad_path", f"{text[:60]!r} is no id of the form {prefix}_<32 hex digits>"
        )
    return text


def query(request: web.Request, model: type[QueryType]) -> QueryType:
    """Read the query of a request.

    Raises:
        Problem: 422, a parameter is wrong, unknown or given twice.
    """
    given = request.query
    values = {
        name: given[name] if len(given.getall(name)) == 1 else given.getall(name) for name in given
    }
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise invalid_fields(named_fields(error)) from None
