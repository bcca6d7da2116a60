"""What does a backlog cost? How soon the first of many waiting files leaves, memory, and CPU time per file.

    python -m benchmarks.backlog [WAITING ...]      (default: 1000 100000)

The daemon is a real process with every check and fsync; the simulated API runs in this one, so that only the daemon's
own work is counted. A million files take some minutes to make, and 4 GiB.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import cpu_s, memory_mib
from canarysync.sandbox import Sandbox
from tests.support import make_site, score, wait_for

MEASURED_MOST = 20_000
"""Of a larger backlog, so many files are let through."""

PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """``first_put_s``: from the start of the process. ``*_ms``: CPU time per file, after the first. ``peak_mib``: the
    most memory that was ever resident."""

    waiting: int
    measured: int
    first_put_s: float
    user_ms: float
    system_ms: float
    peak_mib: float

    def __str__(self) -> str:
        return (
            f"{self.waiting:>9} waiting: first PUT after {self.first_put_s:5.2f} s, {self.user_ms:5.2f} ms user + "
            f"{self.system_ms:5.2f} ms system per file (of {self.measured}), at most {self.peak_mib:5.1f} MiB"
        )


def main(arguments: Sequence[str] = ()) -> None:
    for waiting in map(int, arguments or ("1000", "100000")):
        with tempfile.TemporaryDirectory() as home:
            print(measure(Path(home), waiting), flush=True)


def measure(home: Path, waiting: int) -> Backlog:
    """Let a daemon in ``home`` loose on so many files."""
    puts = _Puts()
    with Sandbox(log=puts.heard) as sandbox:
        site = make_site(home, sandbox.url, routes__settle="2s", routes__rescan="60s")
        for number in range(waiting):
            (site.drop / f"visit-{number:07}.json").write_text(json.dumps(score(number, scoreId=f"PHQ{number}")))
        os.sync()
        began_s = time.monotonic()
        process = site.start()
        try:
            wait_for(lambda: puts.seen, "the first request", PATIENCE_S)
            before, first = cpu_s(process.pid), puts.seen
            measured = min(waiting, MEASURED_MOST)
            wait_for(lambda: puts.seen >= measured, "the requests", PATIENCE_S)
            after, files = cpu_s(process.pid), puts.seen - first
            user_ms, system_ms = (1e3 * (end - start) / files for end, start in zip(after, before, strict=True))
            peak_mib = memory_mib(process.pid, "VmHWM")
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    return Backlog(waiting, files, puts.first_s - began_s, user_ms, system_ms, peak_mib)


class _Puts:
    """The requests that the API was sent, counted."""

    def __init__(self) -> None:
        self.seen = 0
        self.first_s = 0.0
        self._counting = threading.Lock()

    def heard(self, line: str) -> None:
        """A line of the API's log."""
        if "put" not in line.lower():
            return
        with self._counting:
            self.first_s = self.first_s or time.monotonic()
            self.seen += 1


if __name__ == "__main__":
    main(sys.argv[1:])
