import msgpack
import pytest

from turnout.shared.errors import InvalidRecord
from turnout.shared.records import KeyRecord, TriggerRecord

KEY = KeyRecord("key_1", "grp_1", 1.5, 0.5, 10, 3)
TRIGGER = TriggerRecord(
    *("trg_1", "flw_1", "grp_1", "crm", "leads", ("GET",), False, ("key_1",), True, 0.5, 10, 1024)
)


def test_what_goes_in_comes_out() -> None:
    assert KeyRecord.decode(KEY.encode()) == KEY
    assert TriggerRecord.decode(TRIGGER.encode()) == TRIGGER


def test_a_field_of_a_newer_router_is_passed_over() -> None:
    assert KeyRecord.decode(msgpack.packb(KEY._asdict() | {"new": 1})) == KEY


def test_what_an_older_router_did_not_write_is_as_ingress_is_set() -> None:
    old = {"key_id": "key_1", "group_id": "grp_1", "expires_at": None}
    assert KeyRecord.decode(msgpack.packb(old)) == KeyRecord("key_1", "grp_1")
    ids = {"trigger_id": "trg_1", "flow_id": "flw_1", "group_id": "grp_1"}
    old = {**ids, "group": "crm", "flow": "leads"}
    trigger = TriggerRecord.decode(msgpack.packb(old))
    assert (trigger.rate, trigger.burst, trigger.max_body_bytes) == (None, None, None)
    assert (trigger.max_header_bytes, trigger.read_timeout) == (None, None)
    assert (trigger.methods, trigger.enabled, trigger.key_ids) == (("POST",), True, None)


@pytest.mark.parametrize("data", [b"", b"\xc1", msgpack.packb(3), msgpack.packb({"key_id": "k"})])
def test_rubbish_is_an_error_and_not_an_answer(data: bytes) -> None:
    with pytest.raises(InvalidRecord):
        KeyRecord.decode(data)
