"""compose.yaml as an engine would read it, for a machine on which no variable is set."""

import re
from functools import cache
from typing import Any

import yaml
from tests.support.process import ROOT

Service = dict[str, Any]

_VARIABLE = re.compile(r"\$\{([A-Z_]+):-([^${}]*)\}")


@cache
def services() -> dict[str, Service]:
    """Return the services, their variables replaced by the defaults."""
    document: dict[str, dict[str, Service]] = _resolve(
        yaml.safe_load((ROOT / "compose.yaml").read_text())
    )
    return document["services"]


def variables() -> set[str]:
    """Return the names of the variables that the user may set."""
    return set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", (ROOT / "compose.yaml").read_text()))


def mounts(service: Service) -> list[tuple[str, str, str]]:
    """Return volume, target and "ro" or "rw" of what a service mounts."""
    return [
        (volume, target, mode or "rw")
        for each in service.get("volumes", ())
        for volume, target, mode in [(*each.split(":"), "")[:3]]
    ]


def once(service: Service) -> bool:
    """Tell whether a service does one thing and ends."""
    return bool(service["restart"] == "no")


def _resolve(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _resolve(each) for key, each in value.items()}
    if isinstance(value, list):
        return [_resolve(each) for each in value]
    if not isinstance(value, str):
        return value
    while (inner := _VARIABLE.sub(r"\2", value)) != value:
        value = inner
    assert not re.search(r"(?<!\$)\$[{A-Za-z_]", value), f"a variable without a default: {value}"
    return value.replace("$$", "$")
