from datetime import timedelta

import pytest

from turnout.shared import names
from turnout.shared.errors import FlowError
from turnout.workers import Reject, Retry
from turnout.workers.attempt import Failure
from turnout.workers.decision import Bury, Delay, decide
from turnout.workers.flow import Flow

FLOW = Flow("demo", "hello", print, "here:1", retries=2, backoff=60)


def after(error: Exception, attempt: int = 1, kind: str = "event") -> Delay | Bury:
    return decide(FLOW, attempt, kind, Failure.of(error), choose=max)


def test_an_exception_is_tried_again_by_the_policy_while_attempts_are_left() -> None:
    assert [after(ValueError(), attempt) for attempt in (1, 2, 3, 4)] == [
        *(Delay(60), Delay(90)),
        *(Bury("attempt 3 of 3 failed"), Bury("attempt 4 of 3 failed")),
    ]


def test_what_is_rejected_is_dead_at_once() -> None:
    assert after(Reject("no such lead")) == Bury("rejected by attempt 1")


@pytest.mark.parametrize(
    ("wanted", "seconds"),
    [(0, 1), (1, 1), (1.5, 2), (100, 135), (timedelta(minutes=5), 300), (3600, 3600)],
)
def test_a_flow_chooses_its_delay_and_never_waits_for_less(
    wanted: float | timedelta, seconds: int
) -> None:
    assert after(Retry(wanted)) == Delay(seconds)
    assert seconds in names.DELAYS


@pytest.mark.parametrize("wanted", [-1, 3601, timedelta(days=1), float("nan")])
def test_a_delay_that_no_bucket_has_is_refused(wanted: float | timedelta) -> None:
    with pytest.raises(FlowError, match="use 0 to 3600 seconds"):
        Retry(wanted)


def test_a_chosen_delay_counts_as_an_attempt_so_that_nothing_goes_on_for_ever() -> None:
    assert after(Retry(5), attempt=3) == Bury("attempt 3 of 3 failed")


def test_a_run_once_is_not_tried_again() -> None:
    assert after(Retry(5), kind="once") == Bury("attempt 1 of 3 failed")
