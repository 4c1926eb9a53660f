"""Real processes of ours: started, waited for, ended, their logs kept."""

import os
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import aiohttp
from tests.support.waiting import PATIENCE, eventually

from turnout.router.nodes.process import Process

ROOT = Path(__file__).parents[2]

_ROOTS = ("ingress", "router", "workers", "shared")


class Command:
    """`turnout …`, or another program of ours, as a child process.

    Leaving its context stops it: with SIGTERM, and SIGKILL after the grace.

    Args:
        arguments: what follows `turnout`, or the program.
        environment: the variables that it gets besides those of the tests; TURNOUT_* of the
            machine do not reach it.
        directory: where it runs, and for its log; a second command there needs another name.
        name: of the log.
        grace: seconds that it may take to stop.
        program: what Python runs; default: `turnout`.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        directory: Path,
        name: str = "turnout",
        grace: float = 15.0,
        program: Sequence[str] = ("-m", "turnout.router.cli"),
    ) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("TURNOUT_")}
        self._process = Process(
            [sys.executable, *program, *arguments],
            environment={
                **inherited,
                "PYTHONPATH": os.pathsep.join(str(ROOT / root) for root in _ROOTS),
                "PYTHONUNBUFFERED": "1",
                **environment,
            },
            record=directory / f"{name}.process",
            working_directory=directory,
        )
        self._log = directory / f"{name}.log"
        self._grace = grace

    def start(self) -> Self:
        """Start it, or start it again; its log goes on."""
        with self._log.open("ab") as log:
            self._process.start(log)
        return self

    @property
    def pid(self) -> int:
        """The id of the process."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it has not ended."""
        return self._process.is_running

    @property
    def log(self) -> str:
        """All that it wrote so far."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    async def wait_http(self, url: str, within: float = PATIENCE) -> None:
        """Wait until GET `url` is answered with 200."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:

            async def answers() -> bool:
                assert self.is_running, f"the process ended before {url} answered\n{self.log}"
                try:
                    async with session.get(url) as response:
                        return response.status == 200
                except (aiohttp.ClientError, TimeoutError):
                    return False

            try:
                await eventually(answers, within, f"{url} answers 200")
            except AssertionError as error:
                raise AssertionError(f"{error}\n{self.log}") from None

    async def wait_log(self, text: str, within: float = PATIENCE) -> None:
        """Wait until it has written `text`."""
        await self.wait_until(lambda: text in self.log, f"{text!r} is logged", within)

    async def wait_until(
        self, check: Callable[[], bool], what: str, within: float = PATIENCE
    ) -> None:
        """Wait until `check` holds; fail at once, with the log, when the process ends before."""

        def holds() -> bool:
            running = self.is_running
            if check():
                return True
            assert running, f"the process ended before {what}\n{self.log}"
            return False

        try:
            await eventually(holds, within, what)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log}") from None

    async def wait_end(self, within: float = PATIENCE) -> int:
        """Wait until it has ended by itself, and return its exit code."""
        await eventually(lambda: not self.is_running, within, "the process ends")
        return self._process.wait()

    def signal(self, number: int) -> None:
        """Send a signal to this process alone."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """End it with kill -9."""
        self._process.kill()

    def pause(self) -> None:
        """Freeze it."""
        self._process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._process.signal(signal.SIGCONT)

    def stop(self) -> int:
        """Ask it to end, and return its exit code."""
        self._process.stop(self._grace)
        return self._process.wait()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()


def children(pid: int) -> set[int]:
    """Return the processes that a process has started, and that run."""
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {each for each in map(int, listed) if runs(each)}


def runs(pid: int) -> bool:
    """Tell whether a process has not ended; one that nobody waited for has."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    # The second field, the command, may hold spaces and parentheses; see proc(5).
    return stat.rpartition(")")[2].split()[0] != "Z"
