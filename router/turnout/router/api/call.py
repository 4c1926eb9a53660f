"""A call of the admin API: who makes it, and what its handler works with."""

from collections.abc import Collection
from dataclasses import dataclass

from aiohttp import web

from turnout.router.api import control
from turnout.router.registry import Actor, AdminToken, Invalid, NotFound, Registry


@dataclass(frozen=True)
class Call:
    """One call, allowed and checked."""

    request: web.Request
    token: AdminToken | None
    """What it showed; None: the endpoint is open to all."""
    actor: Actor
    """Whom the audit log names for what it changes."""

    @property
    def app(self) -> web.Application:
        """What the API was handed at its start."""
        return self.request.app

    @property
    def registry(self) -> Registry:
        """The registry; what is changed through it is recorded as this call's."""
        return self.app[control.REGISTRY].acting(self.actor)

    @property
    def groups(self) -> tuple[str, ...] | None:
        """Slugs of the groups that the token is limited to; None: all.

        The frame looks after the groups and ids of a path; a listing has to leave the others out.
        """
        return () if self.token is None else self.token.groups

    def sees(self, group: str | None) -> bool:
        """Tell whether the token may see what belongs to a group, or to none."""
        return self.groups is None or group in self.groups

    def require(self, group: str | None, what: str, name: str) -> None:
        """Make sure that the token may see something that the call names outside of its path.

        Raises:
            NotFound: it belongs to another group, or to none; for this token it does not exist.
        """
        if not self.sees(group):
            raise NotFound(what, name)

    def group_of(self, group: str | None, field: str) -> str | None:
        """Return the group that is meant where one may be named; None: all.

        Args:
            group: the one that is named; None: none is.
            field: where it could be.

        Raises:
            Invalid: the token is limited to several groups, and none is named.
            NotFound: the token may not see this one.
        """
        if group is not None:
            self.require(group, "group", group)
        elif self.groups is not None:
            if len(self.groups) != 1:
                raise Invalid(field, "this token is limited to some groups: name one of them")
            return self.groups[0]
        return group

    async def settle(self) -> None:
        """Let broker and cache follow what was just changed: see `control.settle`."""
        await control.settle(self.request)

    def admit(self, records: Collection[str]) -> None:
        """Let records that were withdrawn be written again, where the registry has them."""
        self.app[control.CONTROL].admit(records)

    async def withdraw(self, records: Collection[str]) -> None:
        """Let ingress accept no more what these records stand for: see `control.withdraw`."""
        await control.withdraw(self.request, records)
