"""The programs under load, as child processes."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from bench.load import Failed

from turnout.router.nodes.errors import NodeError
from turnout.router.up.console import Console
from turnout.router.up.service import Program


class Service:
    """One program.

    Args:
        name: how people call it.
        arguments: the command.
        environment: all of its environment variables.
        directory: for its log.
        ready: a URL that answers GET with 200 once it does its work.
    """

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        ready: str | None = None,
    ) -> None:
        self.name = name
        self._log = directory / f"{name}.log"
        self._output = self._log.open("w")
        self._program = Program(
            name,
            arguments,
            environment=environment,
            record=directory / f"{name}.process",
            console=Console(self._output),
            ready_url=ready,
        )

    @property
    def pid(self) -> int:
        """The id of its process."""
        return self._program.process.pid

    async def start(self) -> None:
        """Start it and wait until it is ready.

        Raises:
            Failed: it does not get ready; the end of its log is in the text.
        """
        self._program.start()
        try:
            await self._program.wait_ready()
        except NodeError as error:
            raise Failed(f"{error}\n{self.last_lines()}") from None

    async def stop(self) -> None:
        """End it."""
        await asyncio.to_thread(self._program.stop)
        self._output.close()

    def last_lines(self) -> str:
        """Return the end of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-8:])


@asynccontextmanager
async def started(*services: Service) -> AsyncIterator[None]:
    """Run services, one after the other, for the length of a context."""
    try:
        for service in services:
            await service.start()
        yield
    finally:
        for service in reversed(services):
            await service.stop()
