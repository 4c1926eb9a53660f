"""Does the memory of an ingress grow under full load?

    bench/run soak [--minutes 5]

One ingress process takes as many calls as it can while a worker runs their flow. Its resident
memory is read once a second; the growth is the slope of a straight line through all readings after
the warm-up. The result goes to the terminal and to docs/performance.md.
"""

import argparse
import asyncio
import statistics
import tempfile
from pathlib import Path

from bench import chart, load, machine, nodes, page
from bench.load import Failed
from bench.turnout import Turnout
from bench.usage import resident_bytes
from rich.console import Console
from rich.progress import Progress

_WARM_UP = 0.2  # of the time
_MIB = 1024 * 1024

_SVG = page.DIRECTORY / "performance-soak.svg"


async def sample(pid: int, seconds: float, console: Console) -> list[float]:
    """Read the resident memory of a process once a second, in MiB."""
    found = []
    with Progress(console=console, transient=True) as progress:
        for _ in progress.track(range(int(seconds)), description="under full load"):
            found.append(resident_bytes(pid) / _MIB)
            await asyncio.sleep(1)
    return found


async def main(minutes: float) -> int:
    """Measure, print and write; return the exit code."""
    load.require_wrk()
    console = Console()
    seconds = minutes * 60
    with tempfile.TemporaryDirectory(prefix="turnout-bench-") as name:
        directory = Path(name)
        async with nodes.running(directory) as found:
            turnout = Turnout(found, directory)
            await turnout.prepare()
            async with turnout.running(worker=True) as ingress:
                flood, memory = await asyncio.gather(
                    load.flood(turnout.target, seconds), sample(ingress.pid, seconds, console)
                )
    steady = memory[int(len(memory) * _WARM_UP) :]
    slope = statistics.linear_regression(range(len(steady)), steady).slope * 60
    about = (
        f"{flood.accepted:,} calls in {minutes:g} min ({flood.rate:,.0f} a second), all "
        f"answered 202. Resident memory after the warm-up: {min(steady):.1f} to {max(steady):.1f} "
        f"MiB, growing by {slope:+.2f} MiB a minute. {machine.describe()}."
    )
    console.print(about, soft_wrap=True)
    page.replace("soak", about)
    chart.line(
        _SVG,
        [second / 60 for second in range(len(memory))],
        memory,
        x_label="minutes",
        title="resident memory of one ingress process under full load, MiB",
    )
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="bench/run soak", description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=5.0)
    try:
        raise SystemExit(asyncio.run(main(parser.parse_args().minutes)))
    except Failed as failure:
        raise SystemExit(f"failed: {failure}") from None
