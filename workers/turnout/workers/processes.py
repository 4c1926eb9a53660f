"""The processes in which the function of one flow computes, each with one run at a time.

    worker ── envelope ──▶ child      started when there is work and none is idle, and kept
       ▲                     │
       ├── Success, Failure ─┘
       ├── nothing: it crashed ──▶ this attempt failed; another child takes its place
       └── out of time ──▶ killed, with all that it has started

One crash costs one attempt: that is why it is not `concurrent.futures`, where it costs all that are
in progress. `child` is the other side; it ends when its line to us does, whatever ended us.
"""

import asyncio
import contextlib
import os
import pickle
import signal
import socket
import struct
import sys
from typing import Any, Self

from turnout.shared import log
from turnout.shared.errors import FlowError
from turnout.workers.attempt import Failure, Success
from turnout.workers.context import Context
from turnout.workers.flow import Flow

logger = log.get(__name__)

#: Before each pickled object: the number of its bytes.
LENGTH = struct.Struct("!Q")

#: Seconds that a child has to import the flow's module; and, idle, to end.
_PATIENCE = 60.0
_GRACE = 5.0


class Processes:
    """Runs a plain function in processes, as many as there may be runs."""

    def __init__(self, flow: Flow, limit: int) -> None:
        self._flow = flow
        self._free = asyncio.Semaphore(limit)
        self._idle: list[_Child] = []

    async def run(self, context: Context) -> Success | Failure:
        """Make one attempt.

        Raises:
            asyncio.CancelledError: the worker gives the attempt up; its process is killed.
        """
        async with self._free:
            try:
                child = self._idle.pop() if self._idle else await _Child.start(self._flow)
            except FlowError as error:
                return Failure(f"FlowError: {error}")
            try:
                return await self._call(child, context)
            finally:
                if child.is_idle:
                    self._idle.append(child)
                else:
                    await child.kill()

    async def close(self) -> None:
        """End the processes."""
        await asyncio.gather(*(child.close() for child in self._idle))
        self._idle.clear()

    async def _call(self, child: "_Child", context: Context) -> Success | Failure:
        timeout = self._flow.timeout
        try:
            async with asyncio.timeout(timeout):
                end: Success | Failure = await child.call(
                    (context.envelope, context.redelivered, timeout)
                )
                return end
        except TimeoutError:
            assert timeout is not None  # noqa: S101 - else there is none
            return Failure.out_of_time(timeout, "; its process was killed")
        except EOFError:
            await child.kill()
            how = child.how_it_ended
            logger.warning("process of a flow crashed", flow=self._flow.address, how=how)
            return Failure(f"its process ended in the middle of the run: {how}")


class _Child:
    """One process.

    Attributes:
        is_idle: it is ready for another run.
    """

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.is_idle = True
        self._process = process
        self._reader = reader
        self._writer = writer

    @classmethod
    async def start(cls, flow: Flow) -> Self:
        """Start one, and wait until it has the flow.

        Raises:
            FlowError: it cannot be started, or cannot import the flow.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            # -P: a module of the working directory takes the place of none of ours.
            command = [sys.executable, "-P", "-m", "turnout.workers.child", str(theirs.fileno())]
            process = await asyncio.create_subprocess_exec(
                *command,
                stdin=asyncio.subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,
            )
        child = cls(process, *await asyncio.open_connection(sock=ours))
        try:
            async with asyncio.timeout(_PATIENCE):
                await child.call((sys.path, flow.function.__module__, flow.function.__name__))
        except (EOFError, TimeoutError):
            await child.kill()
            raise FlowError(
                f"a process for {flow.address} did not get ready: {child.how_it_ended}; "
                "it says more on standard error"
            ) from None
        return child

    async def call(self, request: tuple[Any, ...]) -> Any:
        """Send something, and wait for the answer.

        Raises:
            EOFError: it has ended, or is ending.
        """
        self.is_idle = False
        data = pickle.dumps(request)
        try:
            self._writer.writelines((LENGTH.pack(len(data)), data))
            await self._writer.drain()
            (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
            answer = await self._reader.readexactly(length)
        except ConnectionError:
            raise EOFError from None
        self.is_idle = True
        return pickle.loads(answer)  # noqa: S301 - of a process that we have started

    @property
    def how_it_ended(self) -> str:
        """The signal or exit code."""
        code = self._process.returncode
        if code is not None and code < 0:
            return signal.Signals(-code).name
        return f"exit code {code}"

    async def kill(self) -> None:
        """End it now, with all that it has started; it may have ended."""
        # Where it has ended by itself, how is told by its exit code a moment later.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE if self._reader.at_eof() else 0):
                await self._process.wait()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        await self._process.wait()
        self._writer.close()

    async def close(self) -> None:
        """Have it end by itself; kill it if it does not."""
        self._writer.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_GRACE):
                await self._process.wait()
                return
        await self.kill()
