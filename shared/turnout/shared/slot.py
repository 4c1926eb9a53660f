"""The place of one process among several: there is a child in it, whatever happens to children.

starting ──ready──▶ serving ──reload──▶ replacing ──▶ serving
▲  │ failed            │ ended
│  ▼                   ▼
back-off ◀─────────────┘

unwanted: the child is stopped, and none is started before the slot is wanted again.
Replacing: the next child is started. When it is ready, the one before is stopped; when it fails,
the one before serves on. A reload does not wait for a back-off.
"""

import asyncio
import signal
import socket
from collections.abc import Sequence

from turnout.shared import log, service
from turnout.shared.backoff import Backoff
from turnout.shared.child import Child
from turnout.shared.errors import SettingsError

logger = log.get(__name__)

_LONGEST_DELAY = 10.0
#: Seconds after which a child that ends is no sign that the next one will.
_STEADY = 10.0


class Slot:
    """Keeps one child running.

    Args:
        number: from 1.
        command: the program and its arguments.
        sockets: that each child inherits: what waits in them outlives a child.
        patience: seconds in which a child has to be ready.
        grace: seconds that a child has to end.

    Attributes:
        filled: set when a child has been ready for the first time.
        wanted: set while there is to be a child.
    """

    def __init__(
        self,
        number: int,
        command: Sequence[str],
        sockets: Sequence[socket.socket],
        *,
        patience: float,
        grace: float,
    ) -> None:
        self.filled = asyncio.Event()
        self.wanted = asyncio.Event()
        self._unwanted = asyncio.Event()
        self._number = number
        self._command = command
        self._sockets = sockets
        self._patience = patience
        self._grace = grace
        self._backoff = Backoff(most=_LONGEST_DELAY)
        # The oldest first; two while one takes the place of the other.
        self._children: list[Child] = []
        self._due = asyncio.Event()
        self._replaced: asyncio.Future[bool] | None = None
        self._logger = logger.bind(slot=number)

    def want(self, wanted: bool) -> None:
        """Say whether there is to be a child from now on."""
        for event, is_set in ((self.wanted, wanted), (self._unwanted, not wanted)):
            event.set() if is_set else event.clear()

    async def tend(self) -> None:
        """Keep a child running whenever one is wanted, for ever.

        Raises:
            SettingsError: the first one ended with exit code 2, after it has said what is wrong.
        """
        while True:
            await self.wanted.wait()
            await service.until(self._unwanted, self.keep())
            await self.stop()

    async def keep(self) -> None:
        """Keep a child running, for ever.

        Raises:
            SettingsError: the first one ended with exit code 2, after it has said what is wrong.
        """
        while True:
            replaced, self._replaced = self._replaced, None
            self._due.clear()
            is_filled = False
            try:
                is_filled = await self._fill()
            finally:
                if replaced is not None and not replaced.done():
                    replaced.set_result(is_filled)
            await self._until_wanted()

    async def replace(self) -> bool:
        """Have a child started now, and stop the one before when that is ready.

        Returns:
            False if the new one did not get ready; then the one before, if any, serves on.
        """
        self._replaced = asyncio.get_running_loop().create_future()
        self._due.set()
        return await self._replaced

    async def stop(self) -> None:
        """Stop what runs, after `keep` has been cancelled."""
        if self._replaced is not None and not self._replaced.done():
            self._replaced.set_result(False)
        await asyncio.gather(*(self._stop(child) for child in self._children))
        self._children.clear()

    async def _fill(self) -> bool:
        """Start a child, and tell whether it is ready and the only one."""
        try:
            child = await Child.start(self._command, slot=self._number, sockets=self._sockets)
        except OSError as error:
            # No traceback: the reason says it all.
            self._logger.error("process cannot be started", reason=str(error))  # noqa: TRY400
            return False
        began = asyncio.get_running_loop().time()
        self._children.append(child)
        if not await child.ready(self._patience):
            await child.stop(self._grace)
            self._children.remove(child)
            if child.exit_code == 2 and not self.filled.is_set():
                raise SettingsError("a process ended with exit code 2")
            self._logger.error("process did not get ready", pid=child.pid, how=_how(child))
            return False
        seconds = round(asyncio.get_running_loop().time() - began, 3)
        self._logger.info("process is ready", pid=child.pid, seconds=seconds)
        self.filled.set()
        while self._children[0] is not child:
            await self._stop(self._children[0])
            del self._children[0]
        return True

    async def _until_wanted(self) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for child in self._children:
            await service.until(self._due, child.ended())
            if child.exit_code is None:
                return
            self._logger.error("process ended by itself", pid=child.pid, how=_how(child))
        self._children.clear()
        if loop.time() - began > _STEADY:
            self._backoff.reset()
        await service.until(self._due, asyncio.sleep(self._backoff.delay()))

    async def _stop(self, child: Child) -> None:
        await child.stop(self._grace)
        if child.exit_code == 0:
            self._logger.info("process has stopped", pid=child.pid)
        else:
            self._logger.warning("process did not stop in order", pid=child.pid, how=_how(child))


def _how(child: Child) -> str:
    code = child.exit_code
    if code is None or code >= 0:
        return f"exit code {code}"
    return signal.Signals(-code).name
