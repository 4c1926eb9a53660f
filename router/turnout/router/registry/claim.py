"""Claim: a request that may come again, noted in the transaction that does what it asks."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router.models import IdempotencyKey
from turnout.router.registry.errors import Repeated

#: For how long it is known.
KEPT = timedelta(hours=24)


@dataclass
class Claim:
    """An Idempotency-Key, and what was asked with it."""

    token_id: str
    """Of the admin token: nobody meets the keys of another one."""
    key: str
    """Hex SHA-256."""
    request: str
    """Hex SHA-256 of the method, the path and the body."""
    noted: bool = False
    """Whether a transaction has noted it."""

    def is_mine(self) -> sa.ColumnElement[bool]:
        """Return the condition that a row is of this key."""
        return sa.and_(IdempotencyKey.token_id == self.token_id, IdempotencyKey.key == self.key)


async def note(connection: AsyncConnection, claim: Claim) -> None:
    """Note a claim in a transaction, while nobody else is in one that does.

    Raises:
        Repeated: its key was noted already.
    """
    moment = datetime.now(UTC)
    found = await connection.execute(sa.select(IdempotencyKey.created_at).where(claim.is_mine()))
    since = found.scalar_one_or_none()
    if since is not None and since > moment - KEPT:
        raise Repeated
    await connection.execute(sa.delete(IdempotencyKey).where(claim.is_mine()))
    await connection.execute(
        sa.insert(IdempotencyKey).values(
            token_id=claim.token_id, key=claim.key, request=claim.request, created_at=moment
        )
    )
