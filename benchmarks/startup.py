"""How long does a command take that has next to nothing to do? Beside a Python that does nothing at all."""

from __future__ import annotations

import statistics
import subprocess
import sys
import time

from benchmarks import Options
from benchmarks.place import place
from benchmarks.report import Section, at_most, figure

TIMES = 15
NOWHERE = "http://127.0.0.1:9"
"""Nothing has to be sent, so nobody need answer."""


def measure(options: Options) -> Section:
    canarysync = [sys.executable, "-m", "canarysync"]
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "canarysync --version": [*canarysync, "--version"],
        "canarysync --help": [*canarysync, "--help"],
        "canarysync run-once, nothing to do": [*canarysync, "run-once", "-c", str(place(NOWHERE).config)],
    }
    found = _medians_ms(commands)
    python_ms, version_ms, _, once_ms = found.values()
    checks = [
        at_most("canarysync --version", version_ms, 120, "ms"),
        at_most("canarysync run-once, nothing to do", once_ms, max(350, round(6 * python_ms)), "ms"),
    ]
    rows = [(name, figure(ms), figure(ms / python_ms)) for name, ms in found.items()]
    return Section(f"Start-up: medians of {TIMES}", ("command", "ms", "/ python -c pass"), rows, checks)


def _medians_ms(commands: dict[str, list[str]]) -> dict[str, float]:
    """In turn, after one run of each that does not count: the first run-once makes the ledger."""
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(TIMES + 1):
        for name, command in commands.items():
            started_s = time.monotonic()
            subprocess.run(command, check=True, capture_output=True)
            taken[name].append((time.monotonic() - started_s) * 1000)
    return {name: statistics.median(times[1:]) for name, times in taken.items()}
