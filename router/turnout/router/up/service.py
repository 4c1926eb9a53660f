"""What the supervisor supervises: private nodes, and our own programs."""

import asyncio
import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Protocol

import aiohttp

from turnout.router.nodes.errors import NodeError
from turnout.router.nodes.node import Node
from turnout.router.nodes.process import Process
from turnout.router.up.console import Console

_POLL_SECONDS = 0.1
_LONGEST_LINE = 2**20


class Service(Protocol):
    """One process that is kept running."""

    @property
    def name(self) -> str:
        """How people call it."""

    @property
    def process(self) -> Process:
        """Its process, once started."""

    def start(self) -> None:
        """Start it, or start it again; called in the main thread.

        Raises:
            NodeError, OSError: it cannot be started.
        """

    async def wait_ready(self) -> None:
        """Wait until it does its work.

        Raises:
            NodeError: it ended, or takes too long.
        """

    def stop(self) -> None:
        """Shut it down in order; called in any thread."""

    def kill(self) -> None:
        """End it at once."""


class NodeService:
    """A private node of RabbitMQ or Redis."""

    def __init__(self, node: Node) -> None:
        self.name = node.name
        self.start = node.start
        self.stop = node.stop
        self.kill = node.kill
        self._node = node

    @property
    def process(self) -> Process:
        """The node's server."""
        return self._node.process

    async def wait_ready(self) -> None:
        """Wait until clients can use it.

        Raises:
            NodeError: it ended, or takes too long.
        """
        await asyncio.to_thread(self._node.wait_ready)


class Program:
    """One of our own programs, its output in the merged log.

    Args:
        name: how people call it.
        arguments: the command.
        environment: all of its environment variables.
        record: the file that remembers its process.
        console: where its output goes.
        ready_url: answers GET with 200 once it does its work; without it, it is ready at once.
        grace: seconds that it may take to stop.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        record: Path,
        console: Console,
        ready_url: str | None = None,
        grace: float = 10.0,
    ) -> None:
        self.name = name
        self.process = Process(arguments, environment=environment, record=record)
        self._console = console
        self._ready_url = ready_url
        self._grace = grace
        self._relays: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Start it, and relay what it writes."""
        self.process.start(subprocess.PIPE)
        relay = asyncio.get_running_loop().create_task(self._relay(self.process.output))
        self._relays.add(relay)
        relay.add_done_callback(self._relays.discard)

    async def wait_ready(self, within: float = 60.0) -> None:
        """Wait for a 200 from the URL that tells that it is ready.

        Raises:
            NodeError: it ended, or takes more than `within` seconds.
        """
        if self._ready_url is None:
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while not await _answers(session, self._ready_url):
                if not self.process.is_running:
                    raise NodeError(f"{self.name} ended while it started; its log is above")
                if loop.time() > deadline:
                    raise NodeError(
                        f"{self.name} is not ready after {within:g} s: "
                        f"{self._ready_url} does not answer 200"
                    )
                await asyncio.sleep(_POLL_SECONDS)

    def stop(self) -> None:
        """Ask it to end, wait, then kill it."""
        self.process.stop(self._grace)

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()

    async def _relay(self, pipe: IO[bytes]) -> None:
        reader = asyncio.StreamReader(limit=_LONGEST_LINE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), pipe
        )
        try:
            while line := await _line(reader):
                self._console.line(self.name, line.decode(errors="replace").rstrip())
        finally:
            transport.close()


async def _line(reader: asyncio.StreamReader) -> bytes:
    """Return the next line that is not longer than anybody reads; nothing at the end."""
    while True:
        try:
            return await reader.readline()
        except ValueError:  # the reader has dropped it
            continue


async def ended(process: Process) -> None:
    """Wait until a process has ended."""
    if process.exit_code is not None:
        return
    loop = asyncio.get_running_loop()
    over = asyncio.Event()
    descriptor = os.pidfd_open(process.pid)
    loop.add_reader(descriptor, over.set)
    try:
        await over.wait()
    finally:
        loop.remove_reader(descriptor)
        os.close(descriptor)


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False
