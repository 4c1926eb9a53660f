"""The load: wrk for as many calls as go, bench/steady.py for a constant rate."""

import asyncio
import json
import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from turnout.router.nodes import packages

#: That stay open, as those of senders who push their peak do.
CONNECTIONS = 256

#: 230 bytes of JSON, as a form or a shop would send.
BODY = json.dumps(
    {
        "id": 4711,
        "type": "order.created",
        "created_at": "2026-01-31T12:00:00Z",
        "customer": {"id": 815, "email": "ada@example.com", "name": "Ada"},
        "items": [{"sku": "A-100", "count": 2}, {"sku": "B-7", "count": 1}],
        "total": "99.50",
    }
)

_SCRIPT = Path(__file__).with_name("wrk.lua")


class Failed(Exception):
    """A measurement that counts for nothing; the text says why."""


@dataclass(frozen=True)
class Target:
    """Where calls go, and the key that they bring."""

    url: str
    key: str


@dataclass(frozen=True)
class Flood:
    """What came of as many calls as go."""

    accepted: int
    seconds: float
    p50: float
    """Milliseconds, as all latencies."""
    p99: float

    @property
    def rate(self) -> float:
        """Calls in a second."""
        return self.accepted / self.seconds


@dataclass(frozen=True)
class Stream:
    """What came of calls at a constant rate."""

    accepted: int
    p50: float
    p99: float


def require_wrk() -> None:
    """Fail with what to do if wrk is not installed.

    Raises:
        SystemExit: it is not.
    """
    if shutil.which("wrk") is None:
        raise SystemExit(f"wrk is not installed: {packages.command('wrk')}")


async def flood(target: Target, seconds: float, connections: int = CONNECTIONS) -> Flood:
    """Send as many calls as are answered, each connection the next one after an answer.

    Raises:
        Failed: one was not answered, or not with 2xx.
    """
    command = ["wrk", "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "10s"]
    found = await _run([*command, "-s", str(_SCRIPT), target.url], target.key, seconds)
    if found["refused"] or found["broken"] or not found["answers"]:
        raise Failed(
            f"of {found['answers']} answers {found['refused']} were not 2xx, "
            f"{found['broken']} calls had no answer"
        )
    return Flood(
        found["answers"],
        found["microseconds"] / 1e6,
        found["p50"] / 1e3,
        found["p99"] / 1e3,
    )


async def stream(target: Target, rate: float, seconds: float) -> Stream:
    """Send `rate` calls a second.

    Raises:
        Failed: one was not answered, or not with 202.
    """
    command = [sys.executable, "-m", "bench.steady", target.url, str(rate), str(seconds)]
    found = await _run(command, target.key, seconds)
    if found["accepted"] != found["sent"]:
        raise Failed(f"of {found['sent']} calls {found['accepted']} were answered 202")
    return Stream(found["accepted"], found["p50"] / 1e3, found["p99"] / 1e3)


async def _run(command: list[str], key: str, seconds: float) -> dict[str, Any]:
    """Run a load generator and return what its last line says."""
    process = await asyncio.create_subprocess_exec(
        *command,
        # The key is in the environment, where ps does not show it.
        env={**os.environ, "BENCH_API_KEY": key, "BENCH_BODY": BODY},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds + 30):
            output, errors = await process.communicate()
    except TimeoutError:
        raise Failed(f"{Path(command[0]).name} did not end") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        said = errors.decode(errors="replace").strip().splitlines() or ["no reason"]
        raise Failed(f"{Path(command[0]).name} failed: {said[-1]}")
    return dict(json.loads(output.splitlines()[-1]))
