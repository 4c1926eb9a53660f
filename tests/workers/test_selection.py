"""Which of the loaded flows a worker serves."""

from typing import Any, cast

import pytest

from turnout.shared.errors import FlowError
from turnout.workers.selection import choose

FLOWS = cast("Any", dict.fromkeys(["crm/fast", "crm/slow", "shop/order"]))


@pytest.mark.parametrize(
    ("patterns", "chosen"),
    [
        (None, ["crm/fast", "crm/slow", "shop/order"]),
        ("crm/*", ["crm/fast", "crm/slow"]),
        ("crm/*,-crm/slow", ["crm/fast"]),
        ("-crm/slow", ["crm/fast", "shop/order"]),
        ("shop/order, crm/s*", ["crm/slow", "shop/order"]),
        ("-crm/*,crm/slow", ["crm/slow"]),
    ],
)
def test_patterns_choose_among_the_loaded_flows(patterns: str | None, chosen: list[str]) -> None:
    assert list(choose(FLOWS, patterns)) == chosen


@pytest.mark.parametrize("patterns", ["hr/*", "crm/*,-hr/*", "", "crm/fast,", "-*/*", "*/*,-*/*"])
def test_a_pattern_that_fits_nothing_or_leaves_nothing_is_an_error(patterns: str) -> None:
    with pytest.raises(FlowError, match="--flows"):
        choose(FLOWS, patterns)
