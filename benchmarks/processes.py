"""What Linux tells of a process: read from /proc, while it runs."""

from __future__ import annotations

import os
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


def memory_mib(pid: int, what: str) -> float:
    """``what`` is VmRSS for the memory that is resident now, VmHWM for the most that ever was."""
    return int(_status(Path(f"/proc/{pid}"))[what].split()[0]) / 1024


def cpu_s(pid: int) -> tuple[float, float]:
    """User and system time of all its threads so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) / _TICKS, int(fields[12]) / _TICKS


def wake_ups(pid: int) -> dict[int, int]:
    """How often each of its threads has slept, and woken up, so far: by thread id."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    return {int(thread.name): int(_status(thread)["voluntary_ctxt_switches"]) for thread in threads}


def _status(folder: Path) -> dict[str, str]:
    lines = (folder / "status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
