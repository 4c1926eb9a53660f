import msgpack
import pytest

from turnout.shared.errors import InvalidRecord
from turnout.shared.records import KeyRecord, TriggerRecord

KEY = KeyRecord("key_1", "grp_1", 1.5)
TRIGGER = TriggerRecord(
    "trg_1", "flw_1", "grp_1", "crm", "leads", ("GET",), False, ("key_1",), True
)


def test_what_goes_in_comes_out() -> None:
    assert KeyRecord.decode(KEY.encode()) == KEY
    assert TriggerRecord.decode(TRIGGER.encode()) == TRIGGER


def test_a_field_of_a_newer_router_is_passed_over() -> None:
    assert KeyRecord.decode(msgpack.packb(KEY._asdict() | {"new": 1})) == KEY


@pytest.mark.parametrize("data", [b"", b"\xc1", msgpack.packb(3), msgpack.packb({"key_id": "k"})])
def test_rubbish_is_an_error_and_not_an_answer(data: bytes) -> None:
    with pytest.raises(InvalidRecord):
        KeyRecord.decode(data)
