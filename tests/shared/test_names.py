import pytest

from turnout.shared import names
from turnout.shared.errors import InvalidName


@pytest.mark.parametrize("slug", ["a", "0", "a-b", "a" * 40, "9-"])
def test_legal_slugs_pass(slug: str) -> None:
    assert names.slug(slug) == slug


@pytest.mark.parametrize("slug", ["", "-a", "A", "a_b", "a.b", "a" * 41, "ä", "a\n", "a/b"])
def test_illegal_slugs_are_named(slug: str) -> None:
    with pytest.raises(InvalidName, match="group"):
        names.slug(slug, "group")


def test_an_address_without_a_group_says_how_to_write_it() -> None:
    with pytest.raises(InvalidName, match="group/flow"):
        names.flow_address("leads")


def test_delays_grow_by_about_half_from_a_second_to_an_hour() -> None:
    assert names.DELAYS[0] == 1
    assert names.DELAYS[-1] == 3600
    steps = [after / before for before, after in zip(names.DELAYS, names.DELAYS[1:], strict=False)]
    assert all(1.3 <= step <= 2 for step in steps)


def test_a_queue_gets_the_number_of_a_routing_key_that_has_one() -> None:
    queue = names.flow_queue("crm", "leads")
    assert names.same_partition(queue, names.partition("r" * 24, 13)) == queue + ".p13"
    assert names.same_partition(queue, "r" * 24) == queue
