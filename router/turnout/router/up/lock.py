"""One `turnout up` in a directory at a time."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from turnout.router.nodes.errors import NodeError


class Lock:
    """Held from entering to leaving; the kernel lets go of it however the process ends.

    Args:
        directory: the directory of `turnout up`.
        facts: what another start is told while it is held.

    Raises:
        NodeError: on entering, when another process holds it; repeats that one's facts.
    """

    def __init__(self, directory: Path, facts: str) -> None:
        self._path = directory / "lock"
        self._facts = facts

    def __enter__(self) -> Self:
        self._file = self._path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            facts = self._file.read().strip()
            self._file.close()
            raise NodeError(f"turnout up already runs here: {facts}") from None
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()}, {self._facts}\n")
        self._file.flush()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.truncate(0)
        self._file.close()
