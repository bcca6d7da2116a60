"""What a process and all that it has started take: CPU, memory and wake-ups, from /proc."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_KIB = re.compile(r"^(VmRSS|VmHWM):\s+(\d+) kB$", re.MULTILINE)
_MAPPING = re.compile(r"^[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ \d+ +(.*)$")
_UNCHANGED = re.compile(r"^(?:Shared|Private)_Clean:\s+(\d+) kB$")
_SLEPT = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)$", re.MULTILINE)


def cpu_s(root: int) -> tuple[float, float]:
    """User and system seconds so far of the tree below ``root``, with those of children that have ended."""
    spent = [list(map(int, _stat(pid)[11:15])) for pid in _tree(root)]
    return sum(s[0] + s[2] for s in spent) / _TICKS_PER_S, sum(s[1] + s[3] for s in spent) / _TICKS_PER_S


def memory_mb(root: int) -> tuple[float, float]:
    """Resident memory of the tree below ``root`` now, and at most (of each process that is still there), in MB. What
    several of them have of one file (the interpreter, a library) is in memory once, and counted once."""
    now = most = 0
    of_files: list[dict[str, int]] = []
    for pid in _tree(root):
        found = dict(_KIB.findall(_read(f"/proc/{pid}/status")))
        now += int(found.get("VmRSS", 0))
        most += int(found.get("VmHWM", 0))
        of_files.append(_mapped_kib(pid))
    shared = _sum(of_files) - sum(_most_of_each(of_files).values())
    return (now - shared) * 1024 / 1e6, (most - shared) * 1024 / 1e6


def _mapped_kib(pid: int) -> dict[str, int]:
    """How much of each file a process has in memory (proc(5), smaps), without what it has changed in it."""
    found: dict[str, int] = {}
    path = ""
    for line in _read(f"/proc/{pid}/smaps").splitlines():
        if mapping := _MAPPING.match(line):
            path = mapping[1]
        elif path.startswith("/") and (size := _UNCHANGED.match(line)):
            found[path] = found.get(path, 0) + int(size[1])
    return found


def _sum(of_files: list[dict[str, int]]) -> int:
    return sum(sum(files.values()) for files in of_files)


def _most_of_each(of_files: list[dict[str, int]]) -> dict[str, int]:
    return {path: max(files.get(path, 0) for files in of_files) for files in of_files for path in files}


def wake_ups(pid: int) -> dict[int, int]:
    """How often each of its threads has slept, and woken up, so far: by thread id."""
    found = {
        int(name): _SLEPT.search(_read(f"/proc/{pid}/task/{name}/status")) for name in os.listdir(f"/proc/{pid}/task")
    }
    return {thread: int(slept[1]) for thread, slept in found.items() if slept}


def _tree(root: int) -> Iterator[int]:
    """``root`` and what it has started, by the parents that /proc tells."""
    parents = {int(name): int(_stat(int(name))[1]) for name in os.listdir("/proc") if name.isdigit()}
    found = [root]
    for pid in found:
        yield pid
        found += [child for child, parent in parents.items() if parent == pid]


def _stat(pid: int) -> list[str]:
    """/proc/PID/stat from its third field on (proc(5)); zeros for a process that has ended."""
    return (_read(f"/proc/{pid}/stat").rpartition(")")[2] or "0 " * 20).split()


def _read(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
