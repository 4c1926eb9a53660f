"""Models whose fields are described, in the document of the API, by the strings below them.

Pydantic can do that as well, but reads the sources of all models whenever the router starts: that
takes as long as all the rest of its imports. The document is wanted rarely.
"""

import ast
import inspect
import sys
from collections.abc import Iterable, Mapping
from functools import lru_cache
from itertools import pairwise

from pydantic import BaseModel, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema


class Described(BaseModel):
    """A model that is described."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler, /
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        texts: dict[str, str] = {}
        for model in reversed(cls.__mro__):
            texts |= _of_module(model.__module__).get(model.__qualname__, {})
        for name, field in cls.model_fields.items():
            if name in texts:
                described = handler.resolve_ref_schema(schema)["properties"][field.alias or name]
                described.setdefault("description", texts[name])
        return schema


@lru_cache
def _of_module(name: str) -> Mapping[str, Mapping[str, str]]:
    """Return the strings below the attributes of each class of a module of the API."""
    if not name.startswith(__package__):
        return {}
    module = ast.parse(inspect.getsource(sys.modules[name]))
    return {
        each.name: dict(_of_class(each)) for each in module.body if isinstance(each, ast.ClassDef)
    }


def _of_class(node: ast.ClassDef) -> Iterable[tuple[str, str]]:
    for field, below in pairwise(node.body):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, inspect.cleandoc(text)
