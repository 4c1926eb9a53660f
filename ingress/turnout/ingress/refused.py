"""The log of refused calls: why a webhook did not arrive.

It is a capped stream in the cache, for operators. It holds neither keys nor bodies: of a key that
is not known the part that identifies it, of a routing key the first characters.
"""

import asyncio
import time
from collections import Counter
from typing import NamedTuple

from turnout.ingress.counts import Counts
from turnout.ingress.responses import Refusal
from turnout.shared import log, names
from turnout.shared.batch import Batch, Unavailable

logger = log.get(__name__)

_INTERVAL = 1.0

#: How many the cache keeps, and how many of a kind this process writes each second: a flood of one
#: kind does not wash away the others.
_KEPT = 10_000
_MOST_OF_A_KIND = 5
_MOST = 100


class Caller(NamedTuple):
    """What is known of a call."""

    method: str
    remote: str
    route: str = ""
    """The start of the routing key."""
    prefix: str = ""
    """`tk_<id>` of the key that was presented, if it was well-formed."""
    key_id: str = ""
    trigger_id: str = ""


class _Kind(NamedTuple):
    """Calls that are refused for the same reason."""

    code: str
    key_id: str
    trigger_id: str
    reason: str


class Refused:
    """Notes refused calls.

    Args:
        batch: writes to the cache.
        counts: counts all of them.
    """

    def __init__(self, batch: Batch, counts: Counts) -> None:
        self._batch = batch
        self._counts = counts
        self._noted: list[dict[str, str]] = []
        self._kinds: Counter[_Kind] = Counter()

    def note(self, refusal: Refusal, caller: Caller) -> None:
        """Count a refused call, and keep it unless there are many like it."""
        self._counts.refused(caller.trigger_id, caller.key_id, refusal.code)
        kind = _Kind(refusal.code, caller.key_id, caller.trigger_id, refusal.reason)
        self._kinds[kind] += 1
        if self._kinds[kind] > _MOST_OF_A_KIND or len(self._noted) >= _MOST:
            return
        self._noted.append(
            {
                "at": f"{time.time():.3f}",
                "status": str(refusal.status.value),
                "code": refusal.code,
                "key": caller.key_id,
                "prefix": caller.prefix,
                "trigger": caller.trigger_id,
                "route": caller.route,
                "method": caller.method,
                "remote": caller.remote,
                "reason": refusal.reason,
            }
        )

    async def run(self) -> None:
        """Write them each second, for ever."""
        while True:
            await asyncio.sleep(_INTERVAL)
            await self.write()

    async def write(self) -> None:
        """Write what was noted; what the cache does not take is counted all the same."""
        kinds, self._kinds = self._kinds, Counter()
        noted, self._noted = self._noted, []
        for kind, calls in kinds.items():
            told = {name: value for name, value in kind._asdict().items() if value}
            logger.info("calls refused", calls=calls, **told)
        try:
            await asyncio.gather(*map(self._add, noted))
        except Unavailable:
            return

    def _add(self, entry: dict[str, str]) -> asyncio.Future[bytes]:
        words = [word for pair in entry.items() for word in pair]
        return self._batch.execute("XADD", names.REFUSED, "MAXLEN", "~", _KEPT, "*", *words)
