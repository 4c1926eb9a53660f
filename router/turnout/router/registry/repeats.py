"""Repeats: a request that makes something, and comes again because its answer was lost.

first ──▶ claim, noted in the transaction that makes it ──▶ answer kept beside it, for a day
again ──▶ the same request: the same answer; another one: refused
          no answer kept: it is under way, or was interrupted after it was done
"""

from dataclasses import dataclass

import sqlalchemy as sa

from turnout.router.models import IdempotencyKey
from turnout.router.registry.claim import KEPT, Claim
from turnout.router.registry.errors import KeyReused, Repeated
from turnout.router.registry.store import Store, now

#: Rows that are removed with each answer that is kept, at most: more than come.
_STEP = 10


@dataclass(frozen=True)
class Kept:
    """The answer of a request that was done."""

    status: int
    etag: str | None
    body: str


class Repeats(Store):
    """The answers that are kept."""

    async def kept(self, claim: Claim) -> Kept | None:
        """Return the answer to a request that was done already; None: it was not.

        Raises:
            KeyReused: another request had its key.
            Repeated: it is under way, or its answer was not kept.
        """
        row = IdempotencyKey
        async with self._database.reading() as connection:
            found = await connection.execute(
                sa.select(row.request, row.status, row.etag, row.body).where(
                    claim.is_mine(), row.created_at > now() - KEPT
                )
            )
            kept = found.one_or_none()
        if kept is None:
            return None
        if kept.request != claim.request:
            raise KeyReused
        if kept.status is None:
            raise Repeated
        return Kept(kept.status, kept.etag, kept.body)

    async def keep(self, claim: Claim, kept: Kept) -> None:
        """Keep the answer to a request, and remove a few that are old."""
        row = IdempotencyKey
        async with self._database.writing() as connection:
            await connection.execute(
                sa.update(row)
                .where(claim.is_mine())
                .values(status=kept.status, etag=kept.etag, body=kept.body)
            )
            old = await connection.execute(
                sa.select(row.token_id, row.key).where(row.created_at <= now() - KEPT).limit(_STEP)
            )
            for token_id, key in old.all():
                await connection.execute(
                    sa.delete(row).where(row.token_id == token_id, row.key == key)
                )
