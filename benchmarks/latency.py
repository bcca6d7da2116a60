"""From a drop to the request: files dropped one at a time into an idle watcher, written in place and renamed in.

The clock starts before the file is opened (or renamed) and stops when the request is at the API.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks import Options
from benchmarks.place import Place, name_of, place, score, write
from benchmarks.players import CANARYSYNC, CURL, SCRIPT, Player, at_work
from benchmarks.report import Check, Section, at_most, figure, percentile
from benchmarks.sink import Sink, sink

FILES = 100
YAML_FILES = 10
IDLE_S = 0.5
"""From when a player watches to the first drop."""
PAUSE_S = 0.05
"""Between two drops, after the request for the first: the player is idle again."""
PATIENCE_S = 10.0
"""A file that has not come by then is lost."""

Drop = Callable[[Place, int], None]


def measure(options: Options) -> Section:
    rows, checks = [], []
    for player in (CANARYSYNC, SCRIPT, CURL):
        for way, drop, files in WAYS:
            if player.missing or (drop is _yaml and player is not CANARYSYNC):
                continue
            taken = _turn(player, drop, files)
            rows.append((f"{player.name}, {way}", *_row(taken, files)))
            if player is CANARYSYNC:
                checks += _checks(way, taken)
    columns = ("player, how a file comes", "p50, ms", "p99, ms", "most, ms", "files", "lost")
    return Section("Latency: from a drop to the request", columns, rows, checks)


def _turn(player: Player, drop: Drop, files: int) -> list[float]:
    """How long each file took, in ms, of those that came."""
    dropped = {}
    with sink() as api, at_work(player, here := place(api.url), api.url):
        time.sleep(IDLE_S)
        for number in range(files):
            dropped[number] = _drop(drop, here, api, number)
        came = api.tally().first_at
    return [(at - dropped[number]) * 1000 for number, at in came.items()]


def _drop(drop: Drop, here: Place, api: Sink, number: int) -> float:
    """Returns when, on the clock of the tally, as soon as the player is idle again."""
    at = time.monotonic()
    drop(here, number)
    api.wait(number + 1, PATIENCE_S)
    time.sleep(PAUSE_S)
    return at


def _written(here: Place, number: int) -> None:
    write(here.drop, [number])


def _renamed(here: Place, number: int) -> None:
    write(here.home, [number])
    (here.home / name_of(number)).rename(here.drop / name_of(number))


def _yaml(here: Place, number: int) -> None:
    lines = (f"{key}: {json.dumps(value)}\n" for key, value in score(number).items())
    Path(here.drop, name_of(number, ".yaml")).write_text("".join(lines))


WAYS: tuple[tuple[str, Drop, int], ...] = (
    ("JSON written in place", _written, FILES),
    ("JSON renamed in", _renamed, FILES),
    ("YAML, quiet period 2 s", _yaml, YAML_FILES),
)


def _row(taken: list[float], files: int) -> tuple[str, ...]:
    figures = (percentile(taken, 0.5), percentile(taken, 0.99), percentile(taken, 1))
    return (*map(figure, figures), str(files), str(files - len(taken)))


def _checks(way: str, taken: list[float]) -> list[Check]:
    p50, p99 = percentile(taken, 0.5), percentile(taken, 0.99)
    if way == "JSON written in place":
        return [at_most(f"{way}, p50", p50, 5, "ms"), at_most(f"{way}, p99", p99, 20, "ms")]
    return [at_most(f"{way}, p50", p50, 20, "ms")] if way == "JSON renamed in" else []
