"""`python -m turnout.workers.health`: ends with 0 if a worker of this host is alive, else with 1.

For supervisors such as Docker: a worker listens on no port that they could ask.
"""

import asyncio
import socket
import sys

from turnout.shared import cache, settings
from turnout.shared.announcement import Announcement
from turnout.shared.errors import SettingsError
from turnout.workers.settings import WorkerSettings


async def is_announced(redis_url: str) -> bool:
    """Tell whether a worker of this host has announced itself lately; False without the cache."""
    board = cache.connect(redis_url, timeout=2.0)
    try:
        hosts = {each.host for each in await Announcement.read_all(board)}
    except cache.ERRORS as error:
        print(f"the cache cannot be asked: {error}", file=sys.stderr)
        return False
    finally:
        await board.aclose()
    return socket.gethostname() in hosts


def main() -> None:
    """Ask, and exit."""
    try:
        chosen = settings.load(WorkerSettings)
    except SettingsError as error:
        print(error, file=sys.stderr)
        raise SystemExit(2) from None
    raise SystemExit(not asyncio.run(is_announced(chosen.redis_url.get_secret_value())))


if __name__ == "__main__":
    main()
