"""What ingress tells Prometheus; `turnout.shared.metrics` serves it."""

from collections.abc import Iterable

from prometheus_client.core import Metric

from turnout.ingress.counts import Counts
from turnout.ingress.limits import Limits
from turnout.ingress.lookup import Lookup
from turnout.shared.metrics import counter, gauge, one
from turnout.shared.publisher import Publisher


class Metrics:
    """Reads what is counted.

    Args:
        counts: of accepted and refused calls.
        limits: of the calls under way.
        lookup: what is known of keys and triggers.
        publisher: the connection to the broker.
    """

    def __init__(
        self, counts: Counts, limits: Limits, lookup: Lookup, publisher: Publisher
    ) -> None:
        self._counts = counts
        self._limits = limits
        self._lookup = lookup
        self._publisher = publisher

    async def read(self) -> Iterable[Metric]:
        """Tell how things are at this moment; counts are up to a second old."""
        accepted, refused = self._counts.totals
        states = ("ready", "blocked", "disconnected", "closing")
        state = self._publisher.state
        return [
            counter("calls_accepted", "Calls answered 202.", (), {(): accepted}),
            counter(
                "calls_refused",
                "Calls answered otherwise, by the code of the refusal.",
                ("code",),
                {(code,): count for code, count in refused.items()},
            ),
            one("calls_in_flight", "Calls under way.", self._limits.in_flight),
            one("records_known", "Keys and triggers remembered here.", len(self._lookup)),
            gauge(
                "publisher_state",
                "1 for the state of the connection on which events are published.",
                ("state",),
                {(each,): float(each == state) for each in states},
            ),
            one("publishes_unconfirmed", "Publishes under way.", self._publisher.unconfirmed),
        ]
