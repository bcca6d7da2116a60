"""``concurrency: auto`` by itself: how soon does it find what a far-away API takes, and does it keep below a limit?"""

from __future__ import annotations

import math

from benchmarks import Options
from benchmarks.place import CONCURRENCY
from benchmarks.players import CANARYSYNC, SCRIPT_16
from benchmarks.report import Section, at_least, at_most, figure
from benchmarks.sink import Tally
from benchmarks.throughput import play

DELAY_S = 0.1
TIMES_THE_SCRIPT = 4
FAR_FILES, FAR_MOST_S = 8000, 15.0
LIMIT = 20
LIMITED_FILES, LIMITED_MOST_S = 8000, 30.0
SETTLED_S = 10
"""From when on the share of 429 counts."""


def measure(options: Options) -> Section:
    script, _ = play(SCRIPT_16, options.files, options.most_s, DELAY_S)
    wanted_per_s = TIMES_THE_SCRIPT * script.per_s
    _, far = play(CANARYSYNC, FAR_FILES, FAR_MOST_S, DELAY_S)
    _, limited = play(CANARYSYNC, LIMITED_FILES, LIMITED_MOST_S, DELAY_S, LIMIT)
    best, reached = _best_per_s(far) / script.per_s, reached_s(far, wanted_per_s)
    refused, in_flight = settled(limited)
    checks = [
        at_least(f"100 ms: {CONCURRENCY}, its best second / script, 16 threads", best, TIMES_THE_SCRIPT, "x"),
        at_most(f"100 ms: {CONCURRENCY} reaches {TIMES_THE_SCRIPT} x the script after", reached, 5, "s"),
        at_most(f"429 above {LIMIT} in flight: their share, once settled", refused * 100, 2, "%"),
    ]
    rows = [
        ("script, 16 threads: files/s", figure(script.per_s)),
        ("canarysync: files in its best second", figure(_best_per_s(far))),
        ("canarysync: files in each second", " ".join(str(second.get(200, 0)) for second in far.seconds)),
        ("canarysync: most in flight", str(far.most_in_flight)),
        (f"limit of {LIMIT}: share of 429 after {SETTLED_S} s", figure(refused * 100, "%")),
        (f"limit of {LIMIT}: in flight on average after {SETTLED_S} s", figure(in_flight)),
        (f"limit of {LIMIT}: 429 in each second", " ".join(str(second.get(429, 0)) for second in limited.seconds)),
    ]
    return Section(f"concurrency: {CONCURRENCY}, API's delay 100 ms", ("", "figure"), rows, checks)


def _best_per_s(tally: Tally) -> float:
    return max((second.get(200, 0) for second in tally.seconds), default=0)


def reached_s(tally: Tally, per_s: float) -> float:
    """Seconds from the first request to the end of the first second in which ``per_s`` came; NaN if there is none."""
    times, count = sorted(tally.first_at.values()), math.ceil(per_s)
    ends = (end for start, end in zip(times, times[count - 1 :], strict=False) if end - start <= 1)
    return next(ends, math.nan) - times[0]


def settled(tally: Tally) -> tuple[float, float]:
    """The share of 429, and how many were in flight on average (Little's law); the last second is not whole."""
    seconds = tally.seconds[SETTLED_S:-1]
    taken, refused = (sum(second.get(status, 0) for second in seconds) for status in (200, 429))
    if not seconds or not taken:
        return math.nan, math.nan
    return refused / (taken + refused), taken / len(seconds) * DELAY_S
