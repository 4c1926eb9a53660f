"""What the last call on a connection was found to be: the next one is nearly always like it.

A sender that keeps its connection open shows the same key for the same trigger, call after call. As
long as a call asks for just what the one before did, and nothing that is known here has changed, it
is admitted without parsing, hashing or looking up anything.

    asks the same? ───▶ nothing changed? ──▶ younger than a second? ──▶ admitted
          └───────────────────┴───────────────────────┴────────no────▶ decided anew

Refusals are never remembered: what a bad key costs does not depend on who came before.
"""

from functools import cached_property

from aiohttp.http_parser import RawRequestMessage
from multidict import CIMultiDictProxy

from turnout.ingress.call import Call
from turnout.shared.envelope import Template
from turnout.shared.records import KeyRecord, TriggerRecord

#: Seconds; the records themselves are believed for longer.
_LIFETIME = 1.0


class Admission:
    """A call that was admitted.

    Args:
        call: the call.
        key: the record of its key.
        trigger: the record of its trigger.
        generation: of what was known then; see `Lookup.generation`.
        now: seconds of the monotonic clock.
    """

    def __init__(
        self, call: Call, key: KeyRecord, trigger: TriggerRecord, *, generation: int, now: float
    ) -> None:
        self.call = call
        self.key = key
        self.trigger = trigger
        self._generation = generation
        self._until = now + _LIFETIME
        self._credentials = _credentials(call.headers)

    @cached_property
    def template(self) -> Template:
        """What the events of all such calls have in common, if they bring no idempotency key."""
        event = self.call.envelope(b"", self.key, self.trigger)
        return Template(event._replace(idempotency=None))

    def holds(self, other: Call | RawRequestMessage, *, generation: int | None, now: float) -> bool:
        """Tell whether another call is admitted as this one was.

        Args:
            other: that call, or its head.
            generation: of what is known now.
            now: seconds of the monotonic clock.
        """
        return (
            generation == self._generation
            and now < self._until
            and other.method == self.call.method
            and other.url == self.call.url
            and _credentials(other.headers) == self._credentials
        )


def admission(
    call: Call,
    key: KeyRecord,
    trigger: TriggerRecord,
    *,
    generation: int | None,
    now: float,
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
    return Admission(call, key, trigger, generation=generation, now=now)


def _credentials(headers: CIMultiDictProxy[str]) -> tuple[list[str], list[str]]:
    """Return all that may be a key, unread; what the URL has of it is compared with the rest."""
    return headers.getall("X-API-Key", []), headers.getall("Authorization", [])
