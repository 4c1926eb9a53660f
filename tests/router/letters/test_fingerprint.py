"""Which failures look alike."""

import pytest

from turnout.router.letters.fingerprint import fingerprint

PLACE = "orders/flows.py:42 in charge"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("ValueError: order 7 is wrong", "ValueError: order 12.50 is wrong"),
        ("KeyError: 'lead'", "KeyError: 'customer'"),
        (
            "LookupError: no user 0b8f6f0e-9c1d-4b57-8a52-3f1c2d4e5f60",
            "LookupError: no user 1A8f6f0e-9c1d-4b57-8a52-3f1c2d4e5f60",
        ),
        ("LookupError: commit deadbeef01 of x@example.com", "LookupError: commit 99 of y@a.org"),
        ("OSError: https://a.example/1 is gone", "OSError: https://b.example/2?x=3 is gone"),
    ],
    ids=["numbers", "quoted", "uuids", "hex and mail", "addresses"],
)
def test_what_differs_from_event_to_event_does_not_count(one: str, other: str) -> None:
    assert fingerprint("", one, PLACE) == fingerprint("", other, PLACE)


def test_the_same_text_from_another_function_is_another_failure() -> None:
    error = "ValueError: no"
    moved = fingerprint("", error, "orders/flows.py:57 in charge")
    assert fingerprint("", error, PLACE) == moved
    assert fingerprint("", error, "orders/flows.py:42 in refund") != moved
    assert fingerprint("", error, "leads/flows.py:42 in charge") != moved


def test_another_exception_or_another_text_is_another_failure() -> None:
    known = fingerprint("", "ClientError: status is bad", PLACE)
    assert fingerprint("", "ServerError: status is bad", PLACE) != known
    assert fingerprint("", "ClientError: body is bad", PLACE) != known


def test_without_an_error_the_reason_counts() -> None:
    assert fingerprint("delivery limit", "", "") != fingerprint("no envelope", "", "")
