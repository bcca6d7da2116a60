"""How long from a drop to the server? 100 JSON files and 20 YAML files, one at a time, into an idle daemon.

    make latency

The clock starts before the file is opened (or renamed in) and stops when the simulated API has answered. Everything is
real: the daemon is a process of its own, with inotify, the ledger and every fsync.
"""

from __future__ import annotations

import json
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from canarysync.sandbox import Sandbox
from tests.support import Site, make_site, score, wait_for

PAUSE_S = 0.05


def main() -> None:
    answered: list[float] = []

    def log(line: str) -> None:
        if "put" in line.lower():
            answered.append(time.monotonic())

    with tempfile.TemporaryDirectory() as home, Sandbox(log=log) as sandbox:
        site = make_site(Path(home), sandbox.url, routes__settle="2s", routes__rescan="60s")
        process = site.start()
        wait_for(lambda: "watching" in site.log(), "the daemon")
        time.sleep(0.5)
        written = _measure(site, answered, range(100), _written, PAUSE_S)
        _tell("JSON, written in place", written)
        _tell("JSON, renamed in", _measure(site, answered, range(100, 200), _renamed, PAUSE_S))
        _tell("YAML, quiet period 2 s", _measure(site, answered, range(200, 220), _yaml, PAUSE_S))
        process.send_signal(signal.SIGTERM)
        process.wait()


def _measure(
    site: Site, answered: list[float], numbers: range, drop: Callable[[Site, int], None], pause_s: float
) -> list[float]:
    taken = []
    for number in numbers:
        before, start_s = len(answered), time.monotonic()
        drop(site, number)
        while len(answered) == before:
            time.sleep(0.0002)
        taken.append(answered[before] - start_s)
        time.sleep(max(pause_s - (time.monotonic() - start_s), 0.0))
    return taken


def _written(site: Site, number: int) -> None:
    site.put(f"visit-{number}.json", score(number))


def _renamed(site: Site, number: int) -> None:
    outside = site.home / f"visit-{number}.json"
    outside.write_text(json.dumps(score(number)))
    outside.rename(site.drop / outside.name)


def _yaml(site: Site, number: int) -> None:
    site.put(f"visit-{number}.yaml", "".join(f"{k}: {json.dumps(v)}\n" for k, v in score(number).items()))


def _tell(what: str, taken: list[float]) -> None:
    ranked = sorted(taken)
    p99 = ranked[min(len(ranked) - 1, round(0.99 * len(ranked)))]
    median, most = statistics.median(taken), ranked[-1]
    print(
        f"{what:<24} n={len(taken):<4} median {median * 1e3:7.1f} ms  p99 {p99 * 1e3:7.1f} ms  max {most * 1e3:7.1f} ms"
    )


if __name__ == "__main__":
    main()
