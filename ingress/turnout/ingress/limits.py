"""How much a key and a trigger may: all that is decided before the body is read.

A limit is that of the key or trigger, as its group or itself has it in the registry, or else that
of this ingress' settings.
"""

import math
from collections import Counter
from collections.abc import Iterable

from turnout.ingress import responses
from turnout.ingress.rate import Rates
from turnout.ingress.responses import Refusal
from turnout.ingress.settings import IngressSettings
from turnout.shared.records import KeyRecord, TriggerRecord


class Limits:
    """Holds to the limits of one ingress process.

    Args:
        settings: of this ingress.
        rates: counts calls a second.
    """

    def __init__(self, settings: IngressSettings, rates: Rates) -> None:
        self._settings = settings
        self._rates = rates
        self._in_flight: Counter[str] = Counter()

    def are_paced(self, key: KeyRecord, trigger: TriggerRecord) -> bool:
        """Tell whether there is any rate to be checked."""
        return bool(
            key.rate
            or trigger.rate
            or self._settings.rate_per_key
            or self._settings.rate_per_trigger
        )

    async def check_rates(self, key: KeyRecord, trigger: TriggerRecord) -> Refusal | None:
        """Take a token of the key and one of the trigger; refuse when there is none."""
        of_key = key.rate or self._settings.rate_per_key
        of_trigger = trigger.rate or self._settings.rate_per_trigger
        if of_key:
            burst = _burst(key.burst, of_key)
            wait = await self._rates.take("key", key.key_id, of_key, burst)
            if wait:
                return responses.rate_limited("key", of_key, burst, wait)
        if of_trigger:
            burst = _burst(trigger.burst, of_trigger)
            wait = await self._rates.take("trigger", trigger.trigger_id, of_trigger, burst)
            if wait:
                return responses.rate_limited("trigger", of_trigger, burst, wait)
        return None

    def enter(self, key: KeyRecord) -> Refusal | None:
        """Count a call of a key as under way, or refuse one too many; see `leave`."""
        under_way = self._in_flight[key.key_id]
        limit = key.in_flight or self._settings.in_flight_per_key
        if under_way >= limit:
            return responses.too_many_in_flight(limit)
        self._in_flight[key.key_id] = under_way + 1
        return None

    def leave(self, key: KeyRecord) -> None:
        """Count a call of a key as ended."""
        under_way = self._in_flight[key.key_id] - 1
        if under_way:
            self._in_flight[key.key_id] = under_way
        else:
            del self._in_flight[key.key_id]

    @property
    def in_flight(self) -> int:
        """How many calls are under way."""
        return self._in_flight.total()

    def read_timeout(self, trigger: TriggerRecord) -> float:
        """Return the seconds in which a body for a trigger must have come."""
        return trigger.read_timeout or self._settings.read_timeout

    def max_body_bytes(self, trigger: TriggerRecord) -> int:
        """Return the size of the largest body that a trigger takes."""
        own = trigger.max_body_bytes
        return self._settings.max_body_bytes if own is None else own


def header_bytes(headers: Iterable[tuple[bytes, bytes]]) -> int:
    """Return the size of the names and values of all headers together."""
    return sum(len(name) + len(value) for name, value in headers)


def _burst(burst: int | None, rate: float) -> int:
    """Return how many calls may come at once: by default those of one second."""
    return burst or max(1, math.ceil(rate))
