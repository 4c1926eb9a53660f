from collections.abc import Sequence

import pytest

from turnout.shared import names
from turnout.workers import policy
from turnout.workers.flow import Flow


def make_flow(*, retries: int = 100, backoff: float = 1.0) -> Flow:
    return Flow("demo", "hello", print, "here:1", retries=retries, backoff=backoff)


def delays(flow: Flow, attempt: int) -> list[int]:
    """Return the delays of which one is drawn."""
    offered: list[int] = []

    def note(choices: Sequence[int]) -> int:
        offered.extend(choices)
        return choices[0]

    policy.delay(flow, attempt, note)
    return offered


@pytest.mark.parametrize(
    ("backoff", "attempt", "expected"),
    [
        (1.0, 1, [1]),
        (1.0, 2, [1, 2]),
        (1.0, 3, [1, 2, 3]),
        (1.0, 4, [1, 2, 3, 5, 8]),
        (0.1, 1, [1]),
        (60.0, 1, [1, 2, 3, 5, 8, 12, 18, 27, 40, 60]),
        (1.0, 13, list(names.DELAYS)),
        (1.0, 99, list(names.DELAYS)),
    ],
)
def test_the_delay_is_drawn_below_a_limit_that_doubles(
    backoff: float, attempt: int, expected: list[int]
) -> None:
    assert delays(make_flow(backoff=backoff), attempt) == expected


def test_all_delays_below_the_limit_occur() -> None:
    drawn = {policy.delay(make_flow(), 4) for _ in range(500)}

    assert drawn == {1, 2, 3, 5, 8}


def test_no_attempt_is_too_late_to_compute() -> None:
    assert policy.delay(make_flow(retries=10**9, backoff=1e9), 10**6) in names.DELAYS
