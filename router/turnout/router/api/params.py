"""What may stand in a URL: slugs, identifiers, and the parameters after it."""

import base64
import binascii
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
)
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from turnout.router.api.body import Description
from turnout.router.api.path import Query
from turnout.router.registry import Invalid, Slice
from turnout.shared import ids, names
from turnout.shared.errors import InvalidName

_Item = TypeVar("_Item")

SLUG_PATTERN = "^[a-z0-9][a-z0-9-]{0,39}$"


def _slug(value: str) -> str:
    try:
        return names.slug(value)
    except InvalidName as error:
        raise PydanticCustomError("slug", "{reason}", {"reason": str(error)}) from None


Slug = Annotated[str, AfterValidator(_slug), Field(json_schema_extra={"pattern": SLUG_PATTERN})]
"""Of a group or a flow."""

Text = Annotated[str, Field(max_length=200, pattern="^[^\\x00]*$")]
"""What is looked for: no database knows U+0000."""


#: How a moment begins; what is a number only could be many things.
_ISO_8601 = re.compile(r"\d{4}-\d\d-\d\d[Tt _]")


def _in_utc(moment: datetime) -> datetime:
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise PydanticCustomError("moment", "this is no moment of the calendar in UTC") from None


def _written(value: object) -> object:
    if not (isinstance(value, datetime) or (isinstance(value, str) and _ISO_8601.match(value))):
        raise PydanticCustomError("moment", "write it like 2027-01-31T09:30:00Z")
    return value


Moment = Annotated[
    AwareDatetime, Field(strict=False), BeforeValidator(_written), AfterValidator(_in_utc)
]
"""With a time zone."""


@dataclass(frozen=True)
class Identifier:
    """Makes an annotated text an id; the group it belongs to decides which tokens see it."""

    prefix: str
    """A pattern."""
    noun: str
    """How an error calls what it identifies."""

    def __get_pydantic_core_schema__(self, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        """Let it have the form of one."""
        return core_schema.str_schema(pattern=f"^{self.prefix}_{UUID}$")


#: What an id ends with.
UUID = "[0-9a-f]{32}"

KeyId = Annotated[str, Identifier(ids.KEY, "key")]
TriggerId = Annotated[str, Identifier(ids.TRIGGER, "trigger")]
TokenId = Annotated[str, Identifier(ids.TOKEN, "token")]
EventId = Annotated[str, Identifier(ids.EVENT, "event")]
RunId = Annotated[str, Identifier(ids.RUN, "run")]
LetterId = Annotated[str, Identifier(f"({ids.RUN}|raw)", "dead letter")]
ReplayId = Annotated[str, Identifier(ids.REPLAY, "replay")]


class ChangeQuery(Query):
    """What may stand in the query of a change."""

    reason: Description | None = None
    """Why it is made, for the audit log."""


class PageQuery(Query):
    """Which part of a listing."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 100
    """How many items at most."""
    cursor: Annotated[str, Field(max_length=1000, pattern="^[A-Za-z0-9_=-]*$")] | None = None
    """The `next_cursor` of the part before."""

    @property
    def page(self) -> Slice:
        """The part, as the registry reads it.

        Raises:
            Invalid: the cursor is none of ours.
        """
        if self.cursor is None:
            return Slice(self.limit)
        try:
            position = json.loads(base64.urlsafe_b64decode(self.cursor.encode("ascii")))
        except (ValueError, binascii.Error):
            position = None
        if not isinstance(position, list) or not all(
            isinstance(each, str) and "\0" not in each for each in position
        ):
            raise Invalid("cursor", "this is no next_cursor of a listing")
        return Slice(self.limit, tuple(position))

    def after(self, *patterns: str) -> tuple[str, ...] | None:
        """Return the position of the item before, of which each part has its pattern.

        Raises:
            Invalid: it has not: the cursor is of another listing.
        """
        position = self.page.after
        if position is None:
            return None
        if len(position) != len(patterns) or not all(map(re.fullmatch, patterns, position)):
            raise Invalid("cursor", "this is the next_cursor of another listing")
        return position


def cut(
    found: Sequence[_Item], limit: int, position: Callable[[_Item], tuple[str, ...]]
) -> tuple[Sequence[_Item], str | None]:
    """Take away what was found beyond a part of a listing, and tell where the next one begins.

    Args:
        found: its items, and one more if it goes on.
        limit: how many items the part has at most.
        position: of an item.
    """
    part = found[:limit]
    return part, cursor(position(part[-1])) if len(found) > limit else None


def cursor(position: tuple[str, ...] | None) -> str | None:
    """Return what asks for the items after a position; None if there are none."""
    if position is None:
        return None
    return base64.urlsafe_b64encode(json.dumps(position).encode()).decode()
