"""Outcomes, as bytes and back."""

import msgpack
import pytest

from turnout.shared import outcome
from turnout.shared.errors import InvalidEnvelope
from turnout.shared.outcome import Outcome

STARTED = Outcome(outcome.STARTED, "evt_1", "run_1", 1, "crm", "leads", "wrk_1", 1, 0)
DEAD = STARTED._replace(state=outcome.DEAD, ended_at=2, error="ValueError: no", logs=("a", "b"))


def test_what_goes_in_comes_out() -> None:
    assert outcome.decode(outcome.encode([STARTED, DEAD])) == [STARTED, DEAD]


def test_what_a_newer_version_appended_is_left_out() -> None:
    data = msgpack.packb((outcome.VERSION, [(*DEAD, "of a later version")]))
    assert outcome.decode(data) == [DEAD]


def test_what_an_older_version_did_not_know_has_its_default() -> None:
    assert outcome.decode(msgpack.packb((outcome.VERSION, [STARTED[:9]]))) == [STARTED]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not outcomes"),
        (b"\xc1", "not outcomes"),
        (msgpack.packb({"v": 1}), "not outcomes"),
        (msgpack.packb((outcome.VERSION, 7)), "not outcomes"),
        (msgpack.packb((outcome.VERSION, [["started"]])), "not outcomes"),
        (msgpack.packb((1, [])), "version 1"),
    ],
)
def test_other_bytes_are_refused(data: bytes, reason: str) -> None:
    with pytest.raises(InvalidEnvelope, match=reason):
        outcome.decode(data)
