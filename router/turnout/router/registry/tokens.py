"""Admin tokens: they open the admin API."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from turnout.router import models
from turnout.router.registry.errors import Conflict, Invalid
from turnout.router.registry.store import Store, insert, now
from turnout.shared import ids, keys


@dataclass(frozen=True)
class AdminToken:
    """An admin token as it is registered."""

    id: str
    name: str
    prefix: str
    """What identifies it in a list: `ta_<id>`."""
    created_at: datetime


class AdminTokens(Store):
    """The verbs of admin tokens."""

    async def ensure_admin_token(self, text: str, *, name: str = "settings") -> None:
        """Let this token open the admin API; safe to repeat.

        Args:
            text: the token; only its digest is kept.
            name: where it comes from or what it is for.

        Raises:
            Invalid: the text has not the form of an admin token.
        """
        if not keys.is_well_formed(text, keys.ADMIN_TOKEN):
            raise Invalid("token", "this has not the form of an admin token")
        with suppress(Conflict):
            async with self._database.writing() as connection:
                await insert(
                    connection,
                    models.AdminToken,
                    "this admin token exists already",
                    id=ids.new(ids.TOKEN),
                    name=name,
                    prefix=keys.prefix(text),
                    digest=keys.digest(text),
                    created_at=now(),
                )

    async def admin_token(self, digest: str) -> AdminToken | None:
        """Return the token with this digest (hex SHA-256 of its text), if there is one."""
        statement = select(
            models.AdminToken.id,
            models.AdminToken.name,
            models.AdminToken.prefix,
            models.AdminToken.created_at,
        ).where(models.AdminToken.digest == digest)
        async with self._database.reading() as connection:
            row = (await connection.execute(statement)).one_or_none()
        return None if row is None else AdminToken(*row)

    async def count_admin_tokens(self) -> int:
        """Return how many tokens there are; none means that this is the first start."""
        async with self._database.reading() as connection:
            result = await connection.execute(select(func.count(models.AdminToken.id)))
            return result.scalar_one()
