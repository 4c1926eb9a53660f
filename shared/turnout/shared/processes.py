"""Several processes that do the same, for more than one core, and one that supervises them.

                 ┌─ line, sockets ─▶ child in slot 1
supervisor ──────┼─ line, sockets ─▶ child in slot 2
 SIGTERM: stop   └─ …
 SIGHUP: reload

starting ──first child ready──▶ all start ──▶ serving ◀──────────────────────┐
   │                                             │──SIGHUP──▶ reloading ─────┘
   └──exit code 2──▶ exit code 2                 │            slot by slot
                                                 └──SIGTERM, SIGINT──▶ stopping ──▶ exit code 0

A *slot* has sockets that listen on the common address with SO_REUSEPORT: the kernel gives each new
connection to one of the slots. The supervisor keeps them open, so what waits in them outlives a
child. For a reload, the new child is ready before the old one stops to listen: nobody is refused,
and nobody waits.

A child that was killed is another matter. Its connections break, and what was in flight on them has
no answer. The kernel goes on to give its slot the share of new connections; nobody refuses them,
but they wait until the next child is ready. With two ingress processes on two busy cores that was
0.6 to 1 s, nearly all of it the start of the interpreter, for every second new connection.

A supervisor that was killed takes its children with it: they see the end of their line to it, and
end in order.
"""

import asyncio
import signal
import socket
from collections.abc import Sequence

from turnout.shared import log, service
from turnout.shared.errors import SettingsError
from turnout.shared.slot import Slot

logger = log.get(__name__)

_PATIENCE = 30.0


class Processes:
    """Runs a command in several slots.

    Args:
        command: the program and its arguments; it calls `service.ready` when it does its work.
        sockets: for each slot, what its children inherit: none, or sockets to listen on. They are
            closed when the processes stop.
        grace: seconds that a child has to end before it is killed.
        patience: seconds that a child has to get ready.
        wanted: how many slots are filled at first; None: all.
    """

    def __init__(
        self,
        command: Sequence[str],
        sockets: Sequence[Sequence[socket.socket]],
        *,
        grace: float,
        patience: float = _PATIENCE,
        wanted: int | None = None,
    ) -> None:
        self._sockets = [each for several in sockets for each in several]
        self._slots = [
            Slot(number, command, each, patience=patience, grace=grace)
            for number, each in enumerate(sockets, 1)
        ]
        self._reload_wanted = asyncio.Event()
        self.scale(len(self._slots) if wanted is None else wanted)

    def scale(self, wanted: int) -> None:
        """Fill so many slots from now on, the first ones; the children of the others stop."""
        for number, slot in enumerate(self._slots, 1):
            slot.want(number <= wanted)

    async def run(self, stop: asyncio.Event) -> None:
        """Keep all slots filled until `stop` is set; SIGHUP replaces all children.

        Raises:
            SystemExit: with 2, when the first child has said that its settings are wrong.
        """
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)
        first, *others = self._slots
        try:
            # One at first: what is wrong for all of them is said once.
            await service.until(
                stop,
                first.tend(),
                *(_tend_after(first.filled, each) for each in others),
                self._reload_when_wanted(),
            )
        except SettingsError:
            raise SystemExit(2) from None
        finally:
            logger.info("processes stop")
            for each in self._sockets:
                each.close()
            await asyncio.gather(*(slot.stop() for slot in self._slots))
            loop.remove_signal_handler(signal.SIGHUP)

    async def _reload_when_wanted(self) -> None:
        while True:
            await self._reload_wanted.wait()
            # Before the work: what is wanted from here on is a further reload, one for many.
            self._reload_wanted.clear()
            logger.info("reload begins")
            if await self._reload():
                logger.info("reload is complete")
            else:
                logger.error("reload is given up: a new process did not get ready")

    async def _reload(self) -> bool:
        for slot in self._slots:
            if slot.wanted.is_set() and not await slot.replace():
                return False
        return True


async def _tend_after(event: asyncio.Event, slot: Slot) -> None:
    await event.wait()
    await slot.tend()
