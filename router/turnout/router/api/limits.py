"""Limits in bodies and answers: what is not set (null) is as above it."""

from typing import Annotated, Self

from pydantic import Field

from turnout.router.api.body import Body
from turnout.router.registry import Limits

# Ingress counts with all values in these ranges; RabbitMQ takes no larger body.
Rate = Annotated[float, Field(ge=0.001, le=1_000_000, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=1, le=1_000_000)]
LARGEST_EVENT = 15 * 1024 * 1024
Size = Annotated[int, Field(ge=0, le=LARGEST_EVENT)]
# As far as the setting of ingress goes, which bounds each header alone and is not known here.
HeaderSize = Annotated[int, Field(ge=1024, le=65536)]
Seconds = Annotated[float, Field(ge=0.1, le=600, allow_inf_nan=False)]


class LimitsBody(Body):
    """Limits that one noun has."""

    @classmethod
    def of(cls, limits: Limits) -> Self:
        """Show limits."""
        return cls.model_validate(limits, from_attributes=True)

    def value(self) -> Limits:
        """Return all of them."""
        return Limits(**self.model_dump())

    def changes(self) -> dict[str, float | None]:
        """Return those that were sent."""
        return self.model_dump(exclude_unset=True)


class GroupLimits(LimitsBody):
    """Of each key (`rate`, `burst`, `in_flight`) and each trigger (all others) of a group."""

    rate: Rate | None = None
    """Calls a second."""
    burst: Count | None = None
    """Calls at once, even above the rate."""
    in_flight: Count | None = None
    """Calls under way in one process of ingress."""
    max_body_bytes: Size | None = None
    max_header_bytes: HeaderSize | None = None
    """Of the names and values of all headers of a call together. Whatever it is, ingress takes no
    URL and no single header that is longer than its own setting."""
    read_timeout: Seconds | None = None
    """In which a body must have come."""


class KeyLimits(LimitsBody):
    """Of a key."""

    rate: Rate | None = None
    burst: Count | None = None
    in_flight: Count | None = None


class TriggerLimits(LimitsBody):
    """Of a trigger."""

    rate: Rate | None = None
    burst: Count | None = None
    max_body_bytes: Size | None = None
    max_header_bytes: HeaderSize | None = None
    read_timeout: Seconds | None = None
