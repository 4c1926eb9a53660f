"""The policy of retries: how long a failed attempt waits for the next one."""

import random
from bisect import bisect_right
from collections.abc import Callable, Sequence

from turnout.shared import names
from turnout.workers.flow import Flow

#: Doubling stops here: by then the delay has long been the longest there is.
_MOST_DOUBLINGS = 40


def delay(flow: Flow, attempt: int, choose: Callable[[Sequence[int]], int] = random.choice) -> int:
    """Draw the delay after a failed attempt.

    The greatest delay doubles with each attempt, and the delay is drawn below it ("full jitter"),
    so that runs that failed together do not come back together.

    Args:
        flow: whose attempt failed.
        attempt: which one, counted from 1.
        choose: takes one of the delays.

    Returns:
        The seconds until the next attempt, one of `names.DELAYS`.
    """
    target = flow.backoff * 2.0 ** min(attempt - 1, _MOST_DOUBLINGS)
    return choose(names.DELAYS[: max(1, bisect_right(names.DELAYS, target))])
