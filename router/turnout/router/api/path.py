"""The query of a URL, checked before anything is looked up."""

from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ConfigDict, ValidationError

from turnout.router.api.problem import invalid_fields, named_fields


class Query(BaseModel):
    """What may stand in the query."""

    model_config = ConfigDict(extra="forbid")


QueryType = TypeVar("QueryType", bound=Query)


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
