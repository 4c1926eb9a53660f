"""`/tokens`: admin tokens, whose text is shown once."""

from datetime import datetime
from typing import Annotated, Self

from pydantic import Field

from turnout.router.api.body import Answer, Body, Items, Name, Reason, ShownOnce
from turnout.router.api.call import Call
from turnout.router.api.params import SLUG_PATTERN, Moment, TokenId
from turnout.router.api.routes import Routes, Tagged
from turnout.router.registry import AdminToken, Role

routes = Routes()


class NewToken(Body):
    """A token to make."""

    name: Name
    role: Role
    groups: (
        Annotated[list[Annotated[str, Field(pattern=SLUG_PATTERN)]], Field(max_length=100)] | None
    ) = None
    """Slugs of the groups that it is limited to; null: all."""
    expires_at: Moment | None = None
    """null: never."""


class TokenAnswer(Answer):
    """An admin token, without its text."""

    id: str
    name: str
    prefix: str
    role: Role
    groups: list[str] | None
    """null: all."""
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None

    @classmethod
    def of(cls, token: AdminToken, /, **more: object) -> Self:
        """Show a token, and what else the answer holds."""
        fields = {name: getattr(token, name) for name in TokenAnswer.model_fields}
        return cls.model_validate({**fields, **more})


class CreatedToken(TokenAnswer):
    """A new token, with its text, this one time."""

    token: ShownOnce


@routes.post("/tokens", role="admin")
async def create(call: Call, body: NewToken) -> Tagged[CreatedToken]:
    """Make an admin token."""
    token, text = await call.registry.create_token(
        body.name, role=body.role, groups=body.groups, expires_at=body.expires_at
    )
    return Tagged(CreatedToken.of(token, token=text), token)


@routes.get("/tokens", role="admin")
async def list_all(call: Call) -> Items[TokenAnswer]:
    """List all admin tokens, oldest first."""
    return Items(items=[TokenAnswer.of(each) for each in await call.registry.list_tokens()])


@routes.get("/tokens/{token_id}", role="admin")
async def show(call: Call, token_id: TokenId) -> Tagged[TokenAnswer]:
    """Show one admin token."""
    token = await call.registry.token(token_id)
    return Tagged(TokenAnswer.of(token), token)


@routes.post("/tokens/{token_id}/revoke", role="admin", status=200)
async def revoke(call: Call, token_id: TokenId, body: Reason) -> Tagged[TokenAnswer]:
    """Let a token open nothing any more, for ever."""
    await call.registry.revoke_token(token_id)
    return await show(call, token_id)
