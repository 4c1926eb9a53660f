"""The audit log is bounded: what is too old goes, a little at a time."""

import asyncio
from datetime import UTC, datetime, timedelta

from turnout.router.registry import Registry

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

    async def sweep(self) -> int:
        """Delete what is too old; return how many changes that were."""
        before, deleted = datetime.now(UTC) - self._max_age, 0
        while some := await self._registry.forget_audit(before):
            deleted += some
            await asyncio.sleep(_REST)
        return deleted
