"""Turnout: three flows. Acknowledged when the outcome is confirmed, as always."""

import asyncio
import time

from bench import tally
from bench.flows import GROUP

from turnout.workers import Event, flow

note = tally.writer()


@flow(f"{GROUP}/empty")
async def empty(event: Event) -> None:
    note(1)


@flow(f"{GROUP}/pause")
async def pause(event: Event) -> None:
    await asyncio.sleep(0.005)
    note(1)


@flow(f"{GROUP}/timed")
async def timed(event: Event) -> None:
    note(max(1, round((time.time() - event.received_at.timestamp()) * 1e6)))
