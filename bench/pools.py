"""What runs tasks: Turnout's worker, a reference that runs none, and the workers of others."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path

import redis.asyncio
from bench import feed, flows, load
from bench.feed import Feed, Make, Message
from bench.load import Failed
from bench.nodes import Nodes, empty
from bench.services import Service
from bench.turnout import Turnout

from turnout.shared import ids, names
from turnout.shared.amqp import Link
from turnout.shared.envelope import TYPE, Envelope

# The tasks. One does nothing, one waits 5 ms, one notes how long its message was under way.
EMPTY, PAUSE, TIMED = TASKS = ("empty", "pause", "timed")

RAW, TURNOUT, CELERY, FASTSTREAM = "raw", "turnout", "celery", "faststream"

_PRODUCER_SECONDS = 120.0

_ARQ_PYTHON = str(Path(__file__).parent / ".venv-arq/bin/python")
_ARQ_DATABASE = 2


#: How many runs may be in progress at once in one process, where nothing speaks against it.
MANY = 1000


async def _nothing(done: int) -> None:
    """Check nothing."""


@dataclass(frozen=True)
class Pool:
    """One line of the table: a worker that consumes a queue of RabbitMQ.

    Attributes:
        name: for the command line.
        title: for the table.
        nodes: that it uses.
        url: of the broker, for whoever fills and empties the queue.
        queue: gives the name of the queue of a task.
        command: gives the command of the worker of a task.
        make: gives what makes the messages of a task.
        directory: for the log.
        environment: variables of the worker, besides ours.
        tasks: those that it has.
        check: holds what it promises besides an empty queue against the number of runs; raises
            `Failed` if something is missing.
    """

    name: str
    title: str
    nodes: Nodes
    url: str
    queue: Callable[[str], str]
    command: Callable[[str], Sequence[str]]
    make: Callable[[str], Awaitable[Make]]
    directory: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    tasks: Sequence[str] = TASKS
    check: Callable[[int], Awaitable[None]] = _nothing

    def worker(self, task: str) -> Service:
        """Make the process that runs a task."""
        return Service(
            self.name,
            self.command(task),
            environment={**os.environ, **self.environment},
            directory=self.directory,
        )

    async def fill(self, task: str, number: int) -> float:
        """Put messages into the queue of a task; return how many it took in a second."""
        make = await self.make(task)
        async with self._feed(task) as feed:
            began = time.monotonic()
            await feed.fill(make, number)
            return number / (time.monotonic() - began)

    async def stream(self, task: str, rate: float, seconds: float) -> int:
        """Put messages into the queue of a task at a constant rate; return how many."""
        make = await self.make(task)
        async with self._feed(task) as feed:
            return await feed.stream(make, rate, seconds)

    async def left(self, task: str) -> int:
        """Remove what is in the queue of a task; return how many messages that were."""
        return await empty(self.url, self.queue(task))

    @property
    def broker_pid(self) -> int:
        """The process that keeps its queue, whose children count as well."""
        return self.nodes.broker.process.pid

    async def broker_memory(self) -> int:
        """Return the bytes that this process has in use."""
        return await self.nodes.broker_memory()

    @asynccontextmanager
    async def _feed(self, task: str) -> AsyncIterator[Feed]:
        link = await Link.connect(self.url, name="feed")
        try:
            feed = Feed(self.queue(task))
            await feed.begin(link)
            yield feed
        finally:
            await link.close()


@dataclass(frozen=True)
class Arq(Pool):
    """A worker of arq, which keeps its queue in Redis and has a Python environment of its own."""

    async def fill(self, task: str, number: int) -> float:
        """Put jobs into the queue; return how many it took in a second."""
        began = time.monotonic()
        await self._produce("fill", task, str(number))
        return number / (time.monotonic() - began)

    async def stream(self, task: str, rate: float, seconds: float) -> int:
        """Put jobs into the queue at a constant rate; return how many."""
        await self._produce("stream", task, str(rate), str(seconds))
        return int(rate * seconds)

    async def left(self, task: str) -> int:
        """Remove what is in the queue; return how many jobs that were."""
        async with redis.asyncio.from_url(self.url) as cache:
            number = int(await cache.zcard(self.queue(task)))
            await cache.flushdb()
        return number

    @property
    def broker_pid(self) -> int:
        """The process that keeps its queue."""
        return self.nodes.cache.process.pid

    async def broker_memory(self) -> int:
        """Return the bytes that this process has in use."""
        async with redis.asyncio.from_url(self.url) as cache:
            return int((await cache.info("memory"))["used_memory"])

    async def _produce(self, *arguments: str) -> None:
        await run_producer([_ARQ_PYTHON, "-m", "bench.tasks.arq", *arguments], self.environment)


def pools(nodes: Nodes, turnout: Turnout, directory: Path) -> list[Pool]:
    """Make all of them, in the order of the table."""
    return [
        _turnout(
            nodes,
            directory,
            name=RAW,
            title="raw consumer, no worker",
            command=lambda task: [
                *(sys.executable, "-m", "bench.tasks.raw"),
                *(nodes.amqp_url("worker"), names.flow_queue(flows.GROUP, task)),
            ],
            tasks=(EMPTY,),
        ),
        _turnout(
            nodes,
            directory,
            name=TURNOUT,
            title="Turnout",
            command=lambda task: [
                *(sys.executable, "-m", "turnout.router.cli", "worker", "bench.tasks.turnout"),
                *("--flows", f"{flows.GROUP}/{task}", "--concurrency", str(MANY)),
            ],
            environment={
                "TURNOUT_AMQP_URL": nodes.amqp_url("worker"),
                "TURNOUT_REDIS_URL": nodes.cache.url(),
            },
            check=turnout.count_outcomes,
        ),
        _peer(nodes, directory, CELERY, "Celery", _celery),
        _peer(nodes, directory, "dramatiq", "Dramatiq", _dramatiq),
        _peer(nodes, directory, "taskiq", "Taskiq", _taskiq),
        _peer(nodes, directory, FASTSTREAM, "FastStream", _faststream),
        _arq(nodes, directory),
    ]


def versions() -> str:
    """Name the versions of what is compared."""
    packages = ["uvloop", "celery", "dramatiq", "gevent", "taskiq", "taskiq-aio-pika"]
    packages += ["faststream", "aio-pika"]
    lock = (Path(__file__).parent / "arq.lock").read_text().split()
    (arq,) = (line.replace("==", " ") for line in lock if line.startswith("arq=="))
    return ", ".join([*(f"{package} {version(package)}" for package in packages), arq])


def _turnout(nodes: Nodes, directory: Path, **fields: object) -> Pool:
    """Make what consumes the queue of a flow of Turnout's."""

    async def make(task: str) -> Make:
        return partial(_event, task)

    return Pool(
        nodes=nodes,
        url=nodes.amqp_url("router"),
        queue=partial(names.flow_queue, flows.GROUP),
        make=make,
        directory=directory,
        **fields,  # type: ignore[arg-type]
    )


def _event(task: str, now: int) -> Message:
    """Make the message of an event, as ingress does."""
    event_id = ids.new(ids.EVENT)
    body = Envelope(
        event_id=event_id,
        run_id=ids.same_uuid(event_id, ids.RUN),
        routing_key="r" * 24,
        trigger_id="trg_" + "0" * 32,
        key_id="key_" + "0" * 32,
        flow_id="flw_" + "0" * 32,
        group_id="grp_" + "0" * 32,
        group=flows.GROUP,
        flow=task,
        received_at=now,
        method="POST",
        path="",
        query="",
        headers=(
            ("Host", "127.0.0.1:8000"),
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(load.BODY))),
        ),
        content_type="application/json",
        remote="127.0.0.1",
        body=load.BODY.encode(),
    ).encode()
    return Message(feed.properties(len(body), TYPE, event_id), body)


def _peer(
    nodes: Nodes,
    directory: Path,
    name: str,
    title: str,
    command: Callable[[str], Sequence[str]],
) -> Pool:
    """Make the pool of a library, whose tasks are in the module of its name in `bench.tasks`."""
    base = f"{name}.tasks"
    environment = {"PEER_AMQP_URL": nodes.peers_url, "PEER_QUEUE": base}

    def queue_of(task: str) -> str:
        # A subscriber of FastStream's has a queue for itself.
        return f"{base}.{task}" if name == FASTSTREAM else base

    made: dict[str, Make] = {}

    async def make(task: str) -> Make:
        if task not in made:  # once: a worker that runs would take the sample away
            producer = [sys.executable, "-m", f"bench.tasks.{name}", task]
            await run_producer(producer, environment)
            made[task] = feed.like(await feed.sample(nodes.peers_url, queue_of(task)))
        return made[task]

    return Pool(
        name, title, nodes, nodes.peers_url, queue_of, command, make, directory, environment
    )


async def run_producer(command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Have a library's own producer send something.

    Raises:
        Failed: it fails, or does not end.
    """
    producer = await asyncio.create_subprocess_exec(
        *command,
        env={**os.environ, **environment, "BENCH_BODY": load.BODY},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(_PRODUCER_SECONDS):
            said, _ = await producer.communicate()
    except TimeoutError:
        producer.kill()
        raise Failed(f"{' '.join(command)} did not end") from None
    if producer.returncode:
        raise Failed(f"{' '.join(command)} failed: {said.decode(errors='replace')}")


def _celery(task: str) -> Sequence[str]:
    many = ["--pool", "gevent", "--concurrency", str(MANY)]
    how = many if task == PAUSE else ["--concurrency", "1"]
    command = [sys.executable, "-m", "celery", "--app", "bench.tasks.celery", "worker"]
    return [*command, "--loglevel", "warning", "--prefetch-multiplier", "50", *how]


def _dramatiq(task: str) -> Sequence[str]:
    program, threads = ("dramatiq-gevent", MANY) if task == PAUSE else ("dramatiq", 8)
    command = [str(Path(sys.executable).with_name(program)), "bench.tasks.dramatiq"]
    return [*command, "--processes", "1", "--threads", str(threads)]


def _taskiq(task: str) -> Sequence[str]:
    command = [sys.executable, "-m", "taskiq", "worker", "bench.tasks.taskiq:broker"]
    command += ["--workers", "1", "--max-async-tasks", str(MANY), "--log-level", "WARNING"]
    return [*command, "--ack-type", "when_executed"]


def _faststream(task: str) -> Sequence[str]:
    return [sys.executable, "-m", "faststream", "run", "bench.tasks.faststream:app"]


def _arq(nodes: Nodes, directory: Path) -> Pool:
    url = nodes.cache.url(_ARQ_DATABASE)
    environment = {"PEER_QUEUE": "arq.tasks", "PEER_REDIS_URL": url}
    command = [_ARQ_PYTHON, "-m", "arq", "bench.tasks.arq.WorkerSettings"]

    async def make(task: str) -> Make:
        raise NotImplementedError("its jobs are made by its own producer")

    return Arq(
        *("arq", "arq, over Redis", nodes, url, lambda _: "arq.tasks", lambda _: command),
        *(make, directory, environment),
    )
