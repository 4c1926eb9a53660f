"""Leadership: what only the active router does, and when it starts and stops doing it.

standby ──takes the lease──▶ active: all of the work runs ──loses it──▶ standby …
                                └── stop ──▶ the work ends, the lease is given up
"""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from turnout.router.lease import Lease, LeaseLost
from turnout.shared import log, service

logger = log.get(__name__)

#: Begins a piece of work that goes on for ever.
Work = Callable[[], Coroutine[Any, Any, None]]


async def lead(lease: Lease, stop: asyncio.Event, work: Sequence[Work]) -> None:
    """Do the work whenever the lease is ours, until `stop` is set.

    Args:
        lease: decides which router is active.
        stop: set when the router has to stop.
        work: begun anew each time that this router becomes active, cancelled when it is no more.

    Raises:
        Exception: what ended a piece of work other than the loss of the lease.
    """
    while not stop.is_set():
        try:
            await service.until(stop, lease.acquire())
            if lease.held:
                await service.until(stop, lease.keep(), *(begin() for begin in work))
        except LeaseLost as error:
            logger.warning("this router steps down", reason=str(error))
        finally:
            await lease.release()
