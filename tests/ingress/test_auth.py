"""Who calls, and may they: whatever is presented, and however it is written."""

import base64
from urllib.parse import quote, unquote_plus

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from turnout.ingress import auth, responses
from turnout.ingress.auth import Presented, presented_key, query_without_credentials
from turnout.shared import keys
from turnout.shared.records import KeyRecord, TriggerRecord

ONE, OTHER = keys.new_key(), keys.new_key()
BROKEN = ONE.text[:-1] + ("x" if ONE.text[-1] != "x" else "y")

Pairs = list[tuple[str, str]]


def headers(*pairs: tuple[str, str]) -> CIMultiDictProxy[str]:
    return CIMultiDictProxy(CIMultiDict(pairs))


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def percent_encoded(text: str, every: int) -> str:
    """Write every so-many-th character as %XX."""
    return "".join(
        f"%{ord(each):02x}" if number % every == 0 else each for number, each in enumerate(text)
    )


def places(text: str) -> list[tuple[Pairs, str]]:
    """List the places that may carry a key: headers, and a query."""
    return [
        ([("Authorization", f"Bearer {text}")], ""),
        ([("authorization", f"bEaReR   {text}  ")], ""),
        ([("Authorization", basic("", text))], ""),
        ([("Authorization", basic("user", text).replace("Basic", "basic"))], ""),
        ([("X-API-Key", text)], ""),
        ([("x-api-key", text)], ""),
        ([], f"api_key={text}"),
        ([], f"a=1&api_key={percent_encoded(text, 2)}&b=2"),
    ]


# -- finding the key


def test_a_key_is_found_in_each_place() -> None:
    for pairs, query in places(ONE.text):
        presented = presented_key(headers(*pairs), query)
        assert presented == Presented(ONE.prefix, ONE.digest, in_query=bool(query))


@pytest.mark.parametrize(
    "broken",
    [BROKEN, ONE.text[:-1], f"{ONE.text}é", f"x{ONE.text}", "", "tk_é"],
    ids=["checksum", "short", "long", "begun", "empty", "not-ascii"],
)
def test_a_malformed_key_is_none_in_any_place(broken: str) -> None:
    for pairs, query in places(broken):
        assert presented_key(headers(*pairs), query) is None


@pytest.mark.parametrize("first", range(6))
@pytest.mark.parametrize("second", range(6))
def test_two_keys_that_differ_are_none_and_the_same_one_twice_is_one(
    first: int, second: int
) -> None:
    (one, _), (same, _), (other, _) = (
        places(text)[place]
        for text, place in ((ONE.text, first), (ONE.text, second), (OTHER.text, second))
    )
    assert presented_key(headers(*one, *other), "") is None
    assert presented_key(headers(*other, *one), "") is None
    presented = presented_key(headers(*one, *same), "")
    assert presented == Presented(ONE.prefix, ONE.digest, in_query=False)


def test_two_keys_in_the_query_are_none_unless_they_are_the_same() -> None:
    assert presented_key(headers(), f"api_key={ONE.text}&api_key={OTHER.text}") is None
    assert presented_key(headers(), f"api_key={ONE.text}&api_key=") is None
    assert presented_key(headers(), f"api_key={ONE.text}&api_key={ONE.text}") is not None


def test_a_key_in_a_header_beside_the_same_one_in_the_query_came_in_the_header() -> None:
    presented = presented_key(headers(("X-API-Key", ONE.text)), f"api_key={ONE.text}")
    assert presented == Presented(ONE.prefix, ONE.digest, in_query=False)


def test_what_is_no_key_in_an_authorization_is_none() -> None:
    for text in (
        *("", "Bearer", "Basic", "Basic =", "Basic %%%", "Basic Og==", f"Digest {ONE.text}"),
        *(ONE.text, f"Bearer\t{ONE.text}", f"Basic {ONE.text}", basic(ONE.text, "")),
        "Basic " + base64.b64encode(b"\xff\xfe:\xff").decode(),
        "Basic " + base64.b64encode(ONE.text.encode()).decode(),
        "Bearer " + "x" * 10_000,
    ):
        assert presented_key(headers(("Authorization", text)), "") is None, text


def test_credentials_of_another_kind_do_not_hide_a_key() -> None:
    pairs = [("Authorization", "Digest username=ada"), ("X-API-Key", ONE.text)]
    assert presented_key(headers(*pairs), "") == Presented(ONE.prefix, ONE.digest, in_query=False)


# As aiohttp reads a header: any bytes, those that are no UTF-8 as surrogates.
any_header = st.binary(max_size=60).map(lambda each: each.decode("utf-8", "surrogateescape"))
ascii_header = st.text(st.characters(codec="ascii"), max_size=60)
any_query = st.lists(
    st.sampled_from([*"&=%+;/?", "api_key", "%61", ONE.text, "\udcff", "é", "\0"])
).map("".join)


@given(name=st.sampled_from(["Authorization", "X-API-Key"]), text=any_header, query=any_query)
def test_whatever_is_presented_only_the_whole_key_is_one(name: str, text: str, query: str) -> None:
    assume(text.isascii() or not text.lower().startswith("basic "))
    found = presented_key(headers((name, text)), query)
    assert found is None or (found.digest == ONE.digest and ONE.text in query)


@given(text=ascii_header)
def test_whatever_follows_basic_is_answered(text: str) -> None:
    assert presented_key(headers(("Authorization", f"Basic {text}")), "") is None


# -- taking it out of the query


parts = st.lists(
    st.sampled_from(
        [
            *("", "a=1", "a=2", "b=%c3%bc+x", "flag", "=", "api_key", "api_key=", "api_key=mine"),
            *("API_KEY=x", "xapi_key=1", "%61=1", "e=a=b", "odd=%zz", "é=☃", "c=\udcff"),
        ]
    )
    | st.integers(1, 8).map(lambda every: f"api_key={percent_encoded(ONE.text, every)}")
    | st.integers(1, 8).map(lambda every: f"{percent_encoded('api_key', 3)}={OTHER.text}")
)


@given(parts=parts)
def test_no_key_is_left_in_the_query_and_all_else_is(parts: list[str]) -> None:
    assume(any("api_key" in each for each in parts))
    left = query_without_credentials("&".join(parts))
    assert ONE.text not in unquote_plus(left)
    assert OTHER.text not in unquote_plus(left)
    expected = [
        each
        for each in parts
        if ONE.text not in unquote_plus(each) and OTHER.text not in unquote_plus(each)
    ]
    assert left == "&".join(expected)


def test_a_parameter_of_that_name_that_is_no_key_is_the_senders_own() -> None:
    query = f"api_key={BROKEN}&api_key={quote('ö')}"
    assert query_without_credentials(query) == query


@pytest.mark.parametrize("name", ["Authorization", "AUTHORIZATION", "x-api-key", "X-Api-Key"])
def test_headers_for_keys_are_taken_away_whatever_is_in_them(name: str) -> None:
    others = [("Host", "x"), ("X-Zulu", "1"), ("x-alpha", "2"), ("X-Zulu", "3"), ("Cookie", "")]
    for value in (ONE.text, f"Bearer {ONE.text}", "Digest ada", ""):
        sent = headers(*others[:2], (name, value), *others[2:], (name.lower(), "again"))
        assert auth.headers_without_credentials(sent) == tuple(others)


# -- deciding

GROUP = "grp_1"
group_ids = st.sampled_from([GROUP, "grp_2"])
triggers = st.none() | st.builds(
    TriggerRecord,
    trigger_id=st.just("trg_1"),
    flow_id=st.just("flw_1"),
    group_id=group_ids,
    group=st.just("shop"),
    flow=st.just("seen"),
    methods=st.sampled_from([("POST",), ("GET", "POST"), ()]),
    enabled=st.booleans(),
    key_ids=st.sampled_from([None, (), ("key_1",), ("key_2",), ("key_2", "key_1")]),
    key_in_query=st.booleans(),
)


@given(trigger=triggers, in_query=st.booleans(), method=st.sampled_from(["POST", "GET", "post"]))
def test_a_call_passes_only_if_nothing_speaks_against_it(
    trigger: TriggerRecord | None, in_query: bool, method: str
) -> None:
    presented = Presented(ONE.prefix, ONE.digest, in_query)
    refusal = auth.decide(presented, KeyRecord("key_1", GROUP), trigger, method=method)
    may = (
        trigger is not None
        and trigger.group_id == GROUP
        and (trigger.key_in_query or not in_query)
        and (trigger.key_ids is None or "key_1" in trigger.key_ids)
        and trigger.enabled
        and method in trigger.methods
    )
    assert (refusal is None) is may


@given(trigger=triggers, in_query=st.booleans())
def test_a_trigger_of_another_group_is_refused_as_one_that_does_not_exist(
    trigger: TriggerRecord | None, in_query: bool
) -> None:
    presented, key = Presented(ONE.prefix, ONE.digest, in_query), KeyRecord("key_1", "grp_3")
    refusal = auth.decide(presented, key, trigger, method="POST")
    assert refusal is auth.decide(presented, key, None, method="POST")
    assert refusal is (responses.BAD_KEY if in_query else responses.NO_TRIGGER)
