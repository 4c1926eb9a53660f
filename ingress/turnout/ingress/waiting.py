"""Callers who wait for the result of their flow: `Prefer: wait=10` (RFC 7240 §4.3).

    accepted ──▶ waits ──succeeded──────────────────▶ 200 with the result
                   ├──── dead, cancelled, too late ─▶ 202 with the event id, as without waiting
                   '──── no room, no Redis ─────────▶ 202 at once

The event is confirmed before the wait begins, so a 202 is as true after it as without it. A failed
run is no 5xx: that would tell the caller to send it again, while it is kept as a dead letter. Why
it failed is for operators, not for callers.
"""

import asyncio
import contextlib
import re
from collections.abc import Mapping

from turnout.ingress.settings import IngressSettings
from turnout.shared import outcome
from turnout.shared.outcome import Outcome
from turnout.shared.replies import Outcomes, Replies

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*(\d{1,6})\s*(?:[,;]|$)", re.IGNORECASE)

_ENDS = (outcome.SUCCEEDED, outcome.DEAD, outcome.CANCELLED)


class Waiting:
    """Says who may wait, and for how long.

    Args:
        replies: where outcomes arrive.
        settings: the longest wait, and how many may wait at once.
    """

    def __init__(self, replies: Replies, settings: IngressSettings) -> None:
        self.replies = replies
        self._longest = settings.wait_limit
        self._most = settings.max_waiting

    def seconds(self, headers: Mapping[str, str]) -> int:
        """Tell how long a caller may wait; 0 if it does not want to, or cannot at present."""
        wanted = _WAIT.search(headers.get("Prefer", ""))
        if wanted is None or not self.replies.active or len(self.replies) >= self._most:
            return 0
        return min(int(wanted[1]), self._longest)


async def end(outcomes: Outcomes, seconds: int) -> Outcome | None:
    """Wait for the end of a run; return the last that was heard of it, None if that is nothing."""
    last = None
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while (heard := await outcomes.get()) is not None:  # None: this process stops
                last = heard
                if last.state in _ENDS:
                    break
    return last
