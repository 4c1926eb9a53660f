"""The states of a run, as an order: what an outcome says never undoes what a later one said.

    queued ──▶ running ──▶ retrying ──▶ running … ──▶ succeeded | dead | cancelled
      └─ retracted ──▶ refused (it never runs) | unknown (it may run: then it goes on as above)

Outcomes come more than once, late, and before the event that they belong to. Each has a number,
its progress: the attempt, then the rank of the state within it. A run is in the state of its
greatest progress, in whatever order its outcomes were read.
"""

from typing import Final

from turnout.shared import outcome

QUEUED: Final = "queued"
REFUSED: Final = "refused"
UNKNOWN: Final = "unknown"
RUNNING: Final = "running"
RETRYING: Final = "retrying"
SUCCEEDED: Final = "succeeded"
DEAD: Final = "dead"
CANCELLED: Final = "cancelled"

#: All of them, in the order of their ranks.
ALL = (QUEUED, UNKNOWN, REFUSED, RUNNING, RETRYING, CANCELLED, DEAD, SUCCEEDED)

#: Those of a run that has not ended, and may start yet.
OPEN = (QUEUED, UNKNOWN, RUNNING, RETRYING)

#: Which state the outcome of an attempt means.
OF_OUTCOME = {
    outcome.STARTED: RUNNING,
    outcome.RETRYING: RETRYING,
    outcome.CANCELLED: CANCELLED,
    outcome.DEAD: DEAD,
    outcome.SUCCEEDED: SUCCEEDED,
}

_RANKS = {state: rank for rank, state in enumerate(ALL)}


def progress(state: str, attempt: int = 0) -> int:
    """Return how far a run has come that is in this state in this attempt; 0 when it is queued."""
    return attempt * len(ALL) + _RANKS[state]
