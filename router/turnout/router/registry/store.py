"""What the verbs of every noun stand on."""

from datetime import UTC, datetime

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.database import Database
from turnout.router.registry.errors import Conflict


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


def now() -> datetime:
    """Return this moment in UTC."""
    return datetime.now(UTC)
