"""`/openapi.json`: the document that describes this API, made of its endpoints."""

from collections.abc import Callable, Iterable, Mapping
from functools import cache
from http import HTTPStatus
from importlib.metadata import version
from typing import Any

from aiohttp import web
from pydantic import RootModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from turnout.router.api import repeat
from turnout.router.api.body import Answer
from turnout.router.api.call import Call
from turnout.router.api.problem import ProblemAnswer
from turnout.router.api.routes import PREFIX, Endpoint, Routes

routes = Routes()

Schema = dict[str, Any]
References = Mapping[tuple[type[Any], JsonSchemaMode], Schema]
"""To the schema of each model, as it is read or as it is written."""

DOCUMENT: web.AppKey[Callable[[], Schema]] = web.AppKey("document")

_REF = "#/components/schemas/{model}"

_ABOUT = """The admin API of Turnout: groups, flows, API keys, triggers, and what became of calls.

Every call shows an admin token. Errors are problem details (RFC 9457) with a stable `code`.
"""

_IF_MATCH = {
    "name": "If-Match",
    "in": "header",
    "description": "The ETag of what is changed: 412 if it is another one meanwhile.",
    "schema": {"type": "string"},
}
_IDEMPOTENCY_KEY = {
    "name": repeat.HEADER,
    "in": "header",
    "description": "Of the client's choice, another one for each request. The same request with "
    "the same key is done once in a day, and has the same answer, but for secrets: they are null.",
    "schema": {"type": "string", "pattern": repeat.PATTERN},
}
_ETAG = {
    "description": "Tags what is configured: another one after each change.",
    "required": True,
    "schema": {"type": "string"},
}


class Document(RootModel[Schema], Answer):
    """The document."""


@routes.get(f"{PREFIX}/openapi.json", role=None)
async def show(call: Call) -> Document:
    """Return this document."""
    return Document(call.app[DOCUMENT]())


@cache
def document(endpoints: tuple[Endpoint, ...]) -> Schema:
    """Describe endpoints as OpenAPI 3.1, when that is first asked for."""
    models: dict[tuple[type[Any], JsonSchemaMode], None] = {(ProblemAnswer, "serialization"): None}
    for endpoint in endpoints:
        models[endpoint.query, "validation"] = None
        if endpoint.body is not None:
            models[endpoint.body, "validation"] = None
        if endpoint.answer is not None:
            models[endpoint.answer, "serialization"] = None
    references, definitions = models_json_schema(list(models), ref_template=_REF)
    schemas: dict[str, Schema] = definitions["$defs"]
    paths: dict[str, Schema] = {}
    for endpoint in endpoints:
        operation = _operation(endpoint, references, schemas)
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = operation
    for query in {endpoint.query for endpoint in endpoints}:
        schemas.pop(_name(references[query, "validation"]), None)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Turnout", "version": version("turnout"), "description": _ABOUT},
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
        "security": [{"token": []}],
    }


def _operation(
    endpoint: Endpoint,
    references: References,
    schemas: dict[str, Schema],
) -> Schema:
    summary, _, rest = endpoint.description.partition("\n")
    needs = "" if endpoint.role is None else f"Needs the role {endpoint.role}."
    operation: Schema = {
        "operationId": endpoint.name,
        "tags": [endpoint.noun],
        "summary": summary,
        "description": "\n\n".join(filter(None, [rest.strip(), needs])),
        "parameters": [
            *(
                {"name": name, "in": "path", "required": True, "schema": part.adapter.json_schema()}
                for name, part in endpoint.parts.items()
            ),
            *_parameters(schemas[_name(references[endpoint.query, "validation"])]),
            *([_IF_MATCH] if endpoint.is_conditional else []),
            *([_IDEMPOTENCY_KEY] if endpoint.is_repeatable else []),
        ],
        "responses": {
            **_success(endpoint, references),
            **{str(status): _refusal(status) for status in sorted(endpoint.refusals)},
        },
    }
    if endpoint.role is None:
        operation["security"] = []
    if endpoint.body is not None:
        schema = references[endpoint.body, "validation"]
        operation["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return operation


def _success(endpoint: Endpoint, references: References) -> Schema:
    if endpoint.media_type is None:
        return {"204": {"description": HTTPStatus.NO_CONTENT.phrase}}
    schema = {} if endpoint.answer is None else references[endpoint.answer, "serialization"]
    answer: Schema = {
        "description": HTTPStatus(endpoint.status).phrase,
        "content": {endpoint.media_type: {"schema": schema}},
    }
    if endpoint.is_tagged:
        answer["headers"] = {"ETag": _ETAG}
    return {str(endpoint.status): answer}


def _refusal(status: int) -> Schema:
    return {
        "description": HTTPStatus(status).phrase,
        "content": {
            "application/problem+json": {"schema": {"$ref": _REF.format(model="ProblemAnswer")}}
        },
    }


def _parameters(query: Schema) -> Iterable[Schema]:
    """Spread the properties of a query; what may be null is left out instead."""
    required = query.get("required", [])
    for name, given in query.get("properties", {}).items():
        schema = {key: value for key, value in given.items() if key not in {"title", "description"}}
        kinds = [each for each in schema.pop("anyOf", []) if each != {"type": "null"}]
        if len(kinds) == 1:
            schema = {**kinds[0], **{key: schema[key] for key in schema if key != "default"}}
        elif kinds:
            schema["anyOf"] = kinds
        yield {
            "name": name,
            "in": "query",
            "required": name in required,
            "description": given.get("description", ""),
            "schema": schema,
        }


def _name(reference: Schema) -> str:
    return str(reference["$ref"]).rpartition("/")[2]
