"""Admin tokens: they open the admin API, as far as their role and their groups allow."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.registry.errors import Conflict, Invalid, NotFound, WrongState
from turnout.router.registry.groups import find_group
from turnout.router.registry.store import Store, future, insert, now
from turnout.shared import ids, keys

Role = Literal["viewer", "operator", "admin"]
"""What a token may: look; change as well; hand out tokens as well."""

ROLES: tuple[Role, ...] = ("viewer", "operator", "admin")

_TOKENS = select(
    models.AdminToken.id,
    models.AdminToken.name,
    models.AdminToken.prefix,
    models.AdminToken.role,
    models.AdminToken.groups,
    models.AdminToken.created_at,
    models.AdminToken.expires_at,
    models.AdminToken.revoked_at,
).order_by(models.AdminToken.id)


@dataclass(frozen=True)
class AdminToken:
    """An admin token as it is registered."""

    id: str
    name: str
    prefix: str
    """What identifies it in a list: `ta_<id>`."""
    role: Role
    groups: tuple[str, ...] | None
    """Slugs of the groups that it is limited to; None: all."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @property
    def label(self) -> str:
        """How people call it."""
        return self.name

    @property
    def group(self) -> None:
        """Whatever it is limited to, it belongs to no group."""
        return

    @property
    def is_valid(self) -> bool:
        """Whether it opens anything at this moment."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now())

    def may(self, role: Role) -> bool:
        """Tell whether it may do what needs a role."""
        return ROLES.index(self.role) >= ROLES.index(role)


class AdminTokens(Store):
    """The verbs of admin tokens."""

    async def create_token(
        self,
        name: str,
        *,
        role: Role,
        groups: Sequence[str] | None = None,
        expires_at: datetime | None = None,
    ) -> tuple[AdminToken, str]:
        """Make an admin token.

        Args:
            name: who or what it is for; no two valid tokens have the same.
            role: what it may.
            groups: slugs of the groups that it is limited to; None: all.
            expires_at: from when on it is refused, with a time zone; None: never.

        Returns:
            The token and its text, which is stored nowhere and can never be had again.

        Raises:
            Conflict: a valid token has this name.
            Invalid: a group does not exist, the list of them is empty, or the token would be
                expired from the start.
        """
        if groups is not None and not groups:
            raise Invalid("groups", "the list is empty: leave it out for a token of all groups")
        expires_at = expires_at and future("expires_at", expires_at)
        secret = keys.new_key(keys.ADMIN_TOKEN)
        async with self._changing() as change:
            for index, group in enumerate(groups or ()):
                try:
                    await find_group(change.connection, group)
                except NotFound as error:
                    raise Invalid(f"groups.{index}", str(error)) from None
            if any(
                each.is_valid
                for each in await _select(change.connection, models.AdminToken.name == name)
            ):
                raise Conflict(f"there is an admin token named {name!r} already", "name")
            token = AdminToken(
                id=ids.new(ids.TOKEN),
                name=name,
                prefix=secret.prefix,
                role=role,
                groups=None if groups is None else tuple(dict.fromkeys(groups)),
                created_at=now(),
                expires_at=expires_at,
                revoked_at=None,
            )
            await _insert(change.connection, token, secret.digest)
            await change.record("token.create", before=None, after=token)
        return token, secret.text

    async def ensure_admin_token(self, text: str, *, name: str = "settings") -> None:
        """Let this token open all of the admin API; safe to repeat.

        Args:
            text: the token; only its digest is kept.
            name: where it comes from or what it is for.

        Raises:
            Invalid: the text has not the form of an admin token.
        """
        if not keys.is_well_formed(text, keys.ADMIN_TOKEN):
            raise Invalid("token", "this has not the form of an admin token")
        token = AdminToken(
            id=ids.new(ids.TOKEN),
            name=name,
            prefix=keys.prefix(text),
            role="admin",
            groups=None,
            created_at=now(),
            expires_at=None,
            revoked_at=None,
        )
        with suppress(Conflict):
            async with self._changing() as change:
                await _insert(change.connection, token, keys.digest(text))
                await change.record("token.create", before=None, after=token)

    async def list_tokens(self) -> list[AdminToken]:
        """Return all tokens, oldest first."""
        async with self._database.reading() as connection:
            return await _select(connection)

    async def token(self, token_id: str) -> AdminToken:
        """Return one token.

        Raises:
            NotFound: there is none with this id.
        """
        async with self._database.reading() as connection:
            return await _find(connection, token_id)

    async def revoke_token(self, token_id: str) -> None:
        """Let a token open nothing any more; safe to repeat.

        Raises:
            WrongState: nobody could hand out tokens any more.
            NotFound: there is none with this id.
        """
        async with self._changing() as change:
            token = await _find(change.connection, token_id)
            revoked = replace(token, revoked_at=token.revoked_at or now())
            others = await _select(change.connection, models.AdminToken.id != token_id)
            if not any(
                each.role == "admin" and each.groups is None and each.expires_at is None
                for each in others
                if each.is_valid
            ):
                raise WrongState(
                    "this is the last admin token of all groups that does not expire: "
                    "create another one first"
                )
            await change.connection.execute(
                update(models.AdminToken)
                .where(models.AdminToken.id == token_id)
                .values(revoked_at=revoked.revoked_at)
            )
            await change.record("token.revoke", before=token, after=revoked)

    async def admin_token(self, digest: str) -> AdminToken | None:
        """Return the valid token with this digest (hex SHA-256 of its text), if there is one."""
        async with self._database.reading() as connection:
            found = await _select(connection, models.AdminToken.digest == digest)
        return found[0] if found and found[0].is_valid else None

    async def count_admin_tokens(self) -> int:
        """Return how many tokens there are; none means that this is the first start."""
        async with self._database.reading() as connection:
            result = await connection.execute(select(func.count(models.AdminToken.id)))
            return result.scalar_one()


async def _select(
    connection: AsyncConnection, *conditions: ColumnElement[bool]
) -> list[AdminToken]:
    rows = await connection.execute(_TOKENS.where(*conditions))
    return [
        AdminToken(**{**row, "groups": None if row["groups"] is None else tuple(row["groups"])})
        for row in rows.mappings()
    ]


async def _find(connection: AsyncConnection, token_id: str) -> AdminToken:
    found = await _select(connection, models.AdminToken.id == token_id)
    if not found:
        raise NotFound("token", token_id)
    return found[0]


async def _insert(connection: AsyncConnection, token: AdminToken, digest: str) -> None:
    await insert(
        connection,
        models.AdminToken,
        Conflict("this admin token exists already"),
        id=token.id,
        name=token.name,
        prefix=token.prefix,
        digest=digest,
        role=token.role,
        groups=None if token.groups is None else list(token.groups),
        created_at=token.created_at,
        expires_at=token.expires_at,
    )
