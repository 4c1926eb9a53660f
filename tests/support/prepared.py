"""Commands of `turnout`, from a process that has its modules loaded: see `programs/prepared.py`."""

import atexit
import json
import os
import socket
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

_PROGRAM = Path(__file__).parent / "programs" / "prepared.py"


def run(
    arguments: tuple[str, ...], environment: dict[str, str], directory: Path
) -> tuple[int, bytes, bytes]:
    """Run a command, and return its exit code, its output and its errors."""
    request = {"arguments": arguments, "environment": environment, "directory": str(directory)}
    reader, writer = os.pipe()
    with (
        tempfile.TemporaryFile() as out,
        tempfile.TemporaryFile() as err,
        open(reader, "rb") as answer,  # noqa: PTH123 - it has no path
    ):
        descriptors = [out.fileno(), err.fileno(), writer]
        socket.send_fds(
            _line(environment["PYTHONPATH"]), [json.dumps(request).encode()], descriptors
        )
        os.close(writer)
        code = int(answer.read())
        out.seek(0)
        err.seek(0)
        return code, out.read(), err.read()


@cache
def _line(path: str) -> socket.socket:
    """Start the process, and return our line to it; it ends when that does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "80"}
        process = subprocess.Popen([sys.executable, _PROGRAM], stdin=theirs, env=environment)

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours
