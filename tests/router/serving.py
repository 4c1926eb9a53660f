"""The admin API as tests use it."""

from collections.abc import AsyncIterator, Collection
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from aiohttp import web
from redis.asyncio import Redis

from turnout.router.api import make_app
from turnout.router.duties import Duties
from turnout.router.history.archive import Archive
from turnout.router.history.lookup import History
from turnout.router.link import Links
from turnout.router.operations import Operations
from turnout.router.registry import Registry
from turnout.router.settings import RouterSettings
from turnout.router.topology import Binding, Missing
from turnout.shared import keys


@dataclass
class Broker:
    """Stands where the control plane is: these tests need to steer what it finds at the broker."""

    registry: Registry
    active: bool = True
    settled: bool = True
    reachable: bool = True
    settlements: int = 0
    failure: Exception | None = None
    lacks: list[Missing] = field(default_factory=list)
    live: set[str] = field(default_factory=set)
    withdrawn: list[str] = field(default_factory=list)
    declared: list[Binding] = field(default_factory=list)
    routes: frozenset[str] = frozenset()

    async def settle(self, timeout: float) -> None:
        assert timeout > 0
        self.settlements += 1
        if not self.reachable:
            raise TimeoutError
        self.live = {trigger.id for trigger in (await self.registry.snapshot()).triggers}

    async def withdraw(self, records: Collection[str]) -> None:
        self.withdrawn += records

    def admit(self, records: Collection[str]) -> None:
        self.withdrawn = [each for each in self.withdrawn if each not in records]

    async def declare(self, bindings: Collection[Binding]) -> None:
        if self.failure:
            raise self.failure
        self.declared += bindings

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


def operations(registry: Registry, client: Redis, broker: Broker) -> Operations:
    """Stand where runs are acted on: without a broker, none is."""
    settings = RouterSettings(amqp_url="amqp://127.0.0.1:1/")
    return Operations(settings, registry._database, registry, client, broker)


def no_history(registry: Registry) -> History:
    """Stand where the history is: SQL holds none, and there is no broker."""
    return History(registry._database, Archive(Links(["amqp://127.0.0.1:1/"], "test")))


@asynccontextmanager
async def serve(
    registry: Registry, client: Redis, past: History | None = None
) -> AsyncIterator[Admin]:
    """Serve the admin API on a free port of the loopback for the length of a context."""
    token = keys.new_key(keys.ADMIN_TOKEN).text
    await registry.ensure_admin_token(token)
    broker = Broker(registry)
    settings = RouterSettings(public_url="https://hooks.example.org/")
    runner = web.AppRunner(
        make_app(
            registry,
            broker,
            client,
            operations=operations(registry, client, broker),
            past=past or no_history(registry),
            duties=Duties({}),
            settings=settings,
        )
    )
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    host, port = runner.addresses[0][:2]
    headers = {"Authorization": f"Bearer {token}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        yield Admin(f"http://{host}:{port}", token, registry, broker, session)
    await runner.cleanup()
