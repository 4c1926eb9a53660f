"""The flow of the benchmarks: it does nothing, so that what is measured is the way to it."""

from turnout.workers import Event, flow

GROUP, FLOW = "bench", "empty"


@flow(f"{GROUP}/{FLOW}")
async def empty(event: Event) -> None:
    """Do nothing."""
