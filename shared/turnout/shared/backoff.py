"""Waiting longer after each failure, with jitter, so that many do not return together."""

import random


class Backoff:
    """Delays that grow from `first` to `most` seconds; each is drawn between half and the whole.

    Half of each delay is certain, so a broken peer is never hammered; the rest is jitter.
    """

    def __init__(self, first: float = 0.1, most: float = 2.0) -> None:
        self._first = first
        self._most = most
        self._next = first

    def delay(self) -> float:
        """Return the seconds to wait now, and double the next delay."""
        delay = self._next
        self._next = min(self._next * 2, self._most)
        return delay * random.uniform(0.5, 1.0)

    def reset(self) -> None:
        """Start again at the first delay: it worked."""
        self._next = self._first
