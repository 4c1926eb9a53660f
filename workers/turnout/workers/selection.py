"""Which of the loaded flows a worker serves: `crm/*,-crm/slow`."""

from collections.abc import Mapping
from fnmatch import fnmatchcase

from turnout.shared.errors import FlowError
from turnout.workers.flow import Flow


def choose(flows: Mapping[str, Flow], patterns: str | None) -> dict[str, Flow]:
    """Choose flows by the patterns of their addresses.

    Args:
        flows: by address.
        patterns: with commas between; one that begins with "-" takes away. If all take away, they
            do so from all flows. None: all flows.

    Raises:
        FlowError: a pattern fits no flow, or no flow is left.
    """
    if patterns is None:
        return dict(flows)
    given = [each.strip() for each in patterns.split(",")]
    chosen: set[str] = set() if any(not each.startswith("-") for each in given) else set(flows)
    for each in given:
        fitting = {address for address in flows if fnmatchcase(address, each.removeprefix("-"))}
        if not fitting:
            raise FlowError(
                f"--flows: {each!r} fits none of the loaded flows: {', '.join(sorted(flows))}"
            )
        chosen = chosen - fitting if each.startswith("-") else chosen | fitting
    if not chosen:
        raise FlowError(f"--flows: {patterns!r} leaves no flow to serve")
    return {address: flow for address, flow in flows.items() if address in chosen}
