"""The only loop: wake-ups, timers, workers, the API's gate, drain. The only place that waits."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from random import random
from types import FrameType

from canarysync import gate
from canarysync.config import Route
from canarysync.errors import IoTrouble, LedgerError
from canarysync.folder import check_apart
from canarysync.health import RouteVitals, Vitals
from canarysync.lane import Chunk, Key, Lane, Visit
from canarysync.ledger import Entry
from canarysync.logs import event
from canarysync.model import Observation
from canarysync.outcomes import Tools
from canarysync.recovery import part_with_orphans
from canarysync.report import API, LEDGER, Event, Reporter, Summary
from canarysync.step import ApiDown, ApiUp, Outcome, Step
from canarysync.tracks import Place, Track, Tracks
from canarysync.workers import Workers

_log = logging.getLogger(__name__)

_INBOX_MOST = 50_000

GONE_RESCAN_S = 5.0
"""How soon a folder that is gone is looked for again."""

BURST = 1000
"""So many events since the last scan may have overflowed the kernel's queue: scan again soon."""


@dataclass(frozen=True, slots=True)
class _Hint:
    lane: int
    name: str


@dataclass(frozen=True, slots=True)
class _Visited:
    lane: int
    key: Key
    visit: Visit
    probe: bool


@dataclass(frozen=True, slots=True)
class _Scanned:
    lane: int
    chunk: Chunk


@dataclass(frozen=True, slots=True)
class _Stop:
    signal: int


@dataclass(frozen=True, slots=True)
class _Ask:
    answer: Callable[[Vitals], None]


_Message = _Hint | _Visited | _Scanned | _Stop | _Ask


@dataclass(slots=True)
class _Desk:
    """One lane as the loop sees it."""

    lane: Lane
    tracks: Tracks[Key] = field(default_factory=lambda: Tracks(time.monotonic))
    scanning: bool = False
    scan_wanted: bool = True
    scans_finished: int = 0
    gone: bool = False
    trouble: str = ""
    hints: int = 0
    next_scan_s: float = 0.0
    scanned_s: float | None = None
    listed_s: float = field(default_factory=time.monotonic)
    visited_s: float = field(default_factory=time.monotonic)

    def vitals(self) -> RouteVitals:
        """How the route is."""
        lane, tracks = self.lane, self.tracks
        return RouteVitals(
            lane.route.name, lane.rescan_s, tracks.tally(), tracks.crowded(), self.trouble, self.scanned_s,
            self.listed_s, self.visited_s,
        )  # fmt: skip


class Daemon:
    """Runs the pipelines of all routes until it is stopped, or for one pass."""

    def __init__(
        self,
        routes: Sequence[Route],
        tools: Tools,
        concurrency: int,
        *,
        once: bool = False,
        wait_s: float = 0.0,
        observer: Callable[[Event], None] = lambda event: None,
    ) -> None:
        """``once``: end when every file that is there has had its try; ``wait_s``: go on for up to so long while
        some wait. ``observer`` is called in the loop for every visit that ended."""
        self._inbox: SimpleQueue[_Message] = SimpleQueue()
        # One more for each route: a scan must not have to wait for slow requests.
        self._workers: Workers[_Message] = Workers(concurrency + len(routes), self._inbox.put)
        self._desks = [
            _Desk(Lane(route, tools, self._hinter(number), watching=not once)) for number, route in enumerate(routes)
        ]
        self._ledger = tools.ledger
        self._now = tools.now
        self._concurrency = concurrency
        self._once = once
        self._wait_s = wait_s
        self._until_s = 0.0
        self._reporter = Reporter(observer)
        self._gate = gate.opened()
        self._visiting = 0
        self._turn = 0
        self._stopped_by: int | None = None

    # --- life ----------------------------------------------------------------------------------------

    def run(self) -> Summary:
        """Open all routes, work, drain, close. Raises HeldError or SetupError before any file was touched, LedgerError
        when the ledger turns out to be damaged: it is mended at the next start."""
        try:
            check_apart([desk.lane.route for desk in self._desks])
            for desk in self._desks:
                self._open(desk)
            part_with_orphans(self._ledger, {desk.lane.route.name for desk in self._desks}, self._now())
            self._set_to_work()
            self._loop()
        finally:
            self._drain()
            for desk in self._desks:
                desk.lane.close()
        return self._summed_up()

    def stop(self, signal_number: int = signal.SIGTERM) -> None:
        """Ask the loop to drain and end. Safe from a signal handler and from any thread."""
        self._inbox.put(_Stop(signal_number))

    def vitals(self, patience_s: float) -> Vitals | None:
        """What the loop says of itself; None if it does not answer within ``patience_s``. Safe from any thread."""
        answer: SimpleQueue[Vitals] = SimpleQueue()
        self._inbox.put(_Ask(answer.put))
        try:
            return answer.get(timeout=patience_s)
        except Empty:
            return None

    def _vitals(self) -> Vitals:
        busy = self._visiting + sum(desk.scanning for desk in self._desks)
        routes = [desk.vitals() for desk in self._desks]
        return Vitals(time.monotonic(), routes, self._gate.reason, self._concurrency + len(routes), busy)

    def stop_on_signals(self) -> None:
        """SIGTERM and SIGINT drain; a second SIGINT ends at once, as a crash would: the ledger allows for it."""

        def handle(number: int, frame: FrameType | None) -> None:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            self.stop(number)

        signal.signal(signal.SIGTERM, handle)
        signal.signal(signal.SIGINT, handle)

    def _set_to_work(self) -> None:
        """Start the workers; where there are fewer of them than wanted, fewer uploads go at once."""
        wanted, started = self._concurrency + len(self._desks), self._workers.start()
        if started < wanted:
            self._concurrency = max(started - len(self._desks), 1)
            event(
                _log,
                logging.WARNING,
                "the system gives fewer threads than wanted: fewer uploads go at once",
                wanted=wanted,
                started=started,
            )

    def _open(self, desk: _Desk) -> None:
        try:
            gone = desk.lane.open()
        except IoTrouble as error:  # one route's, which may pass: the others go on
            gone = f"cannot {error.operation} {error.path}: {error.cause}"
        if gone:
            self._lost(desk, gone)

    def _hinter(self, number: int) -> Callable[[str], None]:
        def hint(name: str) -> None:
            if self._inbox.qsize() < _INBOX_MOST:
                self._inbox.put(_Hint(number, name))
            else:  # a flood: one rescan finds them all
                self._desks[number].scan_wanted = True

        return hint

    # --- the loop ------------------------------------------------------------------------------------

    def _loop(self) -> None:
        self._until_s = time.monotonic() + self._wait_s
        while self._stopped_by is None:
            now_s = time.monotonic()
            self._reporter.turn()
            self._ledger.check_sound()
            self._start_scans(now_s)
            self._start_visits(now_s)
            if self._once and self._all_tried(now_s):
                return
            self._hear(self._pause_s(now_s))

    def _hear(self, pause_s: float | None) -> None:
        """Wait for one message, then take all that are there."""
        if self._inbox.empty() and not self._visiting:
            self._flush()
        try:
            message = self._inbox.get(timeout=pause_s)
            while True:
                self._take(message)
                message = self._inbox.get_nowait()
        except Empty:
            return

    def _flush(self) -> None:
        """With nothing to do, let others see what was filed last. That it was can be found out again."""
        try:
            self._ledger.flush()
            self._reporter.standing(LEDGER, "")
        except LedgerError as error:
            self._reporter.standing(LEDGER, f"cannot {error.operation}: {error.cause}")

    def _take(self, message: _Message) -> None:
        match message:
            case _Hint(lane, name):
                desk = self._desks[lane]
                desk.hints += 1
                desk.scan_wanted |= desk.hints == BURST
                if desk.lane.wants(name):
                    desk.tracks.hinted(Key(name))
            case _Visited():
                self._visited(message)
            case _Scanned(lane, chunk):
                self._scanned(self._desks[lane], chunk)
            case _Stop(number):
                self._stopped_by = number
            case _Ask(answer):
                answer(self._vitals())

    def _pause_s(self, now_s: float) -> float | None:
        """Seconds until the next thing is due; None while only messages can bring any."""
        due = [desk.tracks.next_due_s() for desk in self._desks]
        due += [desk.next_scan_s for desk in self._desks if not self._once and _may_scan(desk)]
        if self._gate.reason and not self._gate.probing and any(d.tracks.has_blocked() for d in self._desks):
            due.append(self._gate.until_s)
        if self._once:
            due.append(max(self._until_s, now_s + 0.1))
        times = [at for at in due if at is not None]
        return max(min(times) - now_s, 0.0) if times else None

    # --- scans ---------------------------------------------------------------------------------------

    def _start_scans(self, now_s: float) -> None:
        for number, desk in enumerate(self._desks):
            if not _may_scan(desk):
                continue
            if desk.scan_wanted or (now_s >= desk.next_scan_s and not self._once):
                desk.scanning, desk.scan_wanted = True, False
                self._start_scan(number, desk.lane)

    def _start_scan(self, number: int, lane: Lane) -> None:
        self._workers.do(lambda: _Scanned(number, lane.scan_on()))

    def _scanned(self, desk: _Desk, chunk: Chunk) -> None:
        desk.scanning, desk.listed_s = False, time.monotonic()
        if chunk.finished:
            desk.scanned_s = desk.listed_s
        if chunk.gone:
            self._lost(desk, chunk.trouble)
        elif desk.gone:
            desk.gone, desk.trouble = False, ""
            event(_log, logging.WARNING, "folder is back", route=desk.lane.route.name)
        for key in (*chunk.keys, *map(Key, chunk.names)):
            desk.tracks.found(key)
        for key in chunk.resolved:
            desk.tracks.hinted(key)
        if chunk.finished or chunk.gone:
            desk.scans_finished += 1
            pause_s = min(desk.lane.rescan_s, GONE_RESCAN_S) if chunk.gone else desk.lane.rescan_s
            desk.next_scan_s, desk.hints = time.monotonic() + pause_s, 0
        else:
            desk.scan_wanted = True

    def _lost(self, desk: _Desk, trouble: str) -> None:
        if desk.gone and desk.trouble == trouble:
            return
        desk.gone, desk.trouble = True, trouble
        route = desk.lane.route
        event(_log, logging.ERROR, trouble, route=route.name, folder=route.drop)

    # --- visits --------------------------------------------------------------------------------------

    def _start_visits(self, now_s: float) -> None:
        """Fill the workers, the routes in turn; behind a shut gate one probe, and what needs no API."""
        for desk in self._desks:
            if self._once and now_s >= self._until_s:  # a second try is for the next run
                desk.tracks.ripen(now_s, _waits_out_its_quiet_period)
            else:
                desk.tracks.ripen(now_s)
        if self._gate.reason and gate.may_send(self._gate, now_s):
            self._probe()
        idle_turns = 0
        while self._visiting < self._concurrency and idle_turns < len(self._desks):
            self._turn = (self._turn + 1) % len(self._desks)
            taken = self._desks[self._turn].tracks.take()
            if taken is None:
                idle_turns += 1
                continue
            idle_turns = 0
            self._start_visit(self._turn, *taken, may_send=not self._gate.reason)

    def _probe(self) -> None:
        for number, desk in enumerate(self._desks):
            taken = desk.tracks.take_blocked()
            if taken is not None:
                self._gate = gate.probe(self._gate)
                self._start_visit(number, *taken, may_send=True, probe=True)
                return

    def _start_visit(self, number: int, key: Key, track: Track, *, may_send: bool, probe: bool = False) -> None:
        lane = self._desks[number].lane
        since: Observation | None = track.since
        self._visiting += 1
        self._workers.do(lambda: _Visited(number, key, lane.visit(key, since, may_send), probe))

    def _visited(self, message: _Visited) -> None:
        self._visiting -= 1
        desk, step = self._desks[message.lane], message.visit.step
        desk.visited_s = time.monotonic()
        self._learn(step, message.probe)
        before, age_s = desk.tracks.last_step(message.key), desk.tracks.age_s(message.key)
        desk.tracks.visited(message.key, step, message.visit.since, time.monotonic())
        self._pass_on(None if step.outcome is Outcome.TWIN else step.entry)
        self._pass_on(step.parted)
        if step.outcome is Outcome.ON_HOLD and desk.lane.hold is None:
            desk.scan_wanted = True  # which tells of the hold
        if step.outcome is Outcome.BLOCKED and not self._gate.reason:
            desk.tracks.unblock()  # the gate opened while this visit was under way
        if step.parted is not None and step.parted.detached:
            desk.tracks.found(Key(message.key.name, step.parted.id))
        self._reporter.step(desk.lane.route.name, message.key.name, step, before, age_s)

    def _pass_on(self, entry: Entry | None) -> None:
        """An entry came further: files in all routes may wait for it, as its twins."""
        if entry is not None:
            for desk in self._desks:
                desk.tracks.heard_of(entry.id)

    def _learn(self, step: Step, probe: bool) -> None:
        """What the visit says of the API."""
        if isinstance(step.api, ApiUp) and self._gate.asked and not probe:
            return  # it was under way when the API asked for a pause
        if isinstance(step.api, ApiUp):
            self._reporter.standing(API, "")
            self._gate = gate.opened()
            for desk in self._desks:
                desk.tracks.unblock()
        elif isinstance(step.api, ApiDown):
            if not self._gate.reason:
                self._reporter.standing(API, step.api.reason)
            now_s = time.monotonic()
            if probe or not self._gate.reason:
                self._gate = gate.shut(self._gate, step.api.reason, now_s, random(), step.api.pause_s)
            elif step.api.pause_s:
                self._gate = gate.extend(self._gate, now_s, step.api.pause_s)
        elif probe:
            self._gate = gate.not_used(self._gate)

    # --- one pass ------------------------------------------------------------------------------------

    def _all_tried(self, now_s: float) -> bool:
        """Whether a single pass is over: everything found has had its try, or waits for another run."""
        if self._visiting or not all(_has_been_through(desk) for desk in self._desks):
            return False
        tracks = [track for desk in self._desks for _, track in desk.tracks.items()]
        return now_s >= self._until_s or all(track.step is not None and track.step.held for track in tracks)

    def _drain(self) -> None:
        """Finish the attempts in hand; start no others."""
        if self._visiting:
            event(_log, logging.INFO, "draining", attempts_in_hand=self._visiting)
        self._workers.finish()
        while not self._inbox.empty():
            message = self._inbox.get_nowait()
            if isinstance(message, _Visited):
                self._visited(message)

    def _summed_up(self) -> Summary:
        self._reporter.close()
        summary = self._reporter.summary
        summary.stopped_by = self._stopped_by
        for desk in self._desks:
            for _, track in desk.tracks.items():
                self._reporter.left(track.step)
            summary.skipped.update(desk.lane.skipped)
            if desk.gone:
                summary.gone.append(desk.lane.route.name)
            if desk.lane.hold is not None:
                summary.on_hold.append(desk.lane.route.name)
        return summary


def _may_scan(desk: _Desk) -> bool:
    """One scan at a time, and none while there is no room for what it would find."""
    return not desk.scanning and not desk.tracks.crowded()


def _has_been_through(desk: _Desk) -> bool:
    """Whether a lane has nothing left that a single pass may still try."""
    if desk.scanning or desk.tracks.has_ready():
        return False
    # With a full window of files that all wait, the scan would go on only once they have moved.
    if not (desk.scans_finished or desk.gone or desk.tracks.crowded()):
        return False
    return not any(_waits_out_its_quiet_period(track) for _, track in desk.tracks.items())


def _waits_out_its_quiet_period(track: Track) -> bool:
    step = track.step
    return track.place is Place.WAITING and step is not None and step.outcome is Outcome.UNSETTLED and track.visits < 2
