"""How many worker processes there should be: a decision without clock, broker or cache.

    runs wait longer than 2 s, or more of them than run   ──▶ twice as many, then 10 s of patience
    nothing waits for 60 s, and half of one less would do ──▶ one less, then another 60 s

It grows fast, because runs wait; and shrinks slowly, because the next wave comes. The figures are
some seconds old, and a process takes some to start: hence the patience.
"""

from typing import NamedTuple

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
