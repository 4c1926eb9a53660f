"""How many worker processes there should be: a decision without clock, broker or cache.

    runs wait longer than 2 s, or more of them than run   ──▶ twice as many, then 10 s of patience
    nothing waits for 60 s, and half of one less would do ──▶ one less, then another 60 s

It grows fast, because runs wait; and shrinks slowly, because the next wave comes. The figures are
some seconds old, and a process takes some to start: hence the patience.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Self

from turnout.shared.announcement import Announcement
from turnout.shared.backlog import Backlog

_LONG_WAIT = 2.0
_PATIENCE = 10.0
_CALM = 60.0


class Load(NamedTuple):
    """What all processes have to do."""

    queued: int
    """Runs that no worker has."""
    running: int
    """Runs that are in progress."""
    wait: float
    """Seconds for which a run waits at present; the longest of all flows."""
    capacity: int
    """How many runs may be in progress in the processes that there are."""

    @classmethod
    def of(
        cls,
        waiting: Mapping[str, Backlog],
        ours: Sequence[Announcement],
        announced: Iterable[Announcement],
    ) -> Self:
        """Add up what waits for some processes.

        What waits because the limit of its flow over all workers is used up is no reason for more
        of them.

        Args:
            waiting: by flow.
            ours: the processes.
            announced: all that there are, anywhere.
        """
        room: Counter[str] = Counter()
        for each in announced:
            room.update({served.address: served.concurrency for served in each.served})
        limits = {served.address: served.limit for each in ours for served in each.served}
        found = [
            waiting[address]
            for address, limit in limits.items()
            if address in waiting and (limit is None or room[address] < limit)
        ]
        return cls(
            queued=sum(each.queued for each in found),
            running=sum(each.busy for each in ours),
            wait=max((each.wait for each in found), default=0.0),
            capacity=sum(served.concurrency for each in ours for served in each.served),
        )


class Autoscale:
    """Decides.

    Args:
        fewest: processes that there are at least.
        most: processes that there are at most.
    """

    def __init__(self, fewest: int, most: int) -> None:
        self._fewest = fewest
        self._most = most
        self.count = fewest
        self._patient_until = 0.0
        self._calm_since: float | None = None

    def decide(self, load: Load, now: float) -> int:
        """Return how many processes there should be.

        Args:
            load: at present.
            now: seconds, of a clock that never goes back.
        """
        if load.queued:
            self._calm_since = None
            if now >= self._patient_until and (
                load.wait > _LONG_WAIT or load.queued > load.capacity
            ):
                self._change(min(self.count * 2, self._most), now)
        elif self._calm_since is None:
            self._calm_since = now
        elif now - self._calm_since >= _CALM and self._is_roomy(load):
            self._change(max(self.count - 1, self._fewest), now)
            self._calm_since = now
        return self.count

    def _change(self, count: int, now: float) -> None:
        self.count = count
        self._patient_until = now + _PATIENCE

    def _is_roomy(self, load: Load) -> bool:
        """Tell whether one process less would be half idle."""
        return load.running * 2 * self.count <= load.capacity * (self.count - 1)
