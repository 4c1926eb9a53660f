"""Keeping services running, and stopping them in order.

start ──▶ ready ──▶ watched ──ends──▶ waits (back-off) ──▶ started again
                                             ▲                    │
                                             └───────ends─────────┘
"""

import asyncio
import signal

from turnout.router.nodes.errors import NodeError
from turnout.router.up.console import Console
from turnout.router.up.service import Service, ended

_FIRST_DELAY = 0.5
_LONGEST_DELAY = 30.0
_STEADY_SECONDS = 30.0


class Supervisor:
    """Starts services one after the other and stops them in the reverse order.

    Args:
        console: told about every start, end and stop.
        first_delay: seconds between the end of a service and its new start; doubled each time,
            until it ran for a while.
    """

    def __init__(self, console: Console, first_delay: float = _FIRST_DELAY) -> None:
        self._console = console
        self._first_delay = first_delay
        self._services: list[Service] = []
        self._watches: set[asyncio.Task[None]] = set()

    async def start(self, *services: Service) -> None:
        """Start services together, wait until all are ready, then watch them.

        Raises:
            NodeError, OSError: one cannot be started, or ended before it was ready.
        """
        for service in services:
            self._services.append(service)
            service.start()
        await asyncio.gather(*(service.wait_ready() for service in services))
        for service in services:
            self._console.say(f"{service.name} is ready (process {service.process.pid})")
            self._watches.add(asyncio.create_task(self._watch(service), name=service.name))

    async def failure(self) -> None:
        """Wait for ever, unless the supervision of a service itself fails.

        Raises:
            Exception: what failed.
        """
        await asyncio.gather(*self._watches)

    async def stop(self) -> None:
        """Stop all services, the last started first."""
        for watch in self._watches:
            watch.cancel()
        for service in reversed(self._services):
            self._console.say(f"stopping {service.name}")
            await asyncio.to_thread(service.stop)

    def kill(self) -> None:
        """End all services at once."""
        for service in reversed(self._services):
            service.kill()

    async def _watch(self, service: Service) -> None:
        loop = asyncio.get_running_loop()
        delay = self._first_delay
        while True:
            begin = loop.time()
            await ended(service.process)
            if loop.time() - begin > _STEADY_SECONDS:
                delay = self._first_delay
            how = _how(service.process.wait())
            self._console.fail(f"{service.name} {how}; it starts again in {delay:g} s")
            delay = await self._restart(service, delay)

    async def _restart(self, service: Service, delay: float) -> float:
        """Start a service after a delay, again and again until it can be; return the next delay."""
        while True:
            await asyncio.sleep(delay)
            delay = min(2 * delay, _LONGEST_DELAY)
            try:
                service.start()
            except (NodeError, OSError) as error:
                self._console.fail(f"{service.name} cannot be started: {error}")
            else:
                self._console.say(f"{service.name} started again (process {service.process.pid})")
                return delay


def _how(exit_code: int) -> str:
    if exit_code >= 0:
        return f"ended with exit code {exit_code}"
    return f"was ended by {signal.Signals(-exit_code).name}"
