"""Limits, as options and as fields: `--rate 5 --max-body 1MB`, `--rate none`."""

import re
from collections.abc import Callable
from decimal import Decimal
from typing import Annotated

import typer

from turnout.router.cli.output import Document

_NONE = "none"

#: Bytes of the units of a size, by their name in lower case.
_UNITS = {"": 1, "b": 1, "kb": 1000, "kib": 1024, "mb": 1000**2, "mib": 1024**2}
_LABELS = {
    "rate": "rate",
    "burst": "burst",
    "in_flight": "in flight",
    "max_body_bytes": "largest body",
    "max_header_bytes": "largest headers",
    "read_timeout": "read timeout",
}
_SUFFIXES = {
    "rate": " calls/s",
    "max_body_bytes": " bytes",
    "max_header_bytes": " bytes",
    "read_timeout": " s",
}

#: Of a group, those that hold for each of its triggers; the others hold for each of its keys.
_OF_TRIGGERS = {"max_body_bytes", "max_header_bytes", "read_timeout"}

_SIZE = re.compile(r"(\d{1,12}(?:\.\d{1,6})?) ?([a-z]*)")


def _option(name: str, metavar: str, help_: str) -> typer.models.OptionInfo:
    option: typer.models.OptionInfo = typer.Option(name, metavar=f"{metavar}|none", help=help_)
    return option


Rate = Annotated[str | None, _option("--rate", "N", "Calls a second.")]
Burst = Annotated[
    str | None, _option("--burst", "N", "Calls at once, even above the rate; needs --rate.")
]
InFlight = Annotated[
    str | None, _option("--in-flight", "N", "Calls under way in one process of ingress.")
]
MaxBody = Annotated[
    str | None, _option("--max-body", "SIZE", "The largest body, for example 512kB or 1MiB.")
]
MaxHeaders = Annotated[
    str | None,
    _option(
        "--max-header-bytes",
        "SIZE",
        "All headers of a call together, 1KiB to 64KiB; none may be longer than ingress takes.",
    ),
]
ReadTimeout = Annotated[
    str | None, _option("--read-timeout", "SECONDS", "In which a body must have come.")
]


def read(
    *,
    rate: str | None = None,
    burst: str | None = None,
    in_flight: str | None = None,
    max_body: str | None = None,
    max_headers: str | None = None,
    read_timeout: str | None = None,
    running: str | None = None,
) -> dict[str, float | None]:
    """Return the limits that were given, as the API takes them; "none" takes one away.

    Raises:
        BadParameter: one is no number or size.
    """
    given: list[tuple[str, str, str | None, Callable[[str], float], str]] = [
        ("rate", "--rate", rate, float, "a number"),
        ("burst", "--burst", burst, int, "a whole number"),
        ("in_flight", "--in-flight", in_flight, int, "a whole number"),
        ("max_body_bytes", "--max-body", max_body, _bytes, "a size like 512kB or 1MiB"),
        ("max_header_bytes", "--max-header-bytes", max_headers, _bytes, "a size like 4096 or 4KiB"),
        ("read_timeout", "--read-timeout", read_timeout, float, "a number"),
        ("max_running", "--running", running, int, "a whole number"),
    ]
    limits: dict[str, float | None] = {}
    for field, option, text, convert, what in given:
        if text is None:
            continue
        try:
            limits[field] = None if text == _NONE else convert(text)
        except ValueError:
            raise typer.BadParameter(
                f"{text!r} is neither {what} nor {_NONE!r}", param_hint=option
            ) from None
    return limits


def change(**options: str | None) -> Document:
    """Return the body of a change.

    Raises:
        BadParameter: no limit was given, or one is no number or size.
    """
    limits = read(**options)
    if not limits:
        raise typer.BadParameter("say which limit to change, for example --rate 5 or --rate none")
    return {"limits": limits}


def fields(noun: Document) -> dict[str, str]:
    """Show the limits of a key or trigger, and which of them it has from its group."""
    shown = {}
    for field, text in _texts(noun["effective_limits"]).items():
        inherited = noun["limits"][field] != noun["effective_limits"][field]
        shown[_LABELS[field]] = f"{text} (from group {noun['group']})" if inherited else text
    return shown


def group_fields(group: Document) -> dict[str, str]:
    """Show the limits of a group: those of each of its keys, and those of each of its triggers."""
    shown = {}
    for field, text in _texts(group["limits"]).items():
        whose = "trigger" if field in _OF_TRIGGERS else "key"
        is_set = group["limits"][field] is not None
        shown[_LABELS[field]] = f"{text} for each {whose}" if is_set else text
    return shown


def _texts(limits: dict[str, float | None]) -> dict[str, str]:
    texts = {
        field: "as ingress is set" if value is None else f"{value:.12g}{_SUFFIXES.get(field, '')}"
        for field, value in limits.items()
    }
    if limits["rate"] is not None and limits["burst"] is None:
        texts["burst"] = "the calls of one second"
    return texts


def _bytes(text: str) -> int:
    """Read a size.

    Raises:
        ValueError: it is none.
    """
    match = _SIZE.fullmatch(text.strip().lower())
    if match is None or match[2] not in _UNITS:
        raise ValueError(text)
    size = Decimal(match[1]) * _UNITS[match[2]]
    if size != int(size):
        raise ValueError(text)
    return int(size)
