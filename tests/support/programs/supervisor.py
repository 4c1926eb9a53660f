"""Supervises two children: `supervisor.py PATIENCE GRACE`."""

import asyncio
import sys
from pathlib import Path

from turnout.shared import service
from turnout.shared.processes import Processes
from turnout.shared.settings import Settings


async def supervise(_: Settings, stop: asyncio.Event) -> None:
    patience, grace = map(float, sys.argv[1:])
    command = [sys.executable, str(Path(__file__).with_name("child.py"))]
    await Processes(command, [[], []], patience=patience, grace=grace).run(stop)


service.run(Settings, supervise)
