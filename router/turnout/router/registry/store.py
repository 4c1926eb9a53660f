"""What the verbs of every noun stand on."""

import copy
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Self

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.database import Database
from turnout.router.registry.change import ROUTER, Actor, Change, changing
from turnout.router.registry.errors import Conflict, Invalid


class Store:
    """Holds the database for the verbs.

    Args:
        database: where everything is.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._actor = ROUTER

    def acting(self, actor: Actor) -> Self:
        """Return the same, for changes that somebody else makes than the router itself."""
        other = copy.copy(self)
        other._actor = actor  # noqa: SLF001 - it is one of us
        return other

    def _changing(self) -> AbstractAsyncContextManager[Change]:
        """Make a change that is recorded in the audit log, in one transaction."""
        return changing(self._database, self._actor)


async def insert(
    connection: AsyncConnection, model: type[models.Base], conflict: Conflict, **values: object
) -> None:
    """Add a row.

    Raises:
        Conflict: a row like it exists; it is this one.
    """
    try:
        await connection.execute(sa.insert(model).values(**values))
    except IntegrityError:
        raise conflict from None


def now() -> datetime:
    """Return this moment in UTC."""
    return datetime.now(UTC)


def future(field: str, moment: datetime) -> datetime:
    """Return a moment that has not come yet, in UTC.

    Args:
        field: how the error names it.
        moment: with a time zone.

    Raises:
        Invalid: it has passed, or is none of the calendar in UTC.
    """
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        raise Invalid(field, "this is no moment of the calendar") from None
    if moment <= now():
        raise Invalid(field, "this moment has passed")
    return moment
