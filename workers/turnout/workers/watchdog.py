"""The watchdog: names the flow that keeps the event loop from going on.

All `async def` flows of a process share its event loop. One that computes, or calls something that
blocks, holds up the others, the acknowledgements and the heartbeats: after 20 seconds the broker
gives the worker up. A thread sees that the loop's beat is missing, and reads off the loop's stack
which flow is at work there. A run pays nothing for it.
"""

import asyncio
import inspect
import sys
import threading
import time
import traceback
from collections.abc import Mapping
from types import FrameType

from turnout.shared import keys, log
from turnout.workers.flow import Flow

logger = log.get(__name__)

#: Seconds between two beats, and without one until the loop counts as blocked.
_INTERVAL = 0.25
_BLOCKED = 1.0

#: Innermost lines of the stack that are told.
_LINES = 12


class Watchdog:
    """Watches the event loop that runs it.

    Args:
        flows: that may block it.
    """

    def __init__(self, flows: Mapping[str, Flow]) -> None:
        self._flows = {
            inspect.unwrap(each.function).__code__: address for address, each in flows.items()
        }
        self._beat = time.monotonic()
        self._loop_thread = 0
        self._stopped = threading.Event()

    async def watch(self) -> None:
        """Beat until cancelled."""
        self._loop_thread = threading.get_ident()
        thread = threading.Thread(target=self._look, name="watchdog", daemon=True)
        self._beat = time.monotonic()
        thread.start()
        try:
            while True:
                self._beat = time.monotonic()
                await asyncio.sleep(_INTERVAL)
        finally:
            self._stopped.set()

    def _look(self) -> None:
        blocker: str | None = None
        told = False
        asleep = time.monotonic()
        while not self._stopped.wait(_INTERVAL):
            now, beat = time.monotonic(), self._beat
            # When the thread itself could not run, the process was stopped, or had no CPU.
            rested = now - asleep < 2 * _INTERVAL
            asleep = now
            if now - beat < _BLOCKED:
                if told:
                    logger.warning("event loop goes on", flow=blocker)
                told = False
            elif rested and not told:
                told = True
                blocker = self._tell(now - beat)

    def _tell(self, seconds: float) -> str | None:
        frame = sys._current_frames().get(self._loop_thread)  # noqa: SLF001 - there is no other way
        flow = self._flow_of(frame)
        logger.warning(
            "event loop is blocked",
            flow=flow or "none: it is not a flow's doing",
            seconds=round(seconds, 1),
            stack=keys.scrub("".join(traceback.format_stack(frame)[-_LINES:])),
            hint="await what takes time, or write the flow as a plain `def`: that runs in a thread",
        )
        return flow

    def _flow_of(self, frame: FrameType | None) -> str | None:
        while frame is not None:
            address = self._flows.get(frame.f_code)
            if address is not None:
                return address
            frame = frame.f_back
        return None
