import pytest
from hypothesis import given
from hypothesis import strategies as st

from turnout.shared import keys


def test_a_new_key_is_well_formed_and_its_digest_is_that_of_its_text() -> None:
    key = keys.new_key()
    assert keys.is_well_formed(key.text)
    assert keys.digest(key.text) == key.digest
    assert keys.prefix(key.text) == key.prefix


def test_the_text_of_a_key_is_not_in_its_representation() -> None:
    key = keys.new_key()
    assert key.text not in repr(key)


def test_a_key_is_not_an_admin_token() -> None:
    assert not keys.is_well_formed(keys.new_key().text, keys.ADMIN_TOKEN)
    assert keys.is_well_formed(keys.new_key(keys.ADMIN_TOKEN).text, keys.ADMIN_TOKEN)


def test_every_mistyped_character_is_noticed() -> None:
    text = keys.new_key().text
    for position in range(len(text)):
        changed = "1" if text[position] != "1" else "2"
        assert not keys.is_well_formed(text[:position] + changed + text[position + 1 :])


@given(st.text())
def test_no_other_text_is_a_key_or_a_routing_key_by_chance(text: str) -> None:
    assert not keys.is_well_formed(text)


def test_scrubbing_leaves_what_identifies_a_key_and_nothing_of_its_secret() -> None:
    key = keys.new_key()
    scrubbed = keys.scrub(f"called with {key.text}, twice {key.text}")
    assert scrubbed == f"called with {key.prefix}_…, twice {key.prefix}_…"


def test_two_routing_keys_differ_and_are_recognised() -> None:
    one, other = keys.new_routing_key(), keys.new_routing_key()
    assert one != other
    assert keys.is_routing_key(one)
    assert not keys.is_routing_key(one + "x")


@pytest.mark.parametrize("text", ["", "tk_", "tk_1_2", "TK_" + "a" * 49, "tk_" + "ä" * 49])
def test_fragments_are_malformed(text: str) -> None:
    assert not keys.is_well_formed(text)
