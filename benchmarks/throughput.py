"""A burst of files into an idle watcher: how fast do they reach the API, and at what cost?

All players in turn, for each delay of the API, round after round; the figures are the medians of the rounds. A player
that needs longer than ``most_s`` is stopped, and its rate is that of what it did until then.
"""

from __future__ import annotations

import math
import statistics
import subprocess
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import astuple, dataclass

from benchmarks.place import Place, place
from benchmarks.players import BARE, CANARYSYNC, PLAYERS, SCRIPT, Player, at_work
from benchmarks.processes import cpu_s, memory_mb
from benchmarks.report import Section, at_least, figure
from benchmarks.sink import Sink, Tally, sink

DELAYS_S = (0.0, 0.02, 0.1)
QUIET_S = 3.0
"""When nothing more has come for so long, the rest is lost (to an overflow of the watch's queue)."""
SETTLE_S = 0.3
"""From when a player watches to when its idle memory is looked at."""


@dataclass(frozen=True, slots=True)
class Figures:
    """What one player did with one burst. NaN where it did not come to it."""

    per_s: float
    """Files a second, from the first PUT to the last."""
    filed_per_s: float
    """The same, until the drop folder was empty."""
    cpu_ms: float
    """User and system time per file."""
    idle_mb: float
    most_mb: float
    arrived: float
    lost: float
    twice: float


Results = dict[tuple[float, str], Figures]
"""The medians, by delay in seconds and the player's name."""


def measure(
    files: int, rounds: int, most_s: float, delays_s: Iterable[float] = DELAYS_S, players: Iterable[Player] = PLAYERS
) -> Results:
    found: dict[tuple[float, str], list[Figures]] = {}
    for _ in range(rounds):
        for delay_s in delays_s:
            for player in (player for player in players if not player.missing):
                figures, _ = play(player, files, most_s, delay_s)
                found.setdefault((delay_s, player.name), []).append(figures)
    return {key: _medians(figures) for key, figures in found.items()}


def play(player: Player, files: int, most_s: float, delay_s: float, limit: int = 0) -> tuple[Figures, Tally]:
    """One burst of ``files`` for one player. ``limit``: the API's, of requests in flight (0: none)."""
    with sink(delay_s, limit) as api:
        here = place(api.url)
        here.stage(files)
        with at_work(player, here, api.url, files) as process:
            time.sleep(SETTLE_S)
            before_s, (idle_mb, _) = sum(cpu_s(process.pid)), memory_mb(process.pid)
            end_s = time.monotonic() + most_s
            with here.burst() if player.watches else _told_to_go(process):
                filed_at, lost = _until_done(api, here, files, end_s)
            tally, spent_s, (_, most_mb) = api.tally(), sum(cpu_s(process.pid)) - before_s, memory_mb(process.pid)
    return _figures(tally, filed_at if player.watches else math.nan, spent_s, idle_mb, most_mb, lost), tally


def _told_to_go(process: subprocess.Popen[bytes]) -> AbstractContextManager[object]:
    assert process.stdin is not None
    process.stdin.write(b"go\n")
    process.stdin.flush()
    return nullcontext()


def _until_done(api: Sink, here: Place, files: int, end_s: float) -> tuple[float, float]:
    """When the drop folder was empty, and how many files never came; NaN each, if it was ``end_s`` before."""
    came = -1
    while not api.wait(files, min(QUIET_S, end_s - time.monotonic())):
        before, came = came, len(api.tally().first_at)
        if time.monotonic() >= end_s:
            return math.nan, math.nan
        if came == before:
            return math.nan, files - came
    while here.waiting():
        if time.monotonic() >= end_s:
            return math.nan, 0
        time.sleep(0.02)
    return time.monotonic(), 0


def _figures(tally: Tally, filed_at: float, spent_s: float, idle_mb: float, most_mb: float, lost: float) -> Figures:
    times, arrived = list(tally.first_at.values()), len(tally.first_at)
    if arrived < 2:
        return Figures(math.nan, math.nan, math.nan, idle_mb, most_mb, arrived, lost, tally.twice)
    first, last = min(times), max(times)
    return Figures(
        per_s=(arrived - 1) / (last - first),
        filed_per_s=arrived / (filed_at - first),
        cpu_ms=spent_s / arrived * 1000,
        idle_mb=idle_mb,
        most_mb=most_mb,
        arrived=arrived,
        lost=lost,
        twice=tally.twice,
    )


def _medians(rounds: list[Figures]) -> Figures:
    """Of each figure, over the rounds that came to it."""
    columns = zip(*(astuple(figures) for figures in rounds), strict=True)
    known = [[value for value in column if not math.isnan(value)] for column in columns]
    return Figures(*(statistics.median(values) if values else math.nan for values in known))


def section(results: Results, files: int) -> Section:
    """The table of ``results``, and what has to hold between its lines."""
    rows = [
        (f"{delay_s * 1000:g} ms, {name}", *_row(found), figure(found.per_s / _rate(results, delay_s, BARE)))
        for (delay_s, name), found in results.items()
    ]
    columns = ("API's delay, player", "files/s", "until empty", "CPU/file, ms", "idle, MB", "most, MB")
    checks = []
    if any(delay_s == 0 for delay_s, _ in results):
        ours = _rate(results, 0.0, CANARYSYNC)
        checks = [
            at_least("0 ms: canarysync / bare Session loop", ours / _rate(results, 0.0, BARE), 1.0, "x"),
            at_least("0 ms: canarysync / script, 1 thread", ours / _rate(results, 0.0, SCRIPT), 2.5, "x"),
        ]
    title = f"Throughput: a burst of {files:,} files into an idle watcher"
    return Section(title, (*columns, "arrived", "lost", "twice", "/ bare"), rows, checks, _notes())


def _row(found: Figures) -> tuple[str, ...]:
    return tuple(figure(value) for value in astuple(found))


def _rate(results: Results, delay_s: float, player: Player) -> float:
    return results[delay_s, player.name].per_s


def _notes() -> tuple[str, ...]:
    said = (
        "Files/s from the first PUT to the last, of what arrived; a player that took too long was stopped.",
        "CPU is user and system, of all processes of a player. The bare loop reads, checks and files nothing.",
    )
    return said + tuple(f"Left out: {p.name}, for want of {', '.join(p.missing)}." for p in PLAYERS if p.missing)
