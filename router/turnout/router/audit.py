"""The audit log is bounded: what is too old goes, a little at a time."""

import asyncio
from datetime import UTC, datetime, timedelta

from turnout.router.database import DatabaseUnavailable
from turnout.router.registry import Registry
from turnout.shared import log

logger = log.get(__name__)

#: Seconds between two sweeps.
_INTERVAL = 3600.0
#: Seconds between two steps of one.
_REST = 0.1


class AuditRetention:
    """Keeps the audit log bounded.

    Args:
        registry: holds it.
        max_age: how long a change is kept.
    """

    def __init__(self, registry: Registry, max_age: timedelta) -> None:
        self._registry = registry
        self._max_age = max_age

    async def run(self) -> None:
        """Sweep for ever."""
        while True:
            try:
                if deleted := await self.sweep():
                    logger.info("audit log is swept", deleted=deleted)
            except DatabaseUnavailable as error:
                logger.warning("audit log is not swept", reason=str(error))
            await asyncio.sleep(_INTERVAL)

    async def sweep(self) -> int:
        """Delete what is too old; return how many changes that were."""
        before, deleted = datetime.now(UTC) - self._max_age, 0
        while some := await self._registry.forget_audit(before):
            deleted += some
            await asyncio.sleep(_REST)
        return deleted
