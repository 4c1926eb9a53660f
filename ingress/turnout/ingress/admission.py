"""What the last call on a connection was found to be: the next one is nearly always like it.

A sender that keeps its connection open shows the same key for the same trigger, call after call. As
long as a call claims just what the one before did, and nothing that is known here has changed, it
is admitted without parsing, hashing or looking up anything.

    claim the same? ──▶ nothing changed? ──▶ younger than a second? ──▶ admitted
          └───────────────────┴───────────────────────┴────────no────▶ decided anew

Refusals are never remembered: what a bad key costs does not depend on who came before.
"""

from typing import NamedTuple

from turnout.ingress.auth import Presented
from turnout.ingress.call import Call
from turnout.shared.records import KeyRecord, TriggerRecord

#: Seconds; the records themselves are believed for longer.
_LIFETIME = 1.0


class Claim(NamedTuple):
    """All of a call that decides whether it is admitted."""

    api_keys: list[str]
    authorizations: list[str]
    query: str
    routing_key: str
    method: str

    @classmethod
    def of(cls, call: Call) -> "Claim":
        """Take it from a call, unread."""
        request = call.request
        headers = request.headers
        return cls(
            headers.getall("X-API-Key", []),
            headers.getall("Authorization", []),
            request.rel_url.raw_query_string,
            call.routing_key,
            request.method,
        )


class Admission(NamedTuple):
    """A call that was admitted."""

    claim: Claim
    generation: int
    """Of what was known then; see `Lookup.generation`."""
    until: float
    presented: Presented
    key: KeyRecord
    trigger: TriggerRecord

    def holds(self, claim: Claim, generation: int | None, now: float) -> bool:
        """Tell whether another call is admitted as this one was.

        Args:
            claim: of that call.
            generation: of what is known now.
            now: seconds of the monotonic clock.
        """
        return generation == self.generation and now < self.until and claim == self.claim


def admission(
    claim: Claim,
    generation: int | None,
    now: float,
    *,
    presented: Presented,
    key: KeyRecord,
    trigger: TriggerRecord,
) -> Admission | None:
    """Remember a call that was admitted, unless time or another header has a say in it."""
    if (
        generation is None
        or key.expires_at is not None
        or key.old_since is not None
        or trigger.expires_at is not None
        or trigger.old_since is not None
        or trigger.content_types is not None
    ):
        return None
    return Admission(claim, generation, now + _LIFETIME, presented, key, trigger)
