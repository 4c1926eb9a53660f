"""`turnout doctor`: looks at everything that Turnout stands on, and says what to do.

Each check is a file here. All run at once, each for `_PATIENCE` seconds at most, so that what is
dead delays nothing else. Nothing is changed anywhere.
"""

import asyncio

from turnout.router.doctor import (
    broker,
    cache,
    clocks,
    configuration,
    database,
    permissions,
    queues,
    topology,
    workers,
)
from turnout.router.doctor.finding import Check, Finding, Level, problem
from turnout.router.doctor.place import Place
from turnout.shared.cache import ERRORS
from turnout.shared.errors import TurnoutError

__all__ = ["Finding", "Level", "Place", "examine"]

_PATIENCE = 10.0

_CHECKS: dict[str, Check] = {
    module.SUBJECT: module.check
    for module in (
        *(configuration, broker, permissions, cache, database),
        *(topology, queues, workers, clocks),
    )
}


async def examine(place: Place) -> list[Finding]:
    """Run all checks, and return what they found, in the order of the checks."""
    found = await asyncio.gather(*(_run(*each, place) for each in _CHECKS.items()))
    return [finding for findings in found for finding in findings]


async def _run(subject: str, check: Check, place: Place) -> list[Finding]:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await check(place)
    except TimeoutError:
        return [problem(subject, f"no answer within {_PATIENCE:g} s", "see whether it runs")]
    except (TurnoutError, *ERRORS) as error:
        return [problem(subject, str(error) or type(error).__name__, "see whether it runs")]
