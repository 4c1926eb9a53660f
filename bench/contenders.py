"""What takes the calls: bare aiohttp, Turnout, and what else one would build."""

import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import redis.asyncio
from bench.load import Failed, Target
from bench.nodes import Nodes, empty
from bench.services import Service, started
from bench.turnout import Turnout

from turnout.router.nodes.ports import LOOPBACK, free_ports
from turnout.shared import keys

_PEERS_DATABASE = 1


@dataclass(frozen=True)
class Running:
    """A contender that takes calls.

    Attributes:
        target: where.
        service: the process, with its children, whose CPU counts.
        count: holds what is kept against a number of accepted calls, and clears it away; raises
            `Failed` if something is missing.
    """

    target: Target
    service: Service
    count: Callable[[int], Awaitable[None]]


@dataclass(frozen=True)
class Contender:
    """One line of the table."""

    name: str
    title: str
    running: Callable[[], AbstractAsyncContextManager[Running]]


BARE, CELERY = "bare", "celery"


def contenders(nodes: Nodes, turnout: Turnout, directory: Path) -> list[Contender]:
    """Make all of them, in the order of the table."""
    return [
        Contender(BARE, "bare aiohttp", partial(bare, directory)),
        Contender("turnout", "Turnout", partial(_turnout, turnout)),
        Contender("turnout-2", "Turnout, 2 processes", partial(_turnout, turnout, processes=2)),
        Contender(
            "turnout-history", "Turnout, and its history", partial(_turnout, turnout, router=True)
        ),
        Contender(
            "turnout-worker",
            "Turnout, history, a worker",
            partial(_turnout, turnout, router=True, worker=True),
        ),
        *(
            Contender(name, f"FastAPI + {title}", partial(_peer, name, nodes, turnout, directory))
            for name, title in PEERS.items()
        ),
    ]


PEERS = {CELERY: "Celery", "dramatiq": "Dramatiq", "taskiq": "Taskiq", "faststream": "FastStream"}


def versions() -> str:
    """Name the versions of what is compared."""
    packages = ["aiohttp", "uvloop", "fastapi", "uvicorn", "httptools", "celery", "dramatiq"]
    packages += ["taskiq", "taskiq-aio-pika", "faststream", "aio-pika", "redis"]
    return ", ".join(f"{package} {version(package)}" for package in packages)


@asynccontextmanager
async def bare(directory: Path) -> AsyncIterator[Running]:
    """Run an aiohttp server that answers 202 and does nothing else."""
    (port,) = free_ports(1)
    url = f"http://{LOOPBACK}:{port}/"
    command = [sys.executable, "-m", "bench.bare", str(port)]
    service = Service("bare", command, environment=os.environ, directory=directory, ready=url)
    async with started(service):
        yield Running(Target(url, key="none"), service, _nothing)


async def _nothing(accepted: int) -> None:
    """Count nothing: nothing is kept."""


@asynccontextmanager
async def _turnout(
    turnout: Turnout, *, processes: int = 1, router: bool = False, worker: bool = False
) -> AsyncIterator[Running]:
    async with turnout.running(processes=processes, router=router, worker=worker) as ingress:
        yield Running(turnout.target, ingress, partial(turnout.count, worker=worker))


@asynccontextmanager
async def _peer(
    name: str, nodes: Nodes, turnout: Turnout, directory: Path
) -> AsyncIterator[Running]:
    (port,) = free_ports(1)
    url = f"http://{LOOPBACK}:{port}"
    cache_url = nodes.cache.url(_PEERS_DATABASE)
    queue = f"bench.{name}"
    key = turnout.target.key
    async with redis.asyncio.from_url(cache_url) as cache:
        await cache.set(keys.digest(key), "bench")
    command = [sys.executable, "-m", "uvicorn", f"bench.peers.{name}:app"]
    command += ["--host", LOOPBACK, "--port", str(port), "--loop", "uvloop", "--http", "httptools"]
    service = Service(
        name,
        [*command, "--no-access-log", "--log-level", "warning"],
        environment={
            **os.environ,
            "PEER_AMQP_URL": nodes.peers_url,
            "PEER_QUEUE": queue,
            "PEER_REDIS_URL": cache_url,
        },
        directory=directory,
        ready=f"{url}/openapi.json",
    )
    async with started(service):
        yield Running(Target(f"{url}/call", key), service, partial(_count, nodes, queue))


async def _count(nodes: Nodes, queue: str, accepted: int) -> None:
    kept = await empty(nodes.peers_url, queue)
    if kept < accepted:
        raise Failed(f"the queue has {kept} of {accepted} accepted calls")
