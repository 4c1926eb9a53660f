"""What a process and its children have used: CPU and memory, from /proc (see proc(5))."""

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


def cpu_seconds(pid: int) -> float:
    """Sum up the CPU time that a process and its living children have used, in user and kernel."""
    total = 0
    for each in _tree(pid):
        # The second field, the command, may hold spaces and parentheses.
        fields = Path(f"/proc/{each}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def resident_bytes(pid: int) -> int:
    """Sum up the resident memory of a process and its living children."""
    return (
        sum(int(Path(f"/proc/{each}/statm").read_text().split()[1]) for each in _tree(pid)) * _PAGE
    )


def _tree(pid: int) -> list[int]:
    found = [pid]
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in (thread / "children").read_text().split():
            found += _tree(int(child))
    return found
