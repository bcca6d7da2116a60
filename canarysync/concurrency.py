"""Pure: how many requests may be in flight at once? A limit that finds itself by the API's own answers.

Slow start, then additive increase and multiplicative decrease (AIMD: D.-M. Chiu and R. Jain, 1989; RFC 5681 §3.1), as
in Vector's adaptive request concurrency. Three signs of congestion lower the limit: 429 or 503, no answer to what was
sent, and growing latency. The latter is a gradient: recent latency against the lowest one, as in Netflix's
concurrency-limits (Vegas, Gradient2), with a floor for noise and the lowest samples of a round, as in HyStart++
(RFC 9406 §4.2).

Our own work is no reason to stay low: what is read, noted and filed together shares its commits and fsyncs (crew.py),
the more so the more uploads are under way.
"""

from __future__ import annotations

from math import inf
from typing import NamedTuple

MOST = 128
"""The highest limit: so many threads and connections there may be."""

_FIRST = 16
"""It starts so: a burst is soon at full speed, and an API that takes few at once has refused no more than these."""

_ROUND_LEAST = 4
_LATE = 2.0
_NOISE_S = 0.003
_NO_BETTER = 0.8
_PAUSE_FIRST_S, _PAUSE_MOST_S = 1.0, 60.0
_HIGHER = 1.25


class Sample(NamedTuple):
    """What one request said. ``sent_s`` is monotonic; ``pushed_back``: 429, 503, or no answer at all; ``in_flight``
    counts the requests under way when it was sent, itself among them."""

    sent_s: float
    latency_s: float
    pushed_back: bool
    in_flight: int


class Limit:
    """At most ``now`` uploads under way, between ``least`` and ``most``; a fixed one where these are the same.

    A *round* is about one round trip: as many answers as the limit, to requests that were sent under it. Only a limit
    that was ``reached`` in a round may rise: who has little to send learns nothing of what the API can take.
    """

    def __init__(self, least: int = 1, most: int = MOST) -> None:
        self.least, self.most = least, most
        self.now = max(least, min(_FIRST, most))
        self._since_s = -inf
        self._doubles = True  # slow start, until the first sign of congestion
        self._reached = False
        self._latencies: list[float] = []
        self._lowest_s = inf
        self._late_s = inf  # the latency for which the limit was just halved
        self._ceiling: int | None = None
        self._refused_at = 0  # the ceiling that the last try above it confirmed
        self._pause_s = _PAUSE_FIRST_S
        self._try_at_s = 0.0

    def reached(self) -> None:
        """So many are in flight, or more would be if they were let."""
        self._reached = True

    def learn(self, sample: Sample, now_s: float) -> None:
        """Take in what a request said. ``now_s``: monotonic."""
        if sample.sent_s < self._since_s:  # it was sent under another limit, and says nothing of this one
            return
        if sample.pushed_back:
            self._back_off(sample.in_flight, now_s)
            return
        self._latencies.append(sample.latency_s)
        if len(self._latencies) >= max(self.now, _ROUND_LEAST):
            self._end_round(now_s)

    def _end_round(self, now_s: float) -> None:
        # The lower quartile: a round in which every other request had to connect first is not slower by that.
        latency_s = sorted(self._latencies)[len(self._latencies) // 4]
        reached = self._reached
        self._begin_round()
        if latency_s > _NO_BETTER * self._late_s:  # half as many, and no faster: it is not we who make it slow
            self._lowest_s = latency_s
        self._late_s = inf
        self._lowest_s = min(self._lowest_s, latency_s)
        if not reached:
            return
        if latency_s > _LATE * self._lowest_s + _NOISE_S:
            self._late_s = latency_s
            self._doubles = False
            self._change(self.now // 2, now_s)
        else:
            self._grow(now_s)

    def _grow(self, now_s: float) -> None:
        """One more, or twice as many; above the ceiling a try now and then."""
        if self._ceiling is not None and self.now > self._ceiling:
            self._ceiling = self.now  # it was taken
        elif self.now == self._ceiling and now_s < self._try_at_s:
            return
        self._change(2 * self.now if self._doubles else self.now + 1, now_s)

    def _back_off(self, in_flight: int, now_s: float) -> None:
        """The API had too many: stay below that. Where it was a try above the ceiling, the next one is further off."""
        if self._ceiling is not None and self.now > self._ceiling:
            higher = self._ceiling > _HIGHER * self._refused_at
            self._pause_s = _PAUSE_FIRST_S if higher else min(2 * self._pause_s, _PAUSE_MOST_S)
            self._refused_at = self._ceiling
        else:
            # Never by more than half at once: one that was refused may have been sent while few were.
            self._ceiling = max(self.now // 2, min(int(0.9 * self.now), in_flight - 1), self.least)
            self._refused_at, self._pause_s = self._ceiling, _PAUSE_FIRST_S
        self._doubles = False
        self._try_at_s = now_s + self._pause_s
        self._change(self._ceiling, now_s)

    def _change(self, limit: int, now_s: float) -> None:
        limit = max(self.least, min(limit, self.most))
        if limit != self.now:
            self.now, self._since_s = limit, now_s
            self._begin_round()

    def _begin_round(self) -> None:
        self._reached = False
        self._latencies.clear()
