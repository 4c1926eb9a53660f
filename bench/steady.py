"""Calls at a constant rate, whatever the answers do: an open-loop load generator.

    BENCH_API_KEY=… BENCH_BODY=… python -m bench.steady URL RATE SECONDS

A closed loop, such as wrk, sends the next call when the last one is answered: while a server stalls
it sends nothing, and so does not see what senders would ("coordinated omission"). Here call n is
due at n / RATE, and its latency counts from that moment, also when it had to wait for a free
connection. Calls leave once a millisecond, so up to one millisecond of each latency is our own.

Prints one line of JSON: how many calls were sent and answered 202, and percentiles in microseconds.
"""

import asyncio
import gc
import json
import os
import re
import sys
from collections import deque
from typing import cast

import uvloop
from bench.load import CONNECTIONS
from yarl import URL

_TICK = 0.001  # seconds; timers of the event loop have no finer grain
_PATIENCE = 10.0  # seconds for the last answers
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class _Connection(asyncio.Protocol):
    """One connection with at most one call on it."""

    def __init__(self, load: "_Load") -> None:
        self._load = load
        self._data = b""
        self.due = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, body = self._data.partition(b"\r\n\r\n")
        length = _LENGTH.search(head)
        if end and len(body) >= (int(length[1]) if length else 0):
            self._data = b""
            self._load.answered(self, accepted=head.startswith(b"HTTP/1.1 202"))


class _Load:
    def __init__(self, request: bytes) -> None:
        self._loop = asyncio.get_running_loop()
        self._request = request
        self._idle: list[_Connection] = []
        self._waiting: deque[float] = deque()
        self.accepted = 0
        self.latencies: list[float] = []

    async def connect(self, host: str, port: int) -> None:
        for _ in range(CONNECTIONS):
            _, connection = await self._loop.create_connection(
                lambda: _Connection(self), host, port
            )
            self._idle.append(connection)

    async def run(self, rate: float, seconds: float) -> int:
        """Send the calls, wait for their answers, and return how many calls that were."""
        began = self._loop.time()
        sent, total = 0, int(rate * seconds)
        while sent < total:
            due = min(total, int((self._loop.time() - began) * rate) + 1)
            self._waiting.extend(began + number / rate for number in range(sent, due))
            sent = due
            while self._waiting and self._idle:
                self._send(self._idle.pop())
            await asyncio.sleep(_TICK)
        deadline = self._loop.time() + _PATIENCE
        while len(self.latencies) < total and self._loop.time() < deadline:  # noqa: ASYNC110 - bounded
            await asyncio.sleep(_TICK)
        return total

    def answered(self, connection: _Connection, *, accepted: bool) -> None:
        self.latencies.append(self._loop.time() - connection.due)
        self.accepted += accepted
        if self._waiting:
            self._send(connection)
        else:
            self._idle.append(connection)

    def _send(self, connection: _Connection) -> None:
        connection.due = self._waiting.popleft()
        connection.transport.write(self._request)


async def main(url: URL, rate: float, seconds: float) -> None:
    body = os.environ["BENCH_BODY"].encode()
    head = (
        f"POST {url.raw_path} HTTP/1.1\r\nHost: {url.host}:{url.port}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        f"X-API-Key: {os.environ['BENCH_API_KEY']}\r\n\r\n"
    )
    load = _Load(head.encode() + body)
    await load.connect(url.host or "", url.port or 80)
    gc.disable()  # its pauses would look like those of the server
    sent = await load.run(rate, seconds)
    latencies = sorted(load.latencies)
    result = {
        "sent": sent,
        "accepted": load.accepted,
        "p50": _percentile(latencies, 0.50),
        "p99": _percentile(latencies, 0.99),
    }
    print(json.dumps(result))


def _percentile(ordered: list[float], fraction: float) -> float:
    return ordered[int(len(ordered) * fraction)] * 1e6 if ordered else 0.0


if __name__ == "__main__":
    uvloop.run(main(URL(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3])))
