"""The decision: what follows an attempt that failed, from what is known of it alone.

raised Reject ──────────────────────────────────▶ Bury
a run once, or no attempt left ─────────────────▶ Bury
raised Retry(after=…) ──────────────────────────▶ Delay, the next longer one that there is
raised anything else, or took too long ─────────▶ Delay, by the policy of the flow
"""

import random
from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

from turnout.shared import names
from turnout.shared.envelope import ONCE
from turnout.workers import policy
from turnout.workers.attempt import Failure
from turnout.workers.flow import Flow


class Delay(NamedTuple):
    """Another attempt follows."""

    seconds: int
    """One of `names.DELAYS`."""


class Bury(NamedTuple):
    """The run is dead."""

    reason: str


def decide(
    flow: Flow,
    attempt: int,
    kind: str,
    failure: Failure,
    choose: Callable[[Sequence[int]], int] = random.choice,
) -> Delay | Bury:
    """Decide what follows a failed attempt.

    Args:
        flow: whose attempt failed.
        attempt: which one, counted from 1.
        kind: of the envelope.
        failure: what came of the attempt.
        choose: takes one of the delays that the policy allows.
    """
    if failure.is_final:
        return Bury(f"rejected by attempt {attempt}")
    # Whoever runs a flow once sees how it failed, and decides whether to try again.
    if kind == ONCE or attempt > flow.retries:
        return Bury(f"attempt {attempt} of {flow.retries + 1} failed")
    if failure.after is not None:
        return Delay(names.DELAYS[bisect_left(names.DELAYS, failure.after)])
    return Delay(policy.delay(flow, attempt, choose))
