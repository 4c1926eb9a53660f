"""`turnout worker --reload`: for development, a worker that starts again when its code changes.

    load, serve ──a file changed──▶ drain ──▶ the same command, from the start, in this process
      └── a mistake ──▶ said ──▶ waits until a file has changed ──▲

It looks at the files of the modules that were imported, those of installed packages aside.
"""

import asyncio
import os
import sys
import sysconfig
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

#: Seconds between two looks at the files.
_INTERVAL = 0.3

_INSTALLED = {Path(sysconfig.get_path(each)) for each in ("stdlib", "platstdlib", "purelib")}


class Reload:
    """Watches the files, in a thread: to import a module may take its time.

    Args:
        modules: that the worker is given; those of them that are files are watched in any case.
    """

    def __init__(self, modules: Sequence[str]) -> None:
        self._given = [Path(each).resolve() for each in modules if each.endswith(".py")]
        self._known: dict[Path, int | None] = {}
        self._changed = threading.Event()
        self.look()
        threading.Thread(target=self._watch, name="reload", daemon=True).start()

    @property
    def is_due(self) -> bool:
        """Whether a file has changed."""
        return self._changed.is_set()

    def wait(self) -> None:
        """Wait until a file has changed."""
        self.look()
        print("waiting until a file has changed", file=sys.stderr)
        self._changed.wait()

    async def set_when_due(self, stop: asyncio.Event) -> None:
        """Set an event when a file has changed."""
        while not self.is_due:  # noqa: ASYNC110 - a thread sets it
            await asyncio.sleep(_INTERVAL)
        stop.set()

    def start_again(self) -> NoReturn:
        """Put the same command in the place of this process."""
        sys.stderr.flush()
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - our own

    def look(self) -> None:
        """Compare the files with how they were when they were first seen."""
        for path in (*self._given, *_imported()):
            at = _changed_at(path)
            if self._known.setdefault(path, at) != at and not self.is_due:
                print(f"{path} has changed: the worker starts again", file=sys.stderr)
                self._changed.set()

    def _watch(self) -> None:
        while not self.is_due:
            time.sleep(_INTERVAL)
            self.look()


def _imported() -> Iterator[Path]:
    for module in list(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and not _INSTALLED.intersection(Path(file).parents):
            yield Path(file)


def _changed_at(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:  # an editor may be about to put a new one in its place
        return None
