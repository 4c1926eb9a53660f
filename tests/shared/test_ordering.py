"""Which key an event has, and to which partition it goes."""

import json

import pytest

from turnout.shared import ordering
from turnout.shared.errors import InvalidName


@pytest.mark.parametrize(
    ("body", "path", "key"),
    [
        ({"customer": {"id": 42}}, "customer.id", "42"),
        ({"customer": {"id": "42"}}, "customer.id", "42"),
        ([{"id": "a"}, {"id": "b"}], "1.id", "b"),
        ({"paid": True}, "paid", "true"),
        ({"id": ""}, "id", ""),
        ({"id": None}, "id", None),
        ({"id": {"deep": 1}}, "id", None),
        ({"id": [1]}, "id", None),
        ({"other": 1}, "id", None),
        ({"id": 1}, "id.deeper", None),
        ([1], "id", None),
        ([1], "7", None),
        ("text", "id", None),
    ],
)
def test_the_key_is_the_value_of_a_field(body: object, path: str, key: str | None) -> None:
    assert ordering.key(json.dumps(body).encode(), path) == key


@pytest.mark.parametrize("body", [b"", b"id=42", b"{", b"\xff\xfe", b"[" * 100_000])
def test_what_is_no_json_has_no_key_and_goes_to_the_first_partition(body: bytes) -> None:
    assert ordering.key(body, "id") is None
    assert ordering.partition(body, "id", 8) == 0


def test_the_partition_of_a_key_never_changes() -> None:
    keys = ["1", "2", "42", "a", "b", "", "\ud800", "kürbis"]
    bodies = [json.dumps({"id": key}).encode() for key in keys]
    assert [ordering.partition(body, "id", 8) for body in bodies] == [7, 5, 0, 3, 1, 0, 0, 7]


def test_keys_are_spread_over_all_partitions() -> None:
    found = {ordering.partition(b'{"id":%d}' % number, "id", 8) for number in range(100)}
    assert found == set(range(8))


def test_a_plain_flow_has_one_queue_and_one_route() -> None:
    assert ordering.route("r", b'{"id":1}', None, None) == "r"
    assert ordering.queues("crm", "update", None) == ("turnout.flow.crm.update",)
    assert ordering.route("r", b'{"id":1}', "id", 8) == "r.p7"
    assert ordering.queues("crm", "update", 2) == (
        "turnout.flow.crm.update.p0",
        "turnout.flow.crm.update.p1",
    )


def test_a_rule_is_complete_or_refused() -> None:
    assert ordering.count(None, None) is None
    assert ordering.count("id", None) == 8
    assert ordering.count("customer.id", 64) == 64
    for path, partitions in ((None, 8), ("", 8), ("a b", 8), ("a..b", 8), ("id", 0), ("id", 65)):
        with pytest.raises(InvalidName):
            ordering.count(path, partitions)
