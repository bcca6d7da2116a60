"""Which routes there are: opened, scanned, listened to, and let go of. All that touches their folders is a worker's."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from canarysync.config import Route
from canarysync.daemon.desks import SLOW_S, Desk
from canarysync.discover import Hints
from canarysync.errors import CanarysyncError, IoTrouble, told
from canarysync.folder import Claims
from canarysync.lane import Chunk, Key, Lane
from canarysync.logs import where
from canarysync.outcomes import Tools
from canarysync.workers import Task

_log = logging.getLogger(__name__)

GONE_RESCAN_S = 5.0
"""How soon a folder that is gone is looked for again."""


@dataclass(frozen=True, slots=True)
class Opened:
    """``gone``: why the route cannot be opened now; ``error``: what went wrong otherwise."""

    desk: Desk
    gone: str = ""
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Scanned:
    """A part of a scan is there."""

    desk: Desk
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class Answered:
    """A folder that hangs answered a knock."""

    desk: Desk


@dataclass(frozen=True, slots=True)
class Closed:
    """A route was let go of."""

    desk: Desk


Do = Callable[[Callable[[], Opened | Scanned | Answered | Closed]], Task]
"""Let a worker do a job, and hand in what came of it."""

Lend = Callable[[Callable[[], None]], None]
"""Let a worker do a job that hands in nothing."""


class Roster:
    """``desks`` are the routes of the config, in its order; ``leaving`` those that were, as long as they have anything
    in hand: it is finished, and nothing new is begun."""

    def __init__(self, do: Do, lend: Lend, hint: Callable[[Desk, Hints], None], *, watching: bool) -> None:
        self.desks: list[Desk] = []
        self.leaving: list[Desk] = []
        self._do = do
        self._lend = lend
        self._hint = hint
        self._watching = watching
        self._claims = Claims()

    # --- coming and going ----------------------------------------------------------------------------

    def change(self, routes: Sequence[Route], tools: Tools, *, afresh: bool = False) -> None:
        """Let the desks be those of ``routes``. One whose route is the same as before stays as it is, in the middle of
        its work, unless all are to begin ``afresh``; a changed one leaves, and another takes its place."""
        staying = {} if afresh else {desk.lane.route: desk for desk in self.desks if desk.lane.route in routes}
        self.leaving += [desk for desk in self.desks if desk not in staying.values()]
        self.desks[:] = [staying.get(route) or self._desk(route, tools) for route in routes]

    def _desk(self, route: Route, tools: Tools) -> Desk:
        def hint(hints: Hints) -> None:
            self._hint(desk, hints)

        desk = Desk(Lane(route, tools, hint, self._lend, watching=self._watching, claims=self._claims))
        return desk

    def let_go(self) -> None:
        """Close what leaves, and has finished what it had in hand."""
        for desk in self.leaving:
            if not desk.closing and not any(desk.in_hand()):
                self.close(desk)

    def close(self, desk: Desk) -> None:
        """Give up its folder."""
        desk.closing = True
        desk.scan = self._do(lambda: _closed(desk))

    def closed(self, message: Closed) -> None:
        """A desk has given up its folder."""
        message.desk.scan = None
        if message.desk in self.leaving:
            self.leaving.remove(message.desk)

    def is_settled(self) -> bool:
        """Whether all that are to come have come, and all that leave have left."""
        return not self.leaving and all(desk.opened for desk in self.desks)

    # --- opening -------------------------------------------------------------------------------------

    def open(self, desk: Desk) -> None:
        """Take its folder for the first time, before any scan."""
        desk.scan = self._do(lambda: _opened(desk))

    def opened(self, message: Opened, *, starting: bool) -> None:
        """A desk was opened, or not. While all are ``starting``, what is no passing trouble may yet stop the start:
        see ``started``."""
        desk, error = message.desk, message.error
        desk.scan, desk.opened = None, True
        if error is not None and starting and not isinstance(error, IoTrouble):
            desk.refused = error
        elif error is not None:
            _lost(desk, error)
        elif message.gone:
            desk.lost(message.gone)

    def started(self, *, one_stops_all: bool) -> None:
        """All had their time to open. Raises what is wrong with the first of them if the start came to nothing, as all
        were refused, or if ``one_stops_all``; else that is a route's own trouble."""
        refused = {desk: desk.refused for desk in self.desks if desk.refused is not None}
        if refused and (one_stops_all or len(refused) == len(self.desks)):
            raise next(iter(refused.values()))
        for desk, error in refused.items():
            desk.refused = None
            _lost(desk, error)

    # --- scans ---------------------------------------------------------------------------------------

    def start_scans(self, now_s: float, *, again: bool) -> None:
        """Scan what wants it, and if ``again``, what is due."""
        for desk in self.desks:
            if self._may_scan(desk) and (desk.scan_wanted or (again and now_s >= desk.next_scan_s)):
                desk.scan_wanted = False
                self._scan(desk)

    def _may_scan(self, desk: Desk) -> bool:
        return desk.may_scan() and not any(_meet(desk, other) for other in self.leaving)

    def _scan(self, desk: Desk) -> None:
        desk.scan = self._do(lambda: Scanned(desk, desk.lane.scan_on()))

    def scan_due_s(self) -> float | None:
        """When the next scan is due."""
        return min((desk.next_scan_s for desk in self.desks if self._may_scan(desk)), default=None)

    def scanned(self, message: Scanned) -> None:
        """Take in a part of a scan."""
        desk, chunk = message.desk, message.chunk
        desk.scan, desk.opened, desk.listed_s = None, True, time.monotonic()
        desk.scanned_s = desk.listed_s if chunk.finished else desk.scanned_s
        if chunk.gone:
            desk.lost(chunk.trouble, chunk.hint)
        else:
            desk.found_again()
        for key in (*chunk.keys, *map(Key, chunk.names)):
            desk.tracks.found(key)
        for key in chunk.resolved:
            desk.tracks.hinted(key)
        if chunk.finished or chunk.gone:
            desk.scans_finished += 1
            pause_s = min(desk.lane.rescan_s, GONE_RESCAN_S) if chunk.gone else desk.lane.rescan_s
            desk.next_scan_s = time.monotonic() + pause_s
        else:
            desk.scan_wanted = True

    # --- those that hang -----------------------------------------------------------------------------

    def listen(self, now_s: float) -> None:
        """Notice who hangs, and knock there now and then."""
        for desk in (*self.desks, *self.leaving):
            desk.listen(now_s)
            if desk.visits:
                desk.lane.look_after_visits()
            if desk.hangs and desk.knocking is None and now_s - desk.answered_s > SLOW_S:
                self._knock(desk)

    def _knock(self, desk: Desk) -> None:
        desk.knocking = self._do(lambda: _answered(desk))

    def answered(self, message: Answered) -> None:
        """A folder has answered a knock: if its visits do not go on now, they never will."""
        message.desk.knocking, message.desk.answered_s = None, time.monotonic()


def _opened(desk: Desk) -> Opened:
    try:
        return Opened(desk, gone=desk.lane.open())
    except Exception as error:  # not swallowed: it is for the loop to raise
        return Opened(desk, error=error)


def _lost(desk: Desk, error: Exception) -> None:
    if isinstance(error, CanarysyncError):
        desk.lost(told(error), error.hint)
    else:
        desk.lost(f"a defect: {where(error)}")


def _answered(desk: Desk) -> Answered:
    desk.lane.knock()
    return Answered(desk)


def _closed(desk: Desk) -> Closed:
    with suppress(OSError):  # a file system that fails at the last moment
        desk.lane.leave()
    return Closed(desk)


def _meet(one: Desk, other: Desk) -> bool:
    """Whether two desks are of one route, or of one folder: the one can open only when the other has let go."""
    mine, its = one.lane.route, other.lane.route
    folders = {mine.drop, mine.done, mine.failed} & {its.drop, its.done, its.failed}
    return bool(folders) or mine.name == its.name
