"""A supervised process that behaves as the file `behaviour` of its working directory says."""

import asyncio
import os
import signal
import sys
from pathlib import Path

from turnout.shared import parent


async def work(behaviour: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    supervisor = parent.find()
    assert supervisor is not None
    assert not [name for name in os.environ if name.startswith("TURNOUT_")], "it is handed on"
    supervisor.on_end(stop.set)
    if behaviour != "is never ready":
        supervisor.say_ready()
    while not stop.is_set() or behaviour == "ignores SIGTERM":
        await stop.wait()
        await asyncio.sleep(0.01)


match behaviour := Path("behaviour").read_text():
    case "finds a mistake":
        print("TURNOUT_SETTING: it is wrong", file=sys.stderr)
        sys.exit(2)
    case "crashes":
        sys.exit(3)
    case _:
        asyncio.run(work(behaviour))
