"""Waiting for what another process does: on a condition, with a deadline, never for a guess."""

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

_POLL_SECONDS = 0.02

#: Seconds in which a healthy system gets anything done; the machine may be busy with other things.
PATIENCE = 60.0


async def eventually(
    check: Callable[[], Any],
    within: float = PATIENCE,
    what: str = "the condition holds",
) -> Any:
    """Ask `check`, async or not, until it returns something truthy, and return that.

    Raises:
        AssertionError: it did not within that many seconds; says what was waited for, and what it
            returned last.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + within
    while True:
        answer = check()
        value = await answer if inspect.isawaitable(answer) else answer
        if value:
            return value
        if loop.time() > deadline:
            raise AssertionError(f"gave up after {within:g} s of waiting until {what}: {value!r}")
        await asyncio.sleep(_POLL_SECONDS)
