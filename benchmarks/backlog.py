"""What does a backlog cost? How soon the first of many waiting files leaves, memory, and CPU time per file.

    python -m benchmarks.backlog [WAITING ...]      (default: 1000 100000)

The daemon is a real process with every check and fsync; the API is the sink, in a process of its own. A million files
take some minutes to make, and 4 GiB.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.place import Place, place, write
from benchmarks.processes import cpu_s, memory_mb
from benchmarks.sink import Sink, sink

MEASURED_MOST = 20_000
"""Of a larger backlog, so many files are let through."""

PATIENCE_S = 600.0


@dataclass(frozen=True, slots=True)
class Backlog:
    """``first_put_s``: from the start of the process. ``*_ms``: CPU time per file, after the first. ``peak_mb``: the
    most memory that was ever resident."""

    waiting: int
    measured: int
    first_put_s: float
    user_ms: float
    system_ms: float
    peak_mb: float

    def __str__(self) -> str:
        return (
            f"{self.waiting:>9} waiting: first PUT after {self.first_put_s:5.2f} s, {self.user_ms:5.2f} ms user + "
            f"{self.system_ms:5.2f} ms system per file (of {self.measured}), at most {self.peak_mb:5.1f} MB"
        )


def main(arguments: Sequence[str] = ()) -> None:
    for waiting in map(int, arguments or ("1000", "100000")):
        print(measure(waiting), flush=True)


def measure(waiting: int) -> Backlog:
    """Let a daemon loose on so many files."""
    with sink() as api:
        here = place(api.url, settle="2s", rescan="60s")
        write(here.drop, range(waiting))
        os.sync()
        began_s = time.monotonic()
        process = _start(here)
        try:
            _wait(api, 1)
            before, first = cpu_s(process.pid), len(api.tally().first_at)
            measured = min(waiting, MEASURED_MOST)
            _wait(api, measured)
            after, tally = cpu_s(process.pid), api.tally()
            files = len(tally.first_at) - first
            user_ms, system_ms = (1e3 * (end - start) / files for end, start in zip(after, before, strict=True))
            peak_mb = memory_mb(process.pid)[1]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()
    return Backlog(waiting, files, min(tally.first_at.values()) - began_s, user_ms, system_ms, peak_mb)


def _start(here: Place) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "canarysync", "run", "-c", str(here.config)]
    with here.log.open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _wait(api: Sink, count: int) -> None:
    if not api.wait(count, PATIENCE_S):
        raise TimeoutError(f"{count} requests did not come within {PATIENCE_S:g} s")


if __name__ == "__main__":
    main(sys.argv[1:])
