"""`python -m turnout.workers.child FD`: a process that computes for `processes`.

It reads envelopes from its line to the worker, and answers each with what came of the attempt. It
ends when the line does: in the middle of a run too, because then the run is another worker's.
"""

import importlib
import os
import pickle
import queue
import signal
import socket
import sys
import threading
from typing import Any

from turnout.shared import log
from turnout.shared.envelope import ONCE, Envelope
from turnout.shared.settings import load
from turnout.workers import logs
from turnout.workers.attempt import Failure, Success, call
from turnout.workers.context import Context
from turnout.workers.flow import Flow, declared
from turnout.workers.once import Marks
from turnout.workers.processes import LENGTH
from turnout.workers.resources import Resources
from turnout.workers.result import kept
from turnout.workers.settings import WorkerSettings


class Line:
    """Our end of the line.

    Args:
        descriptor: of the socket.
    """

    def __init__(self, descriptor: int) -> None:
        self._stream = socket.socket(fileno=descriptor).makefile("rwb")
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._is_busy = False
        # The main thread computes, and notices nothing while it does.
        threading.Thread(target=self._read, daemon=True).start()

    def receive(self) -> Any:
        """Return the next request; None: there will be no more."""
        return self._requests.get()

    def answer(self, value: object) -> None:
        """Answer the request."""
        data = pickle.dumps(value)
        self._is_busy = False
        self._stream.write(LENGTH.pack(len(data)) + data)
        self._stream.flush()

    def _read(self) -> None:
        while head := self._stream.read(LENGTH.size):
            request = pickle.loads(self._stream.read(LENGTH.unpack(head)[0]))  # noqa: S301
            self._is_busy = True
            self._requests.put(request)
        if self._is_busy:
            os._exit(1)
        self._requests.put(None)


def main() -> None:
    """Answer until the line ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the worker decides when we end
    settings = load(WorkerSettings)
    log.configure(settings.log_level, settings.log_format)
    logs.install()
    marks = Marks(settings.redis_url.get_secret_value())
    line = Line(int(sys.argv[1]))
    flow = _import(*line.receive())
    line.answer(None)
    while (request := line.receive()) is not None:
        line.answer(_attempt(flow, marks, *request))


def _import(path: list[str], module: str, name: str) -> Flow:
    sys.path[:] = path
    flow = declared(getattr(importlib.import_module(module), name))
    if flow is None:
        raise SystemExit(f"{module}.{name} is no flow in a process of its own")
    return flow


def _attempt(
    flow: Flow, marks: Marks, envelope: Envelope, redelivered: bool, timeout: float | None
) -> Success | Failure:
    resources = Resources({}, "a flow with executor='process' opens what it needs itself")
    context = Context(envelope, resources, marks, redelivered=redelivered)
    if timeout is not None:
        context.begin(timeout)
    if envelope.kind != ONCE:
        return _plain(call(flow, context))
    with logs.collecting() as lines:
        return _plain(call(flow, context))._replace(logs=tuple(lines))


def _plain(end: Success | Failure) -> Success | Failure:
    """Return what can be sent; a result is one of the flow's own kinds, maybe."""
    return end if isinstance(end, Failure) else end._replace(result=kept(end.result)[0])


if __name__ == "__main__":
    main()
