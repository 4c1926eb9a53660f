"""The admin API as tests use it."""

from dataclasses import dataclass, field
from typing import Any

import aiohttp

from turnout.router.registry import Registry
from turnout.router.topology import Missing


@dataclass
class Broker:
    """Stands where the control plane is: these tests need to steer what it finds at the broker."""

    registry: Registry
    settled: bool = True
    reachable: bool = True
    failure: Exception | None = None
    lacks: list[Missing] = field(default_factory=list)
    live: set[str] = field(default_factory=set)

    async def settle(self, timeout: float) -> None:
        assert timeout > 0
        if not self.reachable:
            raise TimeoutError
        self.live = {trigger.id for trigger in (await self.registry.snapshot()).triggers}

    def is_live(self, trigger_id: str) -> bool:
        return trigger_id in self.live

    async def check(self) -> list[Missing]:
        if self.failure:
            raise self.failure
        return self.lacks

    async def apply(self) -> list[Missing]:
        declared, self.lacks = await self.check(), []
        return declared


@dataclass
class Admin:
    """A running admin API, and a client that holds its token."""

    url: str
    token: str
    registry: Registry
    broker: Broker
    session: aiohttp.ClientSession

    async def call(self, method: str, path: str, body: object = None, *, status: int) -> Any:
        """Call `/api/v1/<path>`, expect a status, and return the answer."""
        async with self.session.request(method, f"{self.url}/api/v1/{path}", json=body) as answer:
            document: Any = await answer.json(content_type=None)
            assert answer.status == status, document
            return document
