"""How many processes there should be, without clock or broker."""

from turnout.shared.announcement import Announcement, Served
from turnout.shared.backlog import Backlog
from turnout.workers.autoscale import Autoscale, Load

IDLE = Load(queued=0, running=0, wait=0.0, capacity=100)
LATE = Load(queued=10, running=100, wait=5.0, capacity=100)


def test_processes_are_doubled_while_runs_wait_and_no_more_than_are_allowed() -> None:
    autoscale = Autoscale(1, 6)
    counts = [autoscale.decide(LATE, float(now)) for now in range(0, 40, 2)]
    assert counts == [2] * 5 + [4] * 5 + [6] * 10


def test_many_runs_are_a_reason_before_they_have_waited_long() -> None:
    autoscale = Autoscale(1, 8)
    assert autoscale.decide(LATE._replace(wait=0.1), 0.0) == 1
    assert autoscale.decide(LATE._replace(wait=0.1, queued=101), 2.0) == 2


def test_processes_go_one_by_one_after_a_minute_of_calm_each() -> None:
    autoscale = Autoscale(1, 4)
    for now in (0.0, 10.0):
        autoscale.decide(LATE, now)
    assert autoscale.count == 4
    counts = [autoscale.decide(IDLE, float(now)) for now in range(20, 280, 10)]
    assert counts == [4] * 6 + [3] * 6 + [2] * 6 + [1] * 8


def test_a_wave_in_between_begins_the_calm_anew() -> None:
    autoscale = Autoscale(1, 2)
    autoscale.decide(LATE, 0.0)
    autoscale.decide(IDLE, 10.0)
    autoscale.decide(LATE._replace(wait=0.1), 60.0)
    assert autoscale.decide(IDLE, 75.0) == 2
    assert autoscale.decide(IDLE, 134.0) == 2
    assert autoscale.decide(IDLE, 135.0) == 1


def test_processes_that_are_busy_stay() -> None:
    autoscale = Autoscale(1, 2)
    autoscale.decide(LATE, 0.0)
    busy = IDLE._replace(running=30)
    assert [autoscale.decide(busy, now) for now in (10.0, 100.0)] == [2, 2]
    assert autoscale.decide(busy._replace(running=25), 102.0) == 1


def test_a_limit_that_is_used_up_is_no_reason_for_more_processes() -> None:
    def announcement(*served: Served) -> Announcement:
        return Announcement("wrk", "host", 1, 0.0, (), 100, busy=3, served=served)

    ours = announcement(Served("a/free", "", 10, 3), Served("a/limited", "", 2, 0, limit=4))
    other = announcement(Served("a/limited", "", 1, 1, limit=4))
    waiting = {"a/free": Backlog(7, 0, 1.0), "a/limited": Backlog(50, 0, 60.0)}

    assert Load.of(waiting, [ours], [ours, other]) == Load(57, 3, 60.0, 12)
    assert Load.of(waiting, [ours], [ours, other, other]) == Load(7, 3, 1.0, 12)
