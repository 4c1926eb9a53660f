"""Flows that enter every attempt in a ledger, when it begins and when it ends.

    shop/ledger       some of its runs need a second attempt, some never succeed
    shop/ordered      the same, the events of each client one after the other
    shop/stumbling    no first attempt succeeds
    shop/crashing     one event ends the process of its worker, whenever it is tried

The sender numbers its bodies, so that both sides know what becomes of each.
"""

import asyncio
import json
import os
import signal
from functools import cache
from pathlib import Path

from turnout.workers import Event, flow

FAILS_ONCE = 40
FAILS_ALWAYS = 100

#: Ends its process where that is wanted; it is one of those that never succeed.
CRASHES = FAILS_ALWAYS

FILE = "ledger"

BEGAN, SUCCEEDED, FAILED = "began", "succeeded", "failed"

#: Seconds that an attempt takes, so that there is always one to be cut off.
_WORK = 0.01


def fails(number: int, attempt: int) -> bool:
    """Tell whether an attempt fails."""
    return number % FAILS_ALWAYS == 0 or (number % FAILS_ONCE == 1 and attempt == 1)


@flow("shop/ledger", retries=1)
async def ledger(event: Event) -> None:
    await work(event, failed=fails(number_of(event), event.attempt))


@flow("shop/ordered", retries=1, ordered_by="client", partitions=4)
async def ordered(event: Event) -> None:
    await work(event, failed=fails(number_of(event), event.attempt))


@flow("shop/stumbling", retries=1, backoff=5)
async def stumbling(event: Event) -> None:
    await work(event, failed=event.attempt == 1 or fails(number_of(event), event.attempt))


@flow("shop/crashing", retries=1)
async def crashing(event: Event) -> None:
    if number_of(event) == CRASHES:
        enter(event, BEGAN)
        os.kill(os.getpid(), signal.SIGKILL)
    await work(event, failed=fails(number_of(event), event.attempt))


async def work(event: Event, *, failed: bool) -> None:
    enter(event, BEGAN)
    await asyncio.sleep(_WORK)
    enter(event, FAILED if failed else SUCCEEDED)
    if failed:
        raise RuntimeError(f"call {number_of(event)} fails, as agreed")


def number_of(event: Event) -> int:
    number: int = json.loads(event.body)["number"]
    return number


def enter(event: Event, what: str) -> None:
    # One write to a file in append mode: lines are whole, whenever the worker is killed.
    fields = (event.id, event.text(), event.attempt, int(event.redelivered), what)
    os.write(_file(), ("\t".join(map(str, fields)) + "\n").encode())


@cache
def _file() -> int:
    path = Path(os.environ["EFFECTS"]) / FILE
    return os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
