"""Refused calls: what ingress counts and keeps of them in the cache, for who asks why."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, Self, cast

from redis.asyncio import Redis

from turnout.router import counts
from turnout.shared import names

#: Days of which ingress keeps the counts.
DAYS_KEPT = 40

#: Entries of the log in one round trip.
_CHUNK = 1000

#: What an operator looks at first, by the code of a refusal.
HINTS = {
    "not_found": "the URL is not one of a trigger: compare it with `turnout trigger show`",
    "malformed_request": "this is no HTTP that can be read: look at the sender or a proxy between",
    "header_too_large": "the headers, or the URL, are larger than ingress or the trigger takes",
    "invalid_api_key": "no key, two different ones, or one mistyped, unknown, expired or revoked",
    "authentication_unavailable": "keys could not be checked: are Redis and the router up?",
    "trigger_not_found": "no trigger of the key's group has this URL",
    "key_not_accepted": "the key is not on the trigger's list, or may trigger other flows alone",
    "trigger_disabled": "the trigger is switched off",
    "method_not_allowed": "the trigger does not allow this HTTP method",
    "unsupported_media_type": "the trigger does not accept bodies of this Content-Type",
    "rate_limited": "more calls a second than the key or the trigger may have: see their limits",
    "too_many_in_flight": "more calls at the same time than the key may have: see its limits",
    "body_too_large": "the body is larger than the trigger takes: see its limits",
    "body_timeout": "the body came too slowly: look at the sender's network",
    "incomplete_body": "the body did not arrive as it was announced: the sender broke off",
    "idempotency_conflict": "a call with the same idempotency key was still under way",
    "overloaded": "the bodies of all calls together were too large: start more of ingress",
    "not_accepted": "RabbitMQ was not reachable, blocked by an alarm, slow, or refused",
    "outcome_unknown": "RabbitMQ did not confirm in time: the event may run or not",
    "internal_error": "a fault of ingress: its log says what",
}


class Refusal(NamedTuple):
    """One refused call. What was not known is empty."""

    at: datetime
    status: int
    code: str
    key_id: str
    prefix: str
    """`tk_<id>` of what was presented, if that was well-formed."""
    trigger_id: str
    route: str
    """The first characters of the routing key."""
    method: str
    remote: str
    reason: str
    """What ingress knows beyond the code."""

    @classmethod
    def decode(cls, entry: dict[bytes, bytes]) -> Self:
        """Read an entry of the log."""
        fields = {name.decode(): value.decode(errors="replace") for name, value in entry.items()}
        return cls(
            at=datetime.fromtimestamp(float(fields["at"]), UTC),
            status=int(fields["status"]),
            code=fields["code"],
            key_id=fields["key"],
            prefix=fields["prefix"],
            trigger_id=fields["trigger"],
            route=fields["route"],
            method=fields["method"],
            remote=fields["remote"],
            reason=fields["reason"],
        )


class Refused(NamedTuple):
    """The refused calls of one key at one trigger, for one reason. What was not known is empty."""

    trigger_id: str
    key_id: str
    code: str
    calls: tuple[int, ...]
    """For each day that was asked for."""


class Refusals:
    """Reads what ingress tells of refused calls.

    Args:
        client: the cache.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client

    async def newest(self, limit: int, wanted: Callable[[Refusal], bool]) -> list[Refusal]:
        """Return the newest of the log that are wanted, newest first.

        Args:
            limit: how many at most.
            wanted: tells whether one is.

        Raises:
            redis.RedisError: the cache does not answer.
        """
        found: list[Refusal] = []
        end = "+"
        while len(found) < limit:
            entries = cast(
                "list[tuple[bytes, dict[bytes, bytes]]]",
                await self._client.xrevrange(names.REFUSED, max=end, count=_CHUNK),
            )
            if not entries:
                break
            found += filter(wanted, (Refusal.decode(fields) for _, fields in entries))
            end = f"({entries[-1][0].decode()}"
        # Each process of ingress writes its own at its own pace.
        return sorted(found[:limit], key=lambda each: each.at, reverse=True)

    async def refused(self, days: Sequence[datetime]) -> list[Refused]:
        """Return the counts of those days, by trigger, key and code.

        Raises:
            redis.RedisError: the cache does not answer.
        """
        found = await counts.read(self._client, [names.refused(each) for each in days])
        return [
            Refused(_known(trigger_id), _known(key_id), code, calls)
            for field, calls in found.items()
            for trigger_id, key_id, code in [field.split(" ")]
        ]


def _known(identifier: str) -> str:
    return "" if identifier == "-" else identifier
