"""Flows that take long, and flows that fail."""

import asyncio
import os
from pathlib import Path

from turnout.workers import Event, flow

EFFECTS = Path(os.environ["EFFECTS"])


def effect(line: str) -> None:
    with (EFFECTS / "trouble").open("a") as file:
        file.write(f"{line}\n")


@flow("shop/patient")
async def patient(event: Event) -> None:
    """Run until the test lets the event go on."""
    effect(f"{event.id} started redelivered={event.redelivered}")
    while not (EFFECTS / f"{event.id}.release").exists():  # noqa: ASYNC110 - another process makes it
        await asyncio.sleep(0.01)
    effect(f"{event.id} finished")


@flow("shop/failing", retries=1)
async def failing(event: Event) -> None:
    """Fail, and put what the sender sent into the traceback."""
    effect(f"{event.id} attempt {event.attempt}")
    raise ValueError(event.text())
