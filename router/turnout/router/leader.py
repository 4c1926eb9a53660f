"""Leadership: what only the active router does, and when it starts and stops doing it.

standby ──takes the lease──▶ active: all duties are done ──loses it──▶ standby …
                                └── stop ──▶ the duties end, the lease is given up
"""

import asyncio

from turnout.router.duties import Duties
from turnout.router.lease import Lease, LeaseLost
from turnout.shared import log, service

logger = log.get(__name__)


async def lead(lease: Lease, stop: asyncio.Event, duties: Duties) -> None:
    """Do the duties whenever the lease is ours, until `stop` is set.

    Args:
        lease: decides which router is active.
        stop: set when the router has to stop.
        duties: begun anew each time that this router becomes active, cancelled when it is no more.

    Raises:
        SettingsError: somebody has to set something else first.
    """
    while not stop.is_set():
        try:
            await service.until(stop, lease.acquire())
            if lease.held:
                await service.until(stop, lease.keep(), *duties.begin(lease))
        except LeaseLost as error:
            logger.warning("this router steps down", reason=str(error))
        finally:
            await lease.release()
