"""A route as the loop sees it: what it has in hand, what is due, and whether its folder still answers."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from math import inf

from canarysync.discover import Hints
from canarysync.health import RouteVitals
from canarysync.lane import Key, Lane
from canarysync.logs import event
from canarysync.step import Outcome
from canarysync.tracks import WINDOW, Place, Track, Tracks
from canarysync.workers import Task

_log = logging.getLogger(__name__)

SLOW_S = 5.0
"""A visit that was silent for so long is stuck: it holds up its own route only."""

HANG_S = 60.0
"""A job that was silent for so long makes its route one that hangs: it is said, and shown."""

HINTED_MOST = 2 * WINDOW
"""So many files of a route are kept in mind before no more are taken in by events; those are left to the scans."""


@dataclass(slots=True, eq=False)
class Desk:
    """One lane as the loop sees it. Times are monotonic seconds.

    A dead NFS server answers nothing for ever, and the thread that asked it is lost for as long. So nothing that a
    route has in hand may count for the others: ``visits`` and ``scan`` (a scan, or the opening or closing of the lane)
    are watched, and ``knocking`` asks the folder from a thread of its own while they are silent for too long.
    """

    lane: Lane
    tracks: Tracks[Key] = field(default_factory=lambda: Tracks(time.monotonic))
    visits: dict[Key, Task] = field(default_factory=dict)
    scan: Task | None = None
    closing: bool = False
    opened: bool = False  # or found not to be there
    refused: Exception | None = None  # at the start: why it cannot be opened, as long as that may stop the start
    scan_wanted: bool = True
    scans_finished: int = 0
    gone: bool = False
    trouble: str = ""
    next_scan_s: float = 0.0
    scanned_s: float | None = None
    listed_s: float = field(default_factory=time.monotonic)
    visited_s: float = field(default_factory=time.monotonic)
    hangs_since_s: float | None = None
    knocking: Task | None = None
    stuck: int = 0  # of the visits, those that are in no hurry to end: they do not count for the other routes
    answered_s: float = -inf

    @property
    def name(self) -> str:
        return self.lane.route.name

    @property
    def hangs(self) -> bool:
        """Whether its folder has not answered for ``HANG_S``."""
        return self.hangs_since_s is not None

    def in_hand(self) -> Iterator[Task]:
        """Everything under way that touches its folders."""
        yield from self.visits.values()
        if self.scan is not None:
            yield self.scan

    def is_busy(self) -> bool:
        """Whether it has something in hand that may be expected to end."""
        return not self.hangs and any(self.in_hand())

    def may_scan(self) -> bool:
        """One scan at a time, and none while there is no room for what it would find."""
        return self.scan is None and not self.tracks.crowded()

    def heard(self, hints: Hints) -> None:
        """Its watch has news."""
        self.scan_wanted |= hints.overflowed
        for name in hints.names:
            self.hinted(name)

    def hinted(self, name: str) -> None:
        """Something happened to ``name``."""
        key = Key(name)
        if key in self.tracks or len(self.tracks) - self.tracks.recorded < HINTED_MOST:
            self.tracks.hinted(key)
        else:
            self.scan_wanted = True

    def lost(self, trouble: str, hint: str = "") -> None:
        """Its folder is not to be had, and why; ``hint``: what to do about it. Said once."""
        if not (self.gone and self.trouble == trouble):
            event(_log, logging.ERROR, trouble, route=self.name, folder=self.lane.route.drop, what_to_do=hint)
        self.gone, self.trouble = True, trouble

    def found_again(self) -> None:
        """Its folder is there (again)."""
        if self.gone:
            event(_log, logging.WARNING, "folder is back", route=self.name)
        self.gone, self.trouble = False, ""

    def listen(self, now_s: float) -> None:
        """Notice what is stuck; that the folder hangs, and that it does no longer: each is said once."""
        silent_s = now_s - min([task.heard_s for task in self.in_hand()], default=now_s)
        self.stuck = sum(task.silent_s(now_s) > SLOW_S for task in self.visits.values()) if silent_s > SLOW_S else 0
        if silent_s > HANG_S and self.hangs_since_s is None:
            self.hangs_since_s = now_s - silent_s
            message = f"route hangs: its folder has not answered for {HANG_S:.0f} s"
            event(_log, logging.ERROR, message, route=self.name, folder=self.lane.route.drop)
        elif silent_s <= HANG_S and self.hangs_since_s is not None:
            hung_s, self.hangs_since_s, self.answered_s = now_s - self.hangs_since_s, None, -inf
            event(_log, logging.WARNING, "the folder answers again", route=self.name, after_s=round(hung_s))

    def answers(self, now_s: float) -> bool:
        """Whether a folder that hangs has answered a knock just now."""
        return self.hangs and now_s - self.answered_s < 3 * SLOW_S

    def vitals(self, now_s: float) -> RouteVitals:
        """How the route is. Of one that hangs nobody can expect a scan, unless it is we who are stuck."""
        hung = self.hangs and not self.answers(now_s)
        trouble = "hangs: its folder does not answer" if self.hangs else self.trouble
        return RouteVitals(
            self.name, self.lane.rescan_s, self.tracks.tally(), self.tracks.crowded(), trouble, self.scanned_s,
            now_s if hung else self.listed_s, now_s if hung else self.visited_s,
            hangs=self.hangs, on_hold=self.lane.hold is not None,
        )  # fmt: skip

    def was_looked_at(self) -> bool:
        """Whether a first look at it came to an end, or to a point from where it cannot go on now."""
        return bool(self.scans_finished or self.gone or self.hangs or self.tracks.crowded())

    def has_been_through(self) -> bool:
        """Whether it has nothing left that a single pass may still try."""
        if self.hangs:
            return True
        # With a full window of files that all wait, the scan would go on only once they have moved.
        if self.scan is not None or self.tracks.has_ready() or not self.was_looked_at():
            return False
        return not any(waits_out_its_quiet_period(track) for _, track in self.tracks.items())


def waits_out_its_quiet_period(track: Track) -> bool:
    """Whether a single pass comes back to this file, as it could not be judged at first sight."""
    step = track.step
    return track.place is Place.WAITING and step is not None and step.outcome is Outcome.UNSETTLED and track.visits < 2
