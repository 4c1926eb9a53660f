"""Slots: how many runs may be in progress in one process, shared by its flows in turns."""

from collections import deque
from typing import Protocol


class Waiting(Protocol):
    """A flow with deliveries that wait for a slot."""

    def start_one(self) -> bool:
        """Start one of them if there is one; tell whether more of them wait."""


class Slots:
    """Counts the runs of a process.

    Args:
        limit: how many there may be.
    """

    def __init__(self, limit: int) -> None:
        self._free = limit
        self._waiting: deque[Waiting] = deque()

    def take(self, who: Waiting) -> bool:
        """Take a slot, or be called when there is one; tell which."""
        if self._free > 0:
            self._free -= 1
            return True
        if who not in self._waiting:
            self._waiting.append(who)
        return False

    def keep(self) -> None:
        """Have a slot taken beyond the end of its run, until one more `free`."""
        self._free -= 1

    def free(self) -> None:
        """Give a slot back: whoever has waited longest takes it, and queues up again."""
        self._free += 1
        while self._free > 0 and self._waiting:
            who = self._waiting.popleft()
            if who.start_one() and who not in self._waiting:
                self._waiting.append(who)
