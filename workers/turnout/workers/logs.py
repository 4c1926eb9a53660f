"""The lines that a test run logs, collected for whoever waits for it.

Whatever goes through `logging` counts: the context's logger, a module's own, a library's. Where no
test runs, a line costs one look at a context variable.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from turnout.shared import keys, log

#: How many lines are kept, and how many characters of each.
MOST_LINES = 200
_MOST_CHARACTERS = 1000

_lines: ContextVar[list[str] | None] = ContextVar("turnout_lines", default=None)


class Collector(logging.Handler):
    """Adds each line to those that are being collected where it was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(log.plain())

    def emit(self, record: logging.LogRecord) -> None:
        """Keep the line."""
        lines = _lines.get()
        if lines is None or len(lines) > MOST_LINES:
            return
        try:
            text = self.format(record)
        except Exception:  # noqa: BLE001 - `logging` knows what to do about a broken line
            self.handleError(record)
        else:
            is_last = len(lines) == MOST_LINES
            lines.append("…" if is_last else keys.scrub(text)[:_MOST_CHARACTERS])


def install() -> None:
    """Have what this process logs collected where somebody asks for it."""
    logging.getLogger().addHandler(Collector())


@contextmanager
def collecting() -> Iterator[list[str]]:
    """Collect what is logged within this context, and in the tasks and threads it starts."""
    lines: list[str] = []
    token = _lines.set(lines)
    try:
        yield lines
    finally:
        _lines.reset(token)
