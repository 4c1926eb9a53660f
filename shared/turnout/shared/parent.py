"""The supervisor of this process, if it has one, as it is seen from here.

It holds one end of a socket pair, and we hold the other:

    we ──"ready"──▶ parent    once, when we do our work
    we ◀────end──── parent    however it has ended, by kill -9 too: then we end, in order

That, our number and the sockets to listen on come in three environment variables. They are a
protocol between two processes and no settings.
"""

import asyncio
import contextlib
import functools
import os
import socket
from collections.abc import Callable, Mapping, Sequence

_SLOT = "TURNOUT_SLOT"
_LINE = "TURNOUT_PARENT_FD"
_LISTEN = "TURNOUT_LISTEN_FDS"


class Parent:
    """What started this process as one of several.

    Attributes:
        slot: which of them this is, from 1.
        sockets: bound, to listen on; the parent keeps them open when we close them.
    """

    def __init__(self, slot: int, line: int, sockets: Sequence[socket.socket]) -> None:
        self.slot = slot
        self.sockets = sockets
        # A bare number, so that nothing closes it before the process has ended.
        self._line = line

    def say_ready(self) -> None:
        """Tell it that we do our work."""
        with contextlib.suppress(BrokenPipeError):  # it has ended, and `on_end` tells
            os.write(self._line, b"1")

    def on_end(self, callback: Callable[[], object]) -> None:
        """Have `callback` called when it has ended."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self._line)
            callback()

        loop.add_reader(self._line, ended)


@functools.cache
def find() -> Parent | None:
    """Return the parent of this process, or None if nobody supervises it."""
    if _LINE not in os.environ:
        return None
    # Removed, and closed on exec, so that no child of ours takes them for its own.
    slot, line, listen = (os.environ.pop(name) for name in (_SLOT, _LINE, _LISTEN))
    descriptors = [int(each) for each in listen.split(",") if each]
    for each in (int(line), *descriptors):
        os.set_inheritable(each, False)
    return Parent(int(slot), int(line), [socket.socket(fileno=each) for each in descriptors])


def variables(slot: int, line: int, sockets: Sequence[socket.socket]) -> Mapping[str, str]:
    """Return the environment variables that tell a child who its parent is.

    Args:
        slot: its number, from 1.
        line: the descriptor of its end of the socket pair.
        sockets: that it listens on.
    """
    return {
        _SLOT: str(slot),
        _LINE: str(line),
        _LISTEN: ",".join(str(each.fileno()) for each in sockets),
    }
