"""Pure: is it alive? What the loop says of itself, and what is wrong with that, in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from canarysync.display import shown
from canarysync.tracks import Tally

RESCANS_MISSED = 3
GRACE_S = 60.0
"""A route stands still when nothing was heard of it for so many rescans and so many seconds more."""


@dataclass(frozen=True, slots=True)
class RouteVitals:
    """One route. ``crowded``: so many files wait that its scan pauses; ``gone``: why its folder is not to be had,
    empty when it is there; ``hangs``: it does not even answer; ``on_hold``: a person has stopped the route. Times are
    monotonic seconds: when a scan was last ``scanned_s`` to the end (None: never), when any part of one came in, and
    when a visit to a file last ended.
    """

    name: str
    rescan_s: float
    tally: Tally
    crowded: bool
    gone: str
    scanned_s: float | None
    listed_s: float
    visited_s: float
    hangs: bool = False
    on_hold: bool = False


@dataclass(frozen=True, slots=True)
class Vitals:
    """The loop's own answer, of ``now_s`` (monotonic). ``api_trouble``: why the API cannot be used, or empty;
    ``limit``: how many uploads may be under way at once; ``in_flight``: how many requests are."""

    now_s: float
    routes: Sequence[RouteVitals]
    api_trouble: str
    workers: int
    busy: int
    limit: int = 1
    in_flight: int = 0


def ailments(vitals: Vitals | None) -> Iterator[str]:
    """What is so wrong that a restart may help; None stands for a loop that gave no answer.

    A folder that is gone, or an API that cannot be used, is not: no restart brings it back, and canarysync goes on by
    itself as soon as it is there.
    """
    if vitals is None:
        yield "the loop does not turn (or the routes are still being opened)"
        return
    for route in vitals.routes:
        limit_s = RESCANS_MISSED * route.rescan_s + GRACE_S
        if route.crowded and vitals.api_trouble:
            continue  # the scan pauses until the files that it found can go
        still_s = vitals.now_s - (route.visited_s if route.crowded else route.listed_s)
        if still_s > limit_s:
            yield f"{route.name}: its scans stand still for {still_s:.0f} s (up to {limit_s:.0f} s is normal)"


def remarks(vitals: Vitals) -> Iterator[str]:
    """What is not as it should be, and is no matter of life and death."""
    if vitals.api_trouble:
        yield f"the API cannot be used: {vitals.api_trouble}"
    for route in vitals.routes:
        if route.gone:
            yield f"{route.name}: {shown(route.gone)}"
