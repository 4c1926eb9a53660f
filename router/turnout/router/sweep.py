"""The sweep: what holds no more is removed from the registry; Redis follows by itself."""

import asyncio

from turnout.router.database import DatabaseUnavailable
from turnout.router.registry import Registry
from turnout.shared import log

logger = log.get(__name__)

#: Seconds between two sweeps.
_INTERVAL = 60.0


class Sweep:
    """Sweeps again and again.

    Args:
        registry: what is swept.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            try:
                if forgotten := await self._registry.forget_cancellations():
                    logger.info(
                        "cancellations are forgotten: their runs have ended", runs=forgotten
                    )
            except DatabaseUnavailable as error:
                logger.warning("the registry is not swept", reason=str(error))
            await asyncio.sleep(_INTERVAL)
