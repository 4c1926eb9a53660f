"""The smallest flow: it greets whoever the call names. `make up` prints the call."""

import logging

from turnout.workers import Event, flow

logger = logging.getLogger(__name__)


@flow("demo/hello")
async def hello(event: Event) -> str:
    """Greet the sender of {"name": "Ada"}; what is returned is kept as the run's result."""
    name = event.json().get("name", "world") if event.body else "world"
    greeting = f"Hello, {name}!"
    logger.info(greeting)
    return greeting
