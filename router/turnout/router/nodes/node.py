"""What private nodes of RabbitMQ and Redis have in common."""

import contextlib
import os
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from turnout.router.nodes.errors import NodeError
from turnout.router.nodes.process import Process

_POLL_SECONDS = 0.05


class Node:
    """One server in the foreground as a child process, its data in a directory of its own.

    Started again, by this object or by a later one with the same directory, it finds its data; this
    object keeps its ports.

    Args:
        directory: where data, settings and logs are; made if missing, for the owner alone.
    """

    name: str
    """How people call it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory.absolute()
        self._process: Process | None = None

    @property
    def address(self) -> str:
        """host:port, for people."""
        raise NotImplementedError

    @property
    def log(self) -> Path:
        """The file with the output of the latest start."""
        return self.directory / "output"

    def is_ready(self) -> bool:
        """Tell at once whether clients can use it."""
        raise NotImplementedError

    def prepare(self) -> None:
        """Write the files that it reads."""

    def command(self) -> Sequence[str]:
        """Return the command that runs it in the foreground."""
        raise NotImplementedError

    def environment(self) -> Mapping[str, str]:
        """Return its environment: nothing of ours gets in by accident."""
        return minimal_environment()

    @property
    def process(self) -> Process:
        """Its process, once started."""
        if self._process is None:
            raise RuntimeError(f"{self.name} was not started")
        return self._process

    @property
    def is_running(self) -> bool:
        """Whether its process runs."""
        return self._process is not None and self._process.is_running

    def start(self) -> None:
        """Start it, after ending what an earlier start left behind; return before it is ready.

        Raises:
            NodeError: its program cannot be run.
        """
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.prepare()
        self._process = Process(
            self.command(), environment=self.environment(), record=self.directory / "process"
        )
        try:
            with self.log.open("wb") as log:
                self._process.start(log)
        except OSError as error:
            raise NodeError(f"{self.name} cannot be started: {error}") from None

    def wait_ready(self, within: float = 60.0) -> None:
        """Wait until clients can use it.

        Raises:
            NodeError: it ended, or was not ready `within` seconds; the end of its log is in the
                text.
        """
        deadline = time.monotonic() + within
        while not self.is_ready():
            if not self.is_running:
                raise NodeError(f"{self.name} ended while it started\n{self._last_lines()}")
            if time.monotonic() > deadline:
                raise NodeError(f"{self.name} is not ready after {within} s\n{self._last_lines()}")
            time.sleep(_POLL_SECONDS)

    def stop(self, grace: float = 20.0) -> None:
        """Shut it down in order; kill it if that takes more than `grace` seconds."""
        if self._process is not None:
            self._process.stop(grace)

    def kill(self) -> None:
        """End it like a power cut of the process: kill -9."""
        if self._process is not None:
            self._process.kill()

    def pause(self) -> None:
        """Freeze it: its connections stay open and silent."""
        self.process.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let a paused node go on."""
        self.process.signal(signal.SIGCONT)

    def _last_lines(self) -> str:
        with contextlib.suppress(OSError):
            lines = self.log.read_text(errors="replace").splitlines()
            return "\n".join([f"the end of {self.log}:", *lines[-15:]])
        return f"no log in {self.log}"


def minimal_environment() -> dict[str, str]:
    """Return the few variables that any program needs."""
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8"}


def write_private(path: Path, text: str) -> None:
    """Write a file that its owner alone can read, whole or not at all."""
    new = path.with_name(path.name + ".new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
    new.replace(path)
