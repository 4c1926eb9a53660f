"""How many messages of a flow may be in a worker."""

import pytest

from turnout.workers.prefetch import choose, differs


@pytest.mark.parametrize(
    ("limit", "duration", "size", "prefetch"),
    [
        (100, 0.0, 0.0, 100),  # nothing is known yet
        (100, 60.0, 300.0, 100),  # nothing waits behind long runs
        (100, 0.5, 300.0, 110),
        (100, 0.02, 300.0, 350),  # short ones are there when a slot is free
        (100, 0.000_01, 300.0, 600),  # no more than is useful
        (100, 0.005, 1024 * 1024, 164),  # nor than 64 MiB
        (0, 0.005, 300.0, 0),
    ],
)
def test_what_may_wait_is_what_is_begun_in_a_moment(
    limit: int, duration: float, size: float, prefetch: int
) -> None:
    assert choose(limit, duration, size) == prefetch


def test_a_small_change_is_none() -> None:
    assert not differs(100, 100)
    assert not differs(100, 140)
    assert not differs(140, 100)
    assert differs(100, 160)
    assert differs(160, 100)
    assert differs(1, 2)
    assert differs(0, 1)
    assert differs(2, 0)
