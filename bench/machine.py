"""What a benchmark ran on."""

import os
import platform
import subprocess
from pathlib import Path


def describe() -> str:
    """Name the processor and how many cores there are, the kernel and Python."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return (
        f"{len(os.sched_getaffinity(0))} cores of {models[0] if models else platform.machine()}, "
        f"Linux {platform.release()}, Python {platform.python_version()}"
    )


def wrk_version() -> str:
    """Name the version of wrk, which ends with an error after saying it."""
    said = subprocess.run(["wrk", "--version"], capture_output=True, text=True, check=False).stdout
    return " ".join(said.split()[:2])
