"""A child process that leaves nothing behind.

It has a session of its own, so that a signal reaches all that it started and Ctrl-C reaches it only
through us. The kernel tells it to end when we are gone, however we went. And it is written down in
a file, so that the next start can end what survived even that.
"""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_libc = ctypes.CDLL(None)

_POLL_SECONDS = 0.02


class Process:
    """One child process. Start it in the main thread: the kernel watches the thread that did.

    Args:
        arguments: the command.
        environment: all of its environment variables.
        record: the file that remembers the process while it runs.
        working_directory: where it runs; default: where we do.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        environment: Mapping[str, str],
        record: Path,
        working_directory: Path | None = None,
    ) -> None:
        self._arguments = arguments
        self._environment = environment
        self._record = record
        self._working_directory = working_directory
        self._popen: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The id of the process, which is also that of its session and process group."""
        return self._started().pid

    @property
    def output(self) -> IO[bytes]:
        """What the process writes, when it was started with `subprocess.PIPE`."""
        output = self._started().stdout
        assert output is not None  # noqa: S101 - the caller chose a pipe
        return output

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._started().poll()

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._popen is not None and self._popen.poll() is None

    def start(self, output: int | IO[bytes]) -> None:
        """Start it, after ending what an earlier start left behind.

        Args:
            output: a file, or `subprocess.PIPE`, for both its standard output and error.

        Raises:
            OSError: there is no such program.
        """
        self.kill()
        end_leftover(self._record)
        self._popen = subprocess.Popen(
            self._arguments,
            env=self._environment,
            cwd=self._working_directory,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            # It makes one system call and takes no lock.
            preexec_fn=_end_with(os.getpid()) if sys.platform == "linux" else None,  # noqa: PLW1509
        )
        self._record.write_text(f"{self.pid} {started_at(self.pid)}\n")

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it goes on.
        """
        return self._started().wait(timeout)

    def signal(self, number: int) -> None:
        """Send a signal to it and to all that it started."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def stop(self, grace: float) -> None:
        """Ask it to end, and kill it if it has not done so after `grace` seconds."""
        if self._popen is None:
            return
        if self.is_running:
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.wait(grace)
        self.kill()

    def kill(self) -> None:
        """End it, and whatever it started, at once."""
        if self._popen is not None:
            self.signal(signal.SIGKILL)
            self.wait()
            self._record.unlink(missing_ok=True)

    def _started(self) -> "subprocess.Popen[bytes]":
        if self._popen is None:
            raise RuntimeError("the process was not started")
        return self._popen


def end_leftover(record: Path, grace: float = 10.0) -> bool:
    """End the process that `record` remembers, if it still runs; tell whether it did.

    The time at which a process started tells it from another that got the same id since.
    """
    try:
        pid, began = record.read_text().split()
    except (OSError, ValueError):
        return False
    leader = int(pid)
    found = started_at(leader) == began
    for number in (signal.SIGTERM, signal.SIGKILL):
        if started_at(leader) == began:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(leader, number)
        deadline = time.monotonic() + grace
        while started_at(leader) == began and time.monotonic() < deadline:
            time.sleep(_POLL_SECONDS)
    record.unlink(missing_ok=True)
    return found


def _end_with(parent: int) -> Callable[[], None]:
    """Return what makes a new child end with its parent; it runs between fork and exec."""

    def ask() -> None:
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before we asked
            os.kill(os.getpid(), signal.SIGTERM)

    return ask


def started_at(pid: int) -> str:
    """Return when a process started, in clock ticks since boot; empty if it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    # The second field, the command, may hold spaces and parentheses; see proc(5).
    state, *fields = stat.rpartition(")")[2].split()
    return "" if state == "Z" else fields[18]
