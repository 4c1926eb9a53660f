"""What a check found, and what to do about it."""

from collections.abc import Awaitable, Callable
from typing import Literal, NamedTuple

from turnout.router.doctor.place import Place

#: "unchecked": it could not be looked at; the text says why.
Level = Literal["ok", "warning", "problem", "unchecked"]


class Finding(NamedTuple):
    """One thing that was looked at."""

    level: Level
    subject: str
    text: str
    advice: str = ""
    """What to do; empty if nothing."""


#: One group of things to look at. It may raise what the connections to them raise.
Check = Callable[[Place], Awaitable[list[Finding]]]


def ok(subject: str, text: str) -> Finding:
    """Tell that something is as it should be."""
    return Finding("ok", subject, text)


def warning(subject: str, text: str, advice: str) -> Finding:
    """Tell of something that may become a problem."""
    return Finding("warning", subject, text, advice)


def problem(subject: str, text: str, advice: str) -> Finding:
    """Tell of something that keeps Turnout from its work."""
    return Finding("problem", subject, text, advice)


def unchecked(subject: str, text: str, advice: str) -> Finding:
    """Tell that something could not be looked at."""
    return Finding("unchecked", subject, text, advice)
