"""The tally: what tasks have done, written where they run and read from outside while they do.

One number for each run, in a file that both sides have mapped into memory: that costs a run a tenth
of a microsecond, in whichever library, thread or child process it is. One process writes at a time.
"""

import itertools
import mmap
import os
import struct
from collections.abc import Callable
from pathlib import Path

#: The environment variable with the file's path.
VARIABLE = "BENCH_TALLY"

_MOST = 8_000_000  # runs
_CELL = struct.Struct("=I")


def writer() -> Callable[[int], None]:
    """Open the tally of this process; gives what notes one run, with a number of at least 1."""
    cells = _map(Path(os.environ[VARIABLE])).cast("I")
    places = itertools.count()  # its next() is one step for all threads

    def note(number: int) -> None:
        cells[next(places)] = number

    return note


class Tally:
    """Reads it.

    Args:
        path: of the file, which is made anew.
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        with path.open("wb") as file:
            file.truncate(_MOST * _CELL.size)  # takes no space until it is written
        self._cells = _map(path).cast("I")
        self._count = 0

    def count(self) -> int:
        """Return how many runs there were by now."""
        while self._cells[self._count]:
            self._count += 1
        return self._count

    def numbers(self) -> list[int]:
        """Return what was noted."""
        return self._cells[: self.count()].tolist()


def _map(path: Path) -> memoryview:
    with path.open("r+b") as file:
        return memoryview(mmap.mmap(file.fileno(), _MOST * _CELL.size))
