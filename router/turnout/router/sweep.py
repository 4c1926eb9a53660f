"""Sweeping: what is kept no longer is deleted, again and again, a little at a time."""

import asyncio
from collections.abc import Awaitable, Callable

from turnout.router.database import DatabaseUnavailable
from turnout.shared import log

logger = log.get(__name__)

#: Seconds between two sweeps.
_INTERVAL = 60.0


async def for_ever(name: str, sweep: Callable[[], Awaitable[int]]) -> None:
    """Sweep again and again.

    Args:
        name: of what is swept, for the log.
        sweep: does it once, and returns how many were deleted.
    """
    while True:
        try:
            if deleted := await sweep():
                logger.info("swept", what=name, deleted=deleted)
        except DatabaseUnavailable as error:
            logger.warning("not swept", what=name, reason=str(error))
        await asyncio.sleep(_INTERVAL)
