"""What a flow may raise to decide itself what follows.

Exception
├── Reject   no further attempt: the run is dead
└── Retry    a further attempt, if one is left, after a delay that the flow chooses
"""

from datetime import timedelta

from turnout.shared import names
from turnout.shared.errors import FlowError

_LONGEST = names.DELAYS[-1]


class Reject(Exception):
    """No attempt will ever succeed: the run is dead at once.

    Args:
        reason: kept with the dead letter.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)


class Retry(Exception):
    """Another attempt is to follow after a delay. It counts like any other.

    Args:
        after: seconds, up to one hour. The delay is the next longer one that there is: 1, 2, 3, 5,
            8, 12, 18, 27, 40, 60, 90 seconds, and so on.
        reason: kept with the attempt.

    Raises:
        FlowError: the delay is not between 0 seconds and one hour.
    """

    def __init__(self, after: float | timedelta, reason: str = "") -> None:
        seconds = after.total_seconds() if isinstance(after, timedelta) else after
        if not 0 <= seconds <= _LONGEST:
            raise FlowError(f"Retry: after is {after!r}; use 0 to {_LONGEST} seconds")
        super().__init__(f"after {seconds:g} s: {reason}" if reason else f"after {seconds:g} s")
        self.after = seconds
