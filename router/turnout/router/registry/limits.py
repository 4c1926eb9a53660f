"""Limits: what a group, an API key or a trigger sets otherwise than ingress does.

A key falls back on its group for rate, burst and calls in flight, a trigger for the size of a body,
the time that it may take and the size of the headers; what is set nowhere is as ingress is set. A
burst belongs to the rate beside it: a rate without one lets the calls of one second come at once,
whatever is set above.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from turnout.router import models
from turnout.router.registry.errors import Invalid, NotFound


@dataclass(frozen=True)
class Limits:
    """What is set at one place; None: as above it."""

    rate: float | None = None
    """Calls a second."""
    burst: int | None = None
    """Calls at once, even above the rate."""
    in_flight: int | None = None
    """Calls under way in one process."""
    max_body_bytes: int | None = None
    """Size of the largest body."""
    max_header_bytes: int | None = None
    """Size of the names and values of all headers of a call together."""
    read_timeout: float | None = None
    """Seconds in which a body must have come."""

    def over(self, above: "Limits") -> "Limits":
        """Fill what is not set here with what is set above; rate and burst as a pair."""
        paced = above if self.rate is None else self
        return Limits(
            rate=paced.rate,
            burst=paced.burst,
            in_flight=above.in_flight if self.in_flight is None else self.in_flight,
            max_body_bytes=(
                above.max_body_bytes if self.max_body_bytes is None else self.max_body_bytes
            ),
            max_header_bytes=(
                above.max_header_bytes if self.max_header_bytes is None else self.max_header_bytes
            ),
            read_timeout=above.read_timeout if self.read_timeout is None else self.read_timeout,
        )

    def check(self) -> None:
        """Make sure that they can hold together.

        Raises:
            Invalid: a burst has no rate at the same place.
        """
        if self.burst is not None and self.rate is None:
            raise Invalid(
                "limits.burst",
                "a burst goes with a rate at the same place: set limits.rate too, or neither",
            )


NONE = Limits()


async def change_limits(
    connection: AsyncConnection,
    model: type[models.Group | models.ApiKey | models.Trigger],
    what: str,
    identifier: str,
    changes: Mapping[str, Any],
) -> None:
    """Set or, with None, take away limits, within a transaction.

    Args:
        connection: of the transaction.
        model: the table.
        what: how an error calls a row of it, for example "key".
        identifier: of the row: its slug or its id.
        changes: the fields of `Limits` to change; the others stay.

    Raises:
        Invalid: a burst would have no rate.
        NotFound: there is no such row.
    """
    identity = (model.slug if model is models.Group else model.id) == identifier
    # Locked: what is checked is still so when it is written.
    statement = select(model.rate, model.burst).where(identity).with_for_update()
    row = (await connection.execute(statement)).one_or_none()
    if row is None:
        raise NotFound(what, identifier)
    replace(Limits(*row), **changes).check()
    if changes:
        await connection.execute(update(model).where(identity).values(**changes))
