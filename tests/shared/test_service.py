import asyncio
import contextlib

import pytest

from turnout.shared import service


async def test_a_lost_cancellation_does_not_keep_a_service_from_ending() -> None:
    """As asyncio.wait_for loses one, up to Python 3.11."""
    stop = asyncio.Event()

    async def deaf() -> None:
        with contextlib.suppress(asyncio.CancelledError):
            stop.set()
            await asyncio.sleep(60)
        await asyncio.sleep(60)

    async with asyncio.timeout(10):
        await service.until(stop, deaf())


async def test_what_ends_a_part_ends_the_service() -> None:
    async def fails() -> None:
        raise ValueError("it cannot go on")

    with pytest.raises(ValueError, match="cannot go on"):
        await service.until(asyncio.Event(), asyncio.sleep(60), fails())
