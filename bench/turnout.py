"""Turnout under load: router, ingress and perhaps a worker, as `turnout up` runs them."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiohttp
from bench import flows
from bench.load import Failed, Target
from bench.nodes import Nodes, StreamCounter, empty, exists
from bench.services import Service, started
from yarl import URL

from turnout.router.nodes.ports import LOOPBACK, free_ports
from turnout.shared import keys, names, outcome
from turnout.shared.block import Block

#: The streams are kept short: nobody reads them after the count.
_STREAM_BYTES = "1000000000"

_LIVE_SECONDS = 30.0
_RECORDED_SECONDS = 300.0


class Turnout:
    """Runs it over the nodes, with one trigger that is prepared once.

    Args:
        nodes: that it works with.
        directory: for the registry and the logs.
        flow: slug of the trigger's flow.
        module: that has this flow.
    """

    def __init__(
        self,
        nodes: Nodes,
        directory: Path,
        *,
        flow: str = flows.FLOW,
        module: str = flows.__name__,
    ) -> None:
        self._nodes = nodes
        self._directory = directory
        self._flow = flow
        self._module = module
        self._admin_token = keys.new_key(keys.ADMIN_TOKEN).text
        self._ingress_port, self._admin_port = free_ports(2)
        self._target: Target | None = None
        url = nodes.amqp_url("router")
        self._archive = StreamCounter(url, names.ARCHIVE, _events)
        self._outcomes = StreamCounter(url, names.OUTCOMES, _succeeded)

    @property
    def target(self) -> Target:
        """The trigger's address and a key for it."""
        assert self._target is not None, "prepare it first"
        return self._target

    def admin(self) -> aiohttp.ClientSession:
        """Open a client of the admin API, to which paths are relative."""
        return aiohttp.ClientSession(
            f"http://{LOOPBACK}:{self._admin_port}/api/v1/",
            headers={"Authorization": f"Bearer {self._admin_token}"},
            raise_for_status=True,
        )

    async def prepare(self) -> None:
        """Make the flow, the key and the trigger."""
        async with started(self._router()), self.admin() as api:
            self._target = await self._make_trigger(api)

    async def prepare_flows(self, slugs: Sequence[str]) -> None:
        """Make the flows of `bench.tasks.turnout`, whose queues are filled without triggers."""
        async with started(self._router()), self.admin() as api:
            await _make(api, "groups", {"slug": flows.GROUP, "name": "Benchmark"})
            for slug in slugs:
                await _make(api, f"groups/{flows.GROUP}/flows", {"slug": slug, "name": slug})
            url = self._nodes.amqp_url("router")
            async with asyncio.timeout(_LIVE_SECONDS):
                for slug in slugs:
                    while not await exists(url, names.flow_queue(flows.GROUP, slug)):  # noqa: ASYNC110 - another process declares it
                        await asyncio.sleep(0.1)

    @asynccontextmanager
    async def running(
        self, *, processes: int = 1, router: bool = True, worker: bool = False
    ) -> AsyncIterator[Service]:
        """Run it for the length of a context; gives the ingress.

        Args:
            processes: of ingress.
            router: whether the router records the history meanwhile, once it has caught up.
            worker: whether a worker runs the flow.
        """
        ingress = self._ingress(processes)
        others = [*([self._router()] if router else []), *([self._worker()] if worker else [])]
        async with started(*others, ingress):
            if router:
                await self._recorded()
            yield ingress

    @asynccontextmanager
    async def with_worker(self) -> AsyncIterator[list[Service]]:
        """Run one process of each part for the length of a context; gives all of them."""
        services = [self._router(), self._worker(), self._ingress(1)]
        async with started(*services):
            yield services

    @asynccontextmanager
    async def beside(self, number: int) -> AsyncIterator[list[str]]:
        """Run the router and so many ingress processes; gives the trigger's URL on each."""
        ports = free_ports(number)
        ingresses = [self._ingress(1, port, f"ingress-{port}") for port in ports]
        async with started(self._router(), *ingresses):
            yield [str(URL(self.target.url).with_port(port)) for port in ports]

    async def count(self, accepted: int, *, worker: bool = False) -> None:
        """Hold what the broker has against the calls that were accepted, and empty the queue.

        Raises:
            Failed: something is missing.
        """
        found = {"the archive": await self._archive.new(accepted)}
        if worker:
            found["the outcomes"] = await self._outcomes.new(accepted)
        else:
            queue = names.flow_queue(flows.GROUP, self._flow)
            found["the queue"] = await empty(self._nodes.amqp_url("router"), queue)
        for place, number in found.items():
            if number < accepted:
                raise Failed(f"{place} has {number} of {accepted} accepted calls")

    async def count_outcomes(self, done: int) -> None:
        """Hold the outcomes against the number of runs.

        Raises:
            Failed: some are missing.
        """
        found = await self._outcomes.new(done)
        if found < done:
            raise Failed(f"{found} of {done} runs have an outcome")

    async def _recorded(self) -> None:
        """Wait until the history has all that happened before."""
        async with self.admin() as api, asyncio.timeout(_RECORDED_SECONDS):
            while True:
                async with api.get("history") as response:
                    if not any(each["behind"] for each in (await response.json())["items"]):
                        return
                await asyncio.sleep(0.2)

    async def _make_trigger(self, api: aiohttp.ClientSession) -> Target:
        make = partial(_make, api)
        await make("groups", {"slug": flows.GROUP, "name": "Benchmark"})
        await make(f"groups/{flows.GROUP}/flows", {"slug": self._flow, "name": "Benchmark"})
        key = await make(f"groups/{flows.GROUP}/keys", {"name": "bench"})
        trigger = await make(
            f"flows/{flows.GROUP}/{self._flow}/triggers", {"description": "Benchmark"}
        )
        async with asyncio.timeout(_LIVE_SECONDS):
            while not trigger["live"]:
                await asyncio.sleep(0.1)
                async with api.get(f"triggers/{trigger['id']}") as response:
                    trigger = await response.json()
        return Target(trigger["url"], key["key"])

    def _router(self) -> Service:
        return self._service(
            "router",
            ["router"],
            {
                "TURNOUT_AMQP_URL": self._nodes.amqp_url("router"),
                "TURNOUT_MANAGEMENT_URL": self._nodes.management_url,
                "TURNOUT_DATABASE_URL": f"sqlite+aiosqlite:///{self._directory / 'registry.db'}",
                "TURNOUT_ADMIN_PORT": str(self._admin_port),
                "TURNOUT_ADMIN_TOKEN": self._admin_token,
                "TURNOUT_PUBLIC_URL": f"http://{LOOPBACK}:{self._ingress_port}",
                "TURNOUT_ARCHIVE_MAX_BYTES": _STREAM_BYTES,
                "TURNOUT_OUTCOMES_MAX_BYTES": _STREAM_BYTES,
            },
            ready=f"http://{LOOPBACK}:{self._admin_port}/readyz",
        )

    def _ingress(self, processes: int, port: int | None = None, name: str = "ingress") -> Service:
        port = port or self._ingress_port
        several = ["--processes", str(processes)] if processes > 1 else []
        return self._service(
            name,
            ["ingress", "--port", str(port), *several],
            {"TURNOUT_AMQP_URL": self._nodes.amqp_url("ingress")},
            ready=f"http://{LOOPBACK}:{port}/readyz",
        )

    def _worker(self) -> Service:
        return self._service(
            "worker",
            ["worker", self._module, "--flows", f"{flows.GROUP}/{self._flow}"],
            {"TURNOUT_AMQP_URL": self._nodes.amqp_url("worker")},
        )

    def _service(
        self, name: str, arguments: list[str], variables: dict[str, str], ready: str | None = None
    ) -> Service:
        inherited = {key: value for key, value in os.environ.items() if key[:8] != "TURNOUT_"}
        return Service(
            name,
            [sys.executable, "-m", "turnout.router.cli", *arguments],
            environment={**inherited, "TURNOUT_REDIS_URL": self._nodes.cache.url(), **variables},
            directory=self._directory,
            ready=ready,
        )


async def _make(api: aiohttp.ClientSession, path: str, body: dict[str, str]) -> dict[str, Any]:
    async with api.post(path, json=body) as response:
        return dict(await response.json())


def _events(body: bytes) -> int:
    return len(Block.decode(body).events)


def _succeeded(body: bytes) -> int:
    return sum(each.state == outcome.SUCCEEDED for each in outcome.decode(body))
