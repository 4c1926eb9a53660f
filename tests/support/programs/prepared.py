"""`turnout` with all its modules loaded: each command is a fork of this process.

A command then costs some milliseconds instead of half a second of imports. It has the arguments,
environment, directory and output of a process of its own, and it is one.
"""

import importlib
import json
import os
import pkgutil
import signal
import socket
import sys
import traceback
from typing import Any, NoReturn

from turnout.router import cli

#: What a command imports when it runs.
_LATE = ("rich.progress", "rich.table", "typer._adapters", "typer.rich_utils")

#: Greatest size of a request in bytes.
_MOST = 1024 * 1024


def main() -> None:
    """Run what is asked for over the socket on standard input, until that is closed."""
    ours = [each.name for each in pkgutil.iter_modules(cli.__path__, f"{cli.__name__}.")]
    for module in (*ours, *_LATE):
        if not module.endswith("__main__"):
            importlib.import_module(module)
    line = socket.socket(fileno=os.dup(0))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for a supervisor
    while True:
        request, descriptors, _, _ = socket.recv_fds(line, _MOST, 3)
        if not request:
            return
        if not os.fork():
            line.close()
            supervise(json.loads(request), *descriptors)
        for each in descriptors:
            os.close(each)


def supervise(request: dict[str, Any], out: int, err: int, answer: int) -> NoReturn:
    """Run one command in another fork, and write its exit code as the answer."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    command = os.fork()
    if not command:
        os.close(answer)
        os.dup2(out, 1)
        os.dup2(err, 2)
        run(**request)
    _, status = os.waitpid(command, 0)
    os.write(answer, str(os.waitstatus_to_exitcode(status)).encode())
    os._exit(0)


def run(arguments: list[str], environment: dict[str, str], directory: str) -> NoReturn:
    """Be `turnout`."""
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(directory)
    sys.argv = ["turnout", *arguments]
    code: object = 0
    try:
        cli.main()
    except SystemExit as end:
        code = end.code or 0
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # An orderly end of an interpreter with so many modules takes longer than most commands.
    os._exit(code if isinstance(code, int) else 1)


main()
