import time
import uuid

from turnout.shared import ids


def test_ids_sort_by_the_time_they_were_made() -> None:
    made = []
    for _ in range(3):
        made.append(ids.new(ids.EVENT))
        now = time.time_ns() // 1_000_000
        while time.time_ns() // 1_000_000 == now:
            pass
    assert made == sorted(made)


def test_an_id_is_a_uuid_of_version_7_of_this_moment() -> None:
    before = time.time_ns() // 1_000_000
    value = uuid.UUID(ids.new(ids.RUN).removeprefix("run_"))
    assert value.version == 7
    assert value.variant == uuid.RFC_4122
    assert before <= value.int >> 80 <= time.time_ns() // 1_000_000


def test_the_first_run_has_the_uuid_of_its_event() -> None:
    event = ids.new(ids.EVENT)
    assert ids.same_uuid(event, ids.RUN) == "run_" + event.removeprefix("evt_")
