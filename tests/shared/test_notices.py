"""What the router tells workers of flows."""

import pytest

from turnout.shared import ids, notices
from turnout.shared.errors import InvalidRecord
from turnout.shared.notices import Cancelled, FlowRecord, Pause

RUN, OTHER = (f"run_{moment:012x}7{0:019x}" for moment in (1000, 2000))


def test_what_is_written_is_read() -> None:
    for record in (FlowRecord(), FlowRecord("customer.id", 8)):
        assert FlowRecord.decode(record.encode()) == record
    pause = Pause("the API is down", 1.5)
    assert Pause.decode(pause.encode()) == pause


def test_nothing_cancelled_is_false() -> None:
    assert not Cancelled()
    assert Cancelled().reason(RUN) is None


def test_one_run_is_cancelled() -> None:
    cancelled = Cancelled({RUN.encode(): notices.cancelled_run("a test")})
    assert cancelled
    assert (cancelled.reason(RUN), cancelled.reason(OTHER)) == ("a test", None)


def test_runs_made_until_a_moment_are_cancelled() -> None:
    cancelled = Cancelled({b"*": notices.cancelled_until(ids.made_at(RUN), "all of it")})
    assert cancelled
    assert (cancelled.reason(RUN), cancelled.reason(OTHER)) == ("all of it", None)


@pytest.mark.parametrize("data", [b"", b"\xc1", b"\x01"])
def test_what_is_no_notice_is_refused(data: bytes) -> None:
    for read in (FlowRecord.decode, Pause.decode, lambda data: Cancelled({b"*": data})):
        with pytest.raises(InvalidRecord):
            read(data)
