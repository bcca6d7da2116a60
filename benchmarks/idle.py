"""What does a daemon cost that has nothing to do? Its memory, CPU time and wake-ups, over a minute.

    python -m benchmarks.idle [FILES_IN_DONE ...]      (default: 0 1000)

The daemon is a real process, with inotify, metrics and a service manager that wants to hear WATCHDOG=1, as with our
units. The files in done/ have receipts beside them, which the ledger does not know.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.place import fresh_folder
from benchmarks.processes import cpu_s, memory_mb, wake_ups
from tests.support import Site, make_site, wait_for

PERIOD_S = 60.0
CALM_S = 3.0
"""So long after the start it is left alone before it is measured."""

NO_API = "http://127.0.0.1:9"


@dataclass(frozen=True, slots=True)
class Idle:
    """``start_s``: until it watches its folder. ``wake_ups``: a minute, of all threads together."""

    files_in_done: int
    start_s: float
    rss_mb: float
    cpu_percent: float
    wake_ups: float

    def __str__(self) -> str:
        return (
            f"{self.files_in_done:>9} files in done/: ready after {self.start_s:5.2f} s, RSS {self.rss_mb:5.1f} MB, "
            f"CPU {self.cpu_percent:6.3f} %, {self.wake_ups:4.0f} wake-ups a minute"
        )


def main(arguments: Sequence[str] = ()) -> None:
    for files in map(int, arguments or ("0", "1000")):
        print(measure(files), flush=True)


def measure(files_in_done: int, period_s: float = PERIOD_S) -> Idle:
    """Run a daemon beside so many files in done/ that are made first."""
    home = fresh_folder()
    site = make_site(home, NO_API, routes__rescan="60s", metrics__listen=f"127.0.0.1:{_free_port()}")
    for number in range(files_in_done):
        (site.done / f"visit-{number}.json").write_bytes(b"{}")
        (site.done / f"visit-{number}.json.receipt.json").write_bytes(b"{}")
    with _service_manager(home / "notify") as environment:
        began_s = time.monotonic()
        process = _start(site, environment)
        try:
            wait_for(lambda: "watching" in site.log(), "the daemon")
            start_s = time.monotonic() - began_s
            time.sleep(CALM_S)
            before = _seen(process.pid)
            time.sleep(period_s)
            wakes, cpu = (after - then for after, then in zip(_seen(process.pid), before, strict=True))
            rss_mb = memory_mb(process.pid)[0]
            return Idle(files_in_done, start_s, rss_mb, 100 * cpu / period_s, wakes * 60 / period_s)
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait()


def _seen(pid: int) -> tuple[float, float]:
    return float(sum(wake_ups(pid).values())), sum(cpu_s(pid))


def _start(site: Site, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "canarysync", "run", "-c", str(site.config_path)]
    with (site.home / "log").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment)


@contextmanager
def _service_manager(path: Path) -> Iterator[dict[str, str]]:
    """The environment of a service whose manager takes what it is told, and says nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(str(path))
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        yield {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "120000000"}


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


if __name__ == "__main__":
    main(sys.argv[1:])
