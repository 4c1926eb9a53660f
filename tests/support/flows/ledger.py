"""A flow that enters every attempt in a ledger; some of its runs need a second, some never succeed.

The sender numbers its bodies, so that both sides know which ones these are.
"""

import os
from functools import cache
from pathlib import Path

from turnout.workers import Event, flow

#: A body is "<sender> <number>".
FAILS_ONCE = 20
FAILS_ALWAYS = 50

FILE = "ledger"


def fails(number: int, attempt: int) -> bool:
    """Tell whether an attempt fails."""
    return number % FAILS_ALWAYS == 0 or (number % FAILS_ONCE == 1 and attempt == 1)


@flow("shop/ledger", retries=1)
async def ledger(event: Event) -> None:
    number = int(event.text().rpartition(" ")[2])
    failed = fails(number, event.attempt)
    end = "failed" if failed else "succeeded"
    # One write to a file in append mode: lines are whole, whenever the worker is killed.
    os.write(_file(), f"{event.id}\t{event.text()}\t{end}\n".encode())
    if failed:
        raise RuntimeError(f"call {number} fails, as agreed")


@cache
def _file() -> int:
    path = Path(os.environ["EFFECTS"]) / FILE
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
