"""What the verbs of every noun stand on."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.database import Database
from turnout.router.registry.errors import Conflict

#: Rows that are made into objects before others get their turn.
_PORTION = 500


class Store:
    """Holds the database for the verbs."""

    def __init__(self, database: Database) -> None:
        self._database = database


async def insert(
    connection: AsyncConnection, model: type[models.Base], conflict: str, **values: object
) -> None:
    """Add a row.

    Raises:
        Conflict: a row like it exists; `conflict` is the text.
    """
    try:
        await connection.execute(sa.insert(model).values(**values))
    except IntegrityError:
        raise Conflict(conflict) from None


async def rows(
    connection: AsyncConnection, statement: Select[*tuple[Any, ...]]
) -> AsyncIterator[dict[str, Any]]:
    """Read rows in portions: a hundred thousand of them do not hold up the event loop."""
    async with connection.stream(statement) as result:
        async for portion in result.mappings().partitions(_PORTION):
            for row in portion:
                yield dict(row)


def now() -> datetime:
    """Return this moment in UTC."""
    return datetime.now(UTC)
