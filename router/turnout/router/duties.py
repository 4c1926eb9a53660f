"""Duties: what the active router does all the time, each apart from the others.

    begun ──▶ goes on ──an error that it did not expect──▶ waits, longer each time ──▶ begun again

What is to be expected, such as a broker that is away, a duty bears by itself. Whatever else ends
it is logged and counted, and ends nothing but this duty: a history that cannot be swept is no
reason to leave dead letters at the broker.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from turnout.router.lease import Lease, LeaseLost
from turnout.shared import log
from turnout.shared.backoff import Backoff
from turnout.shared.errors import SettingsError

logger = log.get(__name__)

#: Begins a duty, which goes on for ever.
Duty = Callable[[], Coroutine[Any, Any, None]]

#: Seconds until a duty is begun again: after its first failure, and at most.
_FIRST = 0.5
_MOST = 30.0
#: Seconds without a failure after which it counts as healthy.
_STEADY = 60.0


class Duties:
    """All of them, by name.

    Args:
        duties: how each is begun.

    Attributes:
        failures: how often each ended.
    """

    def __init__(self, duties: Mapping[str, Duty]) -> None:
        self._duties = duties
        self._failed_at: dict[str, float] = {}
        self.failures: Counter[str] = Counter(dict.fromkeys(duties, 0))

    @property
    def failing(self) -> list[str]:
        """Those that ended within the last minute."""
        now = time.monotonic()
        return [name for name, at in self._failed_at.items() if now - at < _STEADY]

    def begin(self, lease: Lease) -> list[Coroutine[Any, Any, None]]:
        """Return what does them for ever, while the lease is ours; see `_keep`."""
        return [self._keep(name, duty, lease) for name, duty in self._duties.items()]

    async def _keep(self, name: str, duty: Duty, lease: Lease) -> None:
        """Do one for ever.

        Raises:
            LeaseLost: this router is not the active one any more.
            SettingsError: somebody has to set something else first.
        """
        backoff = Backoff(_FIRST, _MOST)
        while True:
            began = time.monotonic()
            try:
                await duty()
            except (LeaseLost, SettingsError):
                raise
            except Exception:
                lease.require()  # it may have ended for that
                self.failures[name] += 1
                self._failed_at[name] = time.monotonic()
                logger.exception("a duty of the router failed, and is begun again", duty=name)
            if time.monotonic() - began > _STEADY:
                backoff.reset()
            await asyncio.sleep(backoff.delay())
