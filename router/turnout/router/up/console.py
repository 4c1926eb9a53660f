"""The merged log: each line of each process with its name before it."""

import os
import sys
from typing import TextIO

_WIDTH = 9
_COLOURS = {"router": 34, "ingress": 32, "worker": 35, "turnout": 36}  # ECMA-48 SGR
_FAILED = 31


class Console:
    """Where people read what happens.

    Args:
        stream: coloured if it is a terminal and NO_COLOR (https://no-color.org) is not set.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._coloured = self._stream.isatty() and not os.environ.get("NO_COLOR")

    def line(self, name: str, text: str) -> None:
        """Write one line of the process `name`."""
        self._write(name, text, _COLOURS.get(name, 0))

    def say(self, text: str) -> None:
        """Write a line of our own."""
        self.line("turnout", text)

    def fail(self, text: str) -> None:
        """Write what went wrong."""
        for line in text.splitlines():
            self._write("turnout", line, _FAILED)

    def show(self, text: str) -> None:
        """Write text as it is, so that it can be copied."""
        print(text, file=self._stream, flush=True)

    def _write(self, name: str, text: str, colour: int) -> None:
        prefix = f"{name:<{_WIDTH}}|"
        if self._coloured:
            prefix = f"\x1b[{colour}m{prefix}\x1b[0m"
        print(f"{prefix} {text}", file=self._stream, flush=True)
