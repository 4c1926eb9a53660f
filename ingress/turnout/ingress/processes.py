"""Several ingress processes on one address. The supervisor loads nothing that serves."""

import asyncio
import sys
from functools import partial

from turnout.ingress import address
from turnout.ingress.settings import IngressSettings
from turnout.shared import service
from turnout.shared.processes import Processes

#: Seconds that a process has to end; it gives its callers fewer.
_GRACE = 20.0


def main(count: int, host: str | None = None, port: int | None = None) -> None:
    """Run so many processes, and their supervisor, until a signal ends them.

    Args:
        count: the processes that take calls.
        host: comes before TURNOUT_INGRESS_HOST.
        port: comes before TURNOUT_INGRESS_PORT.
    """
    service.run(IngressSettings, partial(_supervise, count), ingress_host=host, ingress_port=port)


async def _supervise(count: int, settings: IngressSettings, stop: asyncio.Event) -> None:
    # -P: a module of the working directory takes the place of none of ours.
    command = [sys.executable, "-P", "-m", "turnout.ingress"]
    await Processes(command, address.bind(settings, count), grace=_GRACE).run(stop)
