"""What a worker tells Prometheus; `turnout.shared.metrics` serves it."""

from collections.abc import Iterable, Sequence

from prometheus_client.core import Metric

from turnout.shared.metrics import counter, gauge, one
from turnout.shared.publisher import Publisher
from turnout.workers.processor import Processor


class Metrics:
    """Reads what is counted.

    Args:
        processors: one for each flow.
        publisher: the connection on which outcomes are published.
    """

    def __init__(self, processors: Sequence[Processor], publisher: Publisher) -> None:
        self._processors = processors
        self._publisher = publisher

    async def read(self) -> Iterable[Metric]:
        """Tell how things are at this moment."""
        return [
            counter(
                "attempts",
                "Attempts that ended, by what came of them.",
                ("flow", "state"),
                {
                    (each.flow.address, state): count
                    for each in self._processors
                    for state, count in each.ended.items()
                },
            ),
            gauge(
                "runs_in_progress",
                "Runs in progress.",
                ("flow",),
                {(each.flow.address,): each.running for each in self._processors},
            ),
            gauge(
                "runs_at_once",
                "How many runs may be in progress at once.",
                ("flow",),
                {(each.flow.address,): each.limit for each in self._processors},
            ),
            one("publishes_unconfirmed", "Publishes under way.", self._publisher.unconfirmed),
        ]
