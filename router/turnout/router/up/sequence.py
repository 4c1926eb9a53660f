"""From nothing to a working curl command: what `turnout up` starts, in which order."""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import aiohttp

from turnout.router import broker_users, management
from turnout.router.nodes import find, given
from turnout.router.nodes.node import Node
from turnout.router.nodes.ports import LOOPBACK
from turnout.router.up.console import Console
from turnout.router.up.demo import Demo, DemoMaker
from turnout.router.up.facts import Facts, Services, known_demo_key
from turnout.router.up.secret import Secrets
from turnout.router.up.service import NodeService, Program
from turnout.router.up.settings import UpSettings
from turnout.router.up.supervisor import Supervisor

# Only the router may see these.
_ROUTER_ONLY = ("TURNOUT_MANAGEMENT_URL", "TURNOUT_DATABASE_URL", "TURNOUT_ADMIN_TOKEN")
# Nothing sees these: what runs on one machine speaks to its own router without TLS.
_UNUSED = ("TURNOUT_ADMIN_TLS_CERTIFICATE", "TURNOUT_ADMIN_TLS_KEY")


@dataclass(frozen=True, repr=False)
class _Broker:
    """How each role reaches RabbitMQ, and the node if it is ours."""

    amqp_urls: Mapping[str, str]
    management_url: str
    node: Node | None = None


@dataclass(frozen=True, repr=False)
class _Cache:
    """How all reach Redis, and the node if it is ours."""

    url: str
    node: Node | None = None


class Sequence:
    """One run of `turnout up`.

    Args:
        directory: where everything that lasts is kept; it exists.
        modules: the modules with flows for the worker.
        with_demo: whether they contain the demo flow, so that it can be prepared.
        settings: what the user has set.
        supervisor: keeps running what is started here.
        console: where people read what happens.
    """

    def __init__(
        self,
        directory: Path,
        modules: list[str],
        *,
        with_demo: bool,
        settings: UpSettings,
        supervisor: Supervisor,
        console: Console,
    ) -> None:
        self._directory = directory
        self._modules = modules
        self._with_demo = with_demo
        self._settings = settings
        self._supervisor = supervisor
        self._console = console
        self._secrets = Secrets.of(directory)
        self._admin_token = (
            settings.admin_token.get_secret_value()
            if settings.admin_token
            else self._secrets.admin_token
        )

    async def run(self) -> None:
        """Start everything, print how to use it, and stay until cancelled.

        Raises:
            TurnoutError: something cannot be had or started.
        """
        broker = await self._find_broker()
        cache = await self._find_cache()
        nodes = [each for each in (broker.node, cache.node) if each is not None]
        await self._supervisor.start(*(NodeService(node) for node in nodes))
        for node in nodes:
            self._console.say(f"{node.name} at {node.address}, its log in {node.log}")
        await self._supervisor.start(self._router(broker, cache))
        await self._supervisor.start(self._worker(broker, cache), self._ingress(broker, cache))
        facts = Facts(
            ingress_url=self._settings.ingress_url,
            admin_url=self._settings.admin_url,
            admin_token=self._admin_token,
            demo=await self._demo() if self._with_demo else None,
            services=Services(
                broker.amqp_urls,
                broker.management_url,
                cache.url,
                self._database_url,
                self._public_url,
            ),
        )
        facts.write(self._directory)
        self._show(facts)
        await self._supervisor.failure()

    async def _find_broker(self) -> _Broker:
        url = self._settings.amqp_url
        if url is None:
            node = await asyncio.to_thread(
                find.rabbitmq,
                self._directory / "rabbitmq",
                broker_users.definitions(self._secrets.broker_passwords),
                setting="TURNOUT_AMQP_URL",
                say=self._console.say,
            )
            node.delivery_timeout = self._settings.delivery_timeout
            urls = {
                role: broker_users.amqp_url(role, password, LOOPBACK, node.amqp_port)
                for role, password in self._secrets.broker_passwords.items()
            }
            return _Broker(urls, management.default_url(urls["router"], node.management_port), node)
        amqp_url = url.get_secret_value()
        first = amqp_url.split(",")[0].strip()
        await given.check_amqp(first, setting="TURNOUT_AMQP_URL")
        management_url = (
            self._settings.management_url.get_secret_value()
            if self._settings.management_url
            else management.default_url(first)
        )
        await given.check_management(management_url, setting="TURNOUT_MANAGEMENT_URL")
        return _Broker(dict.fromkeys(broker_users.ROLES, amqp_url), management_url)

    async def _find_cache(self) -> _Cache:
        url = self._settings.redis_url
        if url is None:
            node = await asyncio.to_thread(
                find.redis,
                self._directory / "redis",
                self._secrets.redis_password,
                setting="TURNOUT_REDIS_URL",
                say=self._console.say,
            )
            return _Cache(node.url(), node)
        await given.check_redis(url.get_secret_value(), setting="TURNOUT_REDIS_URL")
        return _Cache(url.get_secret_value())

    @property
    def _database_url(self) -> str:
        given = self._settings.database_url
        if given is not None:
            return given.get_secret_value()
        return f"sqlite+aiosqlite:///{self._directory / 'registry.db'}"

    @property
    def _public_url(self) -> str:
        return self._settings.public_url or self._settings.ingress_url

    def _router(self, broker: _Broker, cache: _Cache) -> Program:
        return self._program(
            "router",
            [],
            {
                "TURNOUT_AMQP_URL": broker.amqp_urls["router"],
                "TURNOUT_MANAGEMENT_URL": broker.management_url,
                "TURNOUT_REDIS_URL": cache.url,
                "TURNOUT_DATABASE_URL": self._database_url,
                "TURNOUT_ADMIN_HOST": self._settings.admin_host,
                "TURNOUT_ADMIN_PORT": str(self._settings.admin_port),
                "TURNOUT_ADMIN_TOKEN": self._admin_token,
                "TURNOUT_PUBLIC_URL": self._public_url,
                "TURNOUT_AUTO_REGISTER": "true",
            },
            ready_url=f"{self._settings.admin_url}/readyz",
        )

    def _worker(self, broker: _Broker, cache: _Cache) -> Program:
        return self._program(
            "worker",
            self._modules,
            {"TURNOUT_AMQP_URL": broker.amqp_urls["worker"], "TURNOUT_REDIS_URL": cache.url},
            grace=15.0,  # it finishes the flows that it runs
        )

    def _ingress(self, broker: _Broker, cache: _Cache) -> Program:
        return self._program(
            "ingress",
            [],
            {
                "TURNOUT_AMQP_URL": broker.amqp_urls["ingress"],
                "TURNOUT_REDIS_URL": cache.url,
                "TURNOUT_INGRESS_HOST": self._settings.ingress_host,
                "TURNOUT_INGRESS_PORT": str(self._settings.ingress_port),
            },
            ready_url=f"{self._settings.ingress_url}/readyz",
        )

    def _program(
        self,
        name: str,
        arguments: list[str],
        variables: Mapping[str, str],
        *,
        ready_url: str | None = None,
        grace: float = 10.0,
    ) -> Program:
        withheld = {*_ROUTER_ONLY, *_UNUSED}
        inherited = {key: value for key, value in os.environ.items() if key not in withheld}
        return Program(
            name,
            [sys.executable, "-m", "turnout.router.cli", name, *arguments],
            # Unbuffered, so that what a flow prints is seen when it prints it.
            environment={
                "TURNOUT_LOG_FORMAT": "console",
                "PYTHONUNBUFFERED": "1",
                **inherited,
                **variables,
            },
            record=self._directory / f"{name}.process",
            console=self._console,
            ready_url=ready_url,
            grace=grace,
        )

    async def _demo(self) -> Demo:
        headers = {"Authorization": f"Bearer {self._admin_token}"}
        async with aiohttp.ClientSession(headers=headers) as session:
            maker = DemoMaker(session, self._settings.admin_url)
            return await maker.make(known_demo_key(self._directory))

    def _show(self, facts: Facts) -> None:
        written = self._directory / facts.FILE
        lines = [
            "",
            "Turnout is up.",
            f"  ingress    {facts.ingress_url}",
            f"  admin API  {facts.admin_url}/api/v1 (its token is in {written})",
            "",
        ]
        if facts.demo:
            lines += ["Call the demo flow:", "", facts.demo.curl(), ""]
        self._console.show("\n".join([*lines, "Ctrl-C stops everything.", ""]))
