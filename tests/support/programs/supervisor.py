"""Supervises two children: `supervisor.py PATIENCE GRACE`; SIGUSR1: one, SIGUSR2: two again."""

import asyncio
import signal
import sys
from pathlib import Path

from turnout.shared import service
from turnout.shared.processes import Processes
from turnout.shared.settings import Settings


async def supervise(_: Settings, stop: asyncio.Event) -> None:
    patience, grace = map(float, sys.argv[1:])
    command = [sys.executable, str(Path(__file__).with_name("child.py"))]
    processes = Processes(command, [[], []], patience=patience, grace=grace)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGUSR1, processes.scale, 1)
    loop.add_signal_handler(signal.SIGUSR2, processes.scale, 2)
    await processes.run(stop)


service.run(Settings, supervise)
