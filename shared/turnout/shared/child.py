"""A child process, as its supervisor sees it.

starting ──says that it is ready──▶ serving ──stop──▶ draining ──▶ ended
    │                                  │                  │          ▲
    └─────────── ends by itself ───────┴── grace is over: killed ────┘
"""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import Sequence
from typing import Self

from turnout.shared import parent


class Child:
    """One running process, in a session of its own: signals reach it through us alone.

    Attributes:
        pid: the id of the process.
    """

    def __init__(self, process: asyncio.subprocess.Process, line: socket.socket) -> None:
        self.pid = process.pid
        self._process = process
        self._line = line
        self._stopping = False

    @classmethod
    async def start(
        cls, command: Sequence[str], *, slot: int, sockets: Sequence[socket.socket]
    ) -> Self:
        """Start a command; `turnout.shared.parent` is the other side.

        Args:
            command: the program and its arguments. It gets our environment, output and error.
            slot: its number, from 1.
            sockets: that it inherits.

        Raises:
            OSError: it cannot be started.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            with theirs:
                process = await asyncio.create_subprocess_exec(
                    *command,
                    stdin=asyncio.subprocess.DEVNULL,
                    env={**os.environ, **parent.variables(slot, theirs.fileno(), sockets)},
                    pass_fds=[each.fileno() for each in (theirs, *sockets)],
                    start_new_session=True,
                )
        except BaseException:
            ours.close()
            raise
        return cls(process, ours)

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.returncode

    async def ready(self, within: float) -> bool:
        """Wait until it says that it does its work, for so many seconds at most.

        Returns:
            False if it has ended instead, or has not said so.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                return bool(await asyncio.get_running_loop().sock_recv(self._line, 1))
        return False

    async def ended(self) -> None:
        """Wait until it has ended."""
        await self._process.wait()
        self._line.close()

    async def stop(self, grace: float) -> None:
        """Ask it to end, once however often this is called; kill it after `grace` seconds."""
        if not self._stopping:
            self._stopping = True
            self._signal(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.ended()
                return
        self._signal(signal.SIGKILL)
        await self.ended()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)
