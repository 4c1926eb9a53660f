"""The reference: takes Turnout's messages off the queue, acknowledges them, and does nothing else.

python -m bench.tasks.raw AMQP_URL QUEUE
"""

import asyncio
import sys

import uvloop
from bench import tally
from pamqp import commands

from turnout.shared.amqp import Channel, Delivery, Link

_PREFETCH = 2000


class Raw(Channel):
    """Acknowledges all that came in one turn of the event loop with one frame."""

    def __init__(self) -> None:
        super().__init__()
        self._note = tally.writer()
        self._loop = asyncio.get_running_loop()
        self._last = 0

    def on_delivery(self, delivery: Delivery) -> None:
        self._note(1)
        if not self._last:
            self._loop.call_soon(self._acknowledge)
        self._last = delivery.tag

    def _acknowledge(self) -> None:
        self.ack(self._last, multiple=True)
        self._last = 0


async def main(url: str, queue: str) -> None:
    link = await Link.connect(url, name="raw")
    raw = Raw()
    await link.open(raw)
    await raw.call(commands.Basic.Qos(prefetch_count=_PREFETCH), commands.Basic.QosOk)
    await raw.call(commands.Basic.Consume(queue=queue), commands.Basic.ConsumeOk)
    await link.closed


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
