"""Arguments that several commands read the same way."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal

import typer

from turnout.shared import names
from turnout.shared.errors import InvalidName

Why = Annotated[str, typer.Option("--reason", help="Why, for whoever asks later.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why, for whoever asks later.")]
Overlap = Annotated[
    str,
    typer.Option(
        "--overlap",
        metavar="SPAN",
        help="For how long the old one is good: 24h, 7d; 0: not at all.",
    ),
]

From = Annotated[
    str | None,
    typer.Option(
        "--from",
        metavar="WHEN",
        help="No older ones: 2h ago, a day, or a moment like 2027-01-31T09:30.",
    ),
]
To = Annotated[str | None, typer.Option("--to", metavar="WHEN", help="Only older ones.")]

Header = Annotated[
    str | None,
    typer.Option(
        "--header", metavar="NAME[: VALUE]", help="Came with this header; reads the archive."
    ),
]
JsonPath = Annotated[
    str | None,
    typer.Option(
        "--where",
        metavar="PATH=VALUE",
        help="Has this value in its JSON, like order.id=17; reads the archive.",
    ),
]
Text = Annotated[
    str | None, typer.Option("--text", help="Has this text in its body; reads the archive.")
]

Unit = Annotated[
    Literal["day", "hour", "minute"],
    typer.Option("--by", help="The length of a period, in UTC."),
]
Last = Annotated[
    int | None,
    typer.Option("--last", min=1, help="How many periods; else 7 days, 24 hours or 60 minutes."),
]

_SPAN = re.compile(r"(\d{1,5})([smhd])")
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def examples(*commands: str) -> str:
    """Return what the help of a command ends with: lines that can be copied."""
    return "\n\n".join(["Examples:", *(f"  turnout {each}" for each in commands)])


def flow_address(text: str) -> tuple[str, str]:
    """Split "group/flow" into its two slugs.

    Raises:
        BadParameter: it is not such an address.
    """
    try:
        return names.flow_address(text)
    except InvalidName as error:
        raise typer.BadParameter(str(error)) from None


def expiry(text: str) -> str:
    """Read a day (its beginning, in UTC) or a span from now as a moment in ISO 8601.

    Raises:
        BadParameter: it is neither.
    """
    try:
        if (until := _span(text)) is not None:
            return (datetime.now(UTC) + until).isoformat()
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC).isoformat()
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither a day like 2027-01-31 nor a span like 30d or 12h",
            param_hint="--expires",
        ) from None


def past(text: str | None) -> str | None:
    """Read a span before now, a day or a moment (in UTC if nothing else is said) as ISO 8601.

    Raises:
        BadParameter: it is none of them.
    """
    if text is None:
        return None
    try:
        if (ago := _span(text)) is not None:
            return (datetime.now(UTC) - ago).isoformat()
        moment = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise typer.BadParameter(
            f"{text!r} is neither a span like 2h nor a moment like 2027-01-31T09:30",
            param_hint="--from / --to",
        ) from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat()


def overlap(text: str) -> int:
    """Read a span in seconds.

    Raises:
        BadParameter: it is none.
    """
    span = timedelta() if text == "0" else _span(text)
    if span is None:
        raise typer.BadParameter(f"{text!r} is no span like 24h, 7d or 0", param_hint="--overlap")
    return int(span.total_seconds())


def _span(text: str) -> timedelta | None:
    """Read a number with its unit.

    Raises:
        OverflowError: it is too long.
    """
    match = _SPAN.fullmatch(text)
    return None if match is None else timedelta(**{_UNITS[match[2]]: int(match[1])})
