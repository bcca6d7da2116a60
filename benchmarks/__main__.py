"""Measure, print, and write results.md and throughput.svg into benchmarks/results.

    make bench                                        # all sections (some fifteen minutes)
    python -m benchmarks throughput latency           # these alone
    python -m benchmarks --full backlog idle          # also with a million files

Run it on a machine that does nothing else. The exit code is 1 if a figure is not what it has to be.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable

from benchmarks import Options, auto, growth, latency, plot, startup, throughput
from benchmarks.place import RESULTS
from benchmarks.report import Section, done_when, figure, machine, markdown
from benchmarks.sink import alone_per_s

SINK_REQUESTS = 50_000


def main(arguments: list[str] | None = None) -> int:
    sections, options = _parse(arguments)
    RESULTS.mkdir(exist_ok=True)
    head = f"# Benchmarks\n\n{time.strftime('%Y-%m-%d')}, on {machine(RESULTS)}. "
    head += f"The sink alone: {figure(alone_per_s(SINK_REQUESTS))} requests/s.\n"
    print(head, flush=True)
    told, found = [head], []
    for name in sections:
        found.append(SECTIONS[name](options))
        told.append(markdown(found[-1]))
        print(told[-1], flush=True)
    told.append(done_when(found))
    print(told[-1])
    (RESULTS / "results.md").write_text("\n".join(told))
    return int(any(not check.kept for section in found for check in section.checks))


def _throughput(options: Options) -> Section:
    results = throughput.measure(options.files, options.rounds, options.most_s)
    print(plot.draw(results, RESULTS / "throughput.svg"), file=sys.stderr)
    return throughput.section(results, options.files)


SECTIONS: dict[str, Callable[[Options], Section]] = {
    "throughput": _throughput,
    "auto": auto.measure,
    "latency": latency.measure,
    "startup": startup.measure,
    "backlog": growth.of_backlog,
    "idle": growth.of_idle,
}


def _parse(arguments: list[str] | None) -> tuple[list[str], Options]:
    usual = Options()
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast is canarysync, and how small?")
    parser.add_argument(
        "sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)}; all, if none is given"
    )
    parser.add_argument("--files", type=int, default=usual.files, help="in each burst (%(default)s)")
    parser.add_argument("--rounds", type=int, default=usual.rounds, help="of which the medians count (%(default)s)")
    parser.add_argument("--most-s", type=float, default=usual.most_s, help="of each player's turn (%(default)s)")
    parser.add_argument("--full", action="store_true", help="also with a million files, which takes long")
    given = parser.parse_args(arguments)
    if unknown := [name for name in given.sections if name not in SECTIONS]:
        parser.error(f"no section is called {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    options = Options(given.files, given.rounds, given.most_s, given.full)
    return given.sections or list(SECTIONS), options


if __name__ == "__main__":
    sys.exit(main())
