"""How soon does a revoked API key stop working, on every one of several ingress processes?

    bench/run revoke [--processes 4] [--keys 200]

Each key is called some hundred times a second on each process, over one connection each, and
revoked through the admin API meanwhile. For each process the last call is noted that was still
accepted, by the moment at which it was sent: how long is that after the request to revoke was sent,
and after it was answered? The result goes to the terminal and to docs/performance.md.
"""

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import aiohttp
from bench import machine, nodes, page
from bench.load import Failed
from bench.turnout import Turnout
from rich.console import Console
from rich.progress import Progress

#: Seconds for which calls go on after the answer, to see that none is accepted again.
_AFTER = 0.1
#: Seconds between two calls: machine and router have other things to do as well.
_PAUSE = 0.003


class Caller:
    """Calls one process with one key until it is told to end.

    Attributes:
        began: set when a call was accepted.
        last_accepted: when the last accepted call was sent.
    """

    def __init__(self, session: aiohttp.ClientSession, url: str, key: str) -> None:
        self.began = asyncio.Event()
        self.last_accepted = 0.0
        self.ended = False
        self._session = session
        self._url = url
        self._headers = {"X-API-Key": key}

    async def run(self) -> None:
        """Call."""
        while not self.ended:
            sent = time.perf_counter()
            async with self._session.post(self._url, headers=self._headers) as response:
                await response.read()
            if response.status == 202:
                self.last_accepted = sent
                self.began.set()
            elif response.status != 401:
                raise Failed(f"{self._url} answered {response.status}")
            await asyncio.sleep(_PAUSE)


async def revoke(turnout: Turnout, urls: Sequence[str], number: int) -> tuple[list[float], float]:
    """Make a key, call with it everywhere, and revoke it.

    Returns:
        For each process the seconds between the request to revoke and its last accepted call; and
        those that the request took.
    """
    async with turnout.admin() as api, aiohttp.ClientSession() as session:
        async with api.post("groups/bench/keys", json={"name": f"revoked {number}"}) as response:
            key = await response.json()
        callers = [Caller(session, url, key["key"]) for url in urls]
        async with asyncio.TaskGroup() as tasks:
            for caller in callers:
                tasks.create_task(caller.run())
            for caller in callers:
                await asyncio.wait_for(caller.began.wait(), 10)
            asked = time.perf_counter()
            async with api.post(f"keys/{key['id']}/revoke", json={}) as response:
                await response.read()
            answered = time.perf_counter()
            await asyncio.sleep(_AFTER)
            for caller in callers:
                caller.ended = True
    return [caller.last_accepted - asked for caller in callers], answered - asked


async def main(processes: int, number: int) -> int:
    """Measure, print and write; return the exit code."""
    console = Console()
    lasted: list[float] = []
    after_answer: list[float] = []
    took: list[float] = []
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as name:
        directory = Path(name)
        async with nodes.running(directory) as found:
            turnout = Turnout(found, directory)
            await turnout.prepare()
            async with turnout.beside(processes) as urls:
                with Progress(console=console, transient=True) as progress:
                    for each in progress.track(range(number), description="revoking"):
                        accepted, request = await revoke(turnout, urls, each)
                        lasted += accepted
                        after_answer += [value - request for value in accepted]
                        took.append(request)
    rows = {
        "until the request to revoke is answered": took,
        "from that request to the last call that is accepted": lasted,
        "from its answer to the last call that is accepted": after_answer,
    }
    table = page.table(
        ["milliseconds", "p50", "p99", "most"],
        [[what, *_percentiles(values)] for what, values in rows.items()],
    )
    about = (
        f"{number} keys, each called every few milliseconds on {processes} ingress processes "
        f"while it was revoked. {machine.describe()}.\n\n{table}"
    )
    console.print(about, soft_wrap=True)
    page.replace("revoke", about)
    return 0


def _percentiles(values: Sequence[float]) -> list[str]:
    # A call that was refused before the answer came is as good as none.
    values = [max(0.0, value) for value in values]
    found = (statistics.median(values), statistics.quantiles(values, n=100)[98], max(values))
    return [f"{value * 1000:.1f}" for value in found]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench/run revoke", description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--keys", type=int, default=200)
    options = parser.parse_args()
    try:
        raise SystemExit(asyncio.run(main(options.processes, options.keys)))
    except Failed as failure:
        raise SystemExit(f"failed: {failure}") from None
