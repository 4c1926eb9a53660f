"""Stale bindings: those of triggers that were moved, rotated or deleted.

They outlive the record that ingress went by, for longer than any call may have been under way, and
than any ingress goes by what it knew before it lost the cache. So what comes by them late is queued
where its sender meant it to be.
"""

from collections.abc import Collection

from turnout.router.topology import Binding
from turnout.shared import names

#: Seconds for which a binding is seen to be of no use before it is removed.
GRACE = 600.0


class Stale:
    """Remembers since when bindings have been of no use."""

    def __init__(self) -> None:
        self._since: dict[Binding, float] = {}

    def due(
        self, present: Collection[Binding], wanted: Collection[Binding], now: float
    ) -> frozenset[Binding]:
        """Return the bindings of triggers that are to be removed.

        Args:
            present: what exists.
            wanted: what the registry asks for.
            now: seconds of a clock that never goes back.
        """
        stale = {each for each in present if each.exchange == names.TRIGGERS} - set(wanted)
        self._since = {each: self._since.get(each, now) for each in stale}
        return frozenset(each for each, since in self._since.items() if now - since >= GRACE)
