"""The only loop: wake-ups, timers, workers, reloads, drain. The only place that waits."""

from __future__ import annotations

import logging
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial
from math import inf
from queue import Empty, SimpleQueue

from canarysync.daemon.desks import SLOW_S, Desk, waits_out_its_quiet_period
from canarysync.daemon.messages import Ask, Hinted, Message, Reload, Stop, Work
from canarysync.daemon.orphans import Orphans
from canarysync.daemon.reload import tell_change, tell_refusal
from canarysync.daemon.roster import Answered, Closed, Opened, Roster, Scanned
from canarysync.daemon.signals import on_signals
from canarysync.daemon.standing import Heartbeat, in_words, is_alive
from canarysync.daemon.visits import Visited, Visits
from canarysync.daemon.word import Word
from canarysync.discover import Hints
from canarysync.errors import CanarysyncError, LedgerError, told
from canarysync.health import Vitals
from canarysync.instant import for_people
from canarysync.logs import event, in_one_write
from canarysync.notify import Notifier
from canarysync.pulse import Pulse
from canarysync.report import LEDGER, Event, Reporter, Summary
from canarysync.workers import Workers

_log = logging.getLogger(__name__)

_INBOX_MOST = 1000

_ROUND_EVERY_S = 0.02
"""While visits end one after the other, the loop looks after all the rest so often, and not after each of them."""

OPEN_S = 10.0
"""So long the start waits for routes to open. One that takes longer goes on by itself. One that cannot be opened has
its own trouble, and stops the others only in a single pass, whose exit code is all that anybody looks at."""

READY_S = 30.0
"""The service is ready when every route that can be had was scanned once; and after so many seconds in any case. A
share that hangs, or a backlog larger than a scan's window, must not hold up `systemctl start`, and what is ordered
after it, until systemd gives up (90 s) and kills what works for the other routes. STATUS says what is missing."""

DRAIN_S = 90.0
"""So long a stop waits for visits in hand; with the default time-outs an API call ends by itself before that. What is
cut off is read back at the next start. Together with CLOSE_S, and END_S of remote.py, it is less than the unit's
TimeoutStopSec (2 min)."""

CLOSE_S = 10.0
"""So long a stop waits for the routes to let go of their folders."""


class Daemon:
    """Runs the pipelines of all routes until it is stopped, or for one pass."""

    def __init__(
        self,
        work: Work,
        *,
        once: bool = False,
        wait_s: float = 0.0,
        observer: Callable[[Event], None] = lambda event: None,
        notifier: Notifier | None = None,
        reread: Callable[[], Work] | None = None,
        publish: Callable[[Pulse], None] = lambda pulse: None,
    ) -> None:
        """``once``: end when every file that is there has had its try; ``wait_s``: go on for up to so long while
        some wait. ``observer`` is called in the loop for every visit that ended. ``reread`` gives the work anew, as the
        config now has it, or raises CanarysyncError. ``publish`` is given word of it all for others, now and then."""
        self._inbox: SimpleQueue[Message] = SimpleQueue()
        self._workers: Workers[Message] = Workers(self._inbox.put)
        self._roster = Roster(self._workers.do, self._workers.lend, self._hint, watching=not once)
        self._roster.change(work.routes, work.tools)
        self._desks = self._roster.desks
        self._work = work
        self._past: list[Work] = []
        self._reporter = Reporter(observer)
        self._ledger, self._now = work.tools.ledger, work.tools.now
        self._visits = Visits(self._desks, self._inbox.put, self._reporter, self._now)
        self._visits.pace(work.traffic, work.concurrency, work.rate_per_s)
        self._heart = Heartbeat(notifier or Notifier({}))
        self._word = Word(self._desks, self._visits, self._now, publish, once=once)
        self._once = once
        self._wait_s = wait_s
        self._until_s = 0.0
        self._round_s = self._rounded_s = 0.0
        self._ready_by_s = 0.0
        self._starting = True
        self._reread = reread
        self._refusal = ""
        self._orphans = Orphans(self._ledger, self._now, self._reporter, all_in_one=once)
        self._checked = not once  # a single pass may need no requests, and waits for nothing then
        self._stopped_by: int | None = None

    # --- life ----------------------------------------------------------------------------------------

    def run(self) -> Summary:
        """Open all routes, work, drain, close. Raises what no route could be opened for (HeldError, SetupError), or in
        a single pass one of them, before any file was touched; LedgerError
        when the ledger turns out to be damaged: it is mended at the next start."""
        self._ready_by_s = time.monotonic() + READY_S
        try:
            self._open_all()
            self._loop()
        finally:
            self._drain()
        return self._summed_up()

    def stop(self, signal_number: int = signal.SIGTERM) -> None:
        """Ask the loop to drain and end. Safe from a signal handler and from any thread."""
        self._inbox.put(Stop(signal_number))

    def reload(self) -> None:
        """Ask the loop to read the config again. Safe from a signal handler and from any thread."""
        self._inbox.put(Reload())

    def vitals(self, patience_s: float) -> Vitals | None:
        """What the loop says of itself; None if it does not answer within ``patience_s``. Safe from any thread."""
        answer: SimpleQueue[Vitals] = SimpleQueue()
        self._inbox.put(Ask(answer.put))
        try:
            return answer.get(timeout=patience_s)
        except Empty:
            return None

    def _vitals(self) -> Vitals:
        now_s, visits, workers = time.monotonic(), self._visits, self._workers
        routes = [desk.vitals(now_s) for desk in self._desks]
        return Vitals(now_s, routes, visits.down, workers.size, workers.busy, visits.limit.now, visits.in_flight)

    def obey_signals(self) -> None:
        """SIGTERM and SIGINT stop it, SIGHUP reloads."""
        on_signals(self.stop, self.reload if self._reread else None)

    def _hint(self, desk: Desk, hints: Hints) -> None:
        if self._inbox.qsize() < _INBOX_MOST:
            self._inbox.put(Hinted(desk, hints))
        else:  # a flood: one rescan finds them all
            desk.scan_wanted = True

    def _open_all(self) -> None:
        """One after the other, in the config's order: what they tell the ledger is not to mix."""
        until_s = time.monotonic() + OPEN_S
        for desk in tuple(self._desks):
            if desk not in self._desks:  # a reload came meanwhile; what is new by it opens with its first scan
                continue
            self._roster.open(desk)
            end_s = max(until_s, time.monotonic() + 1.0)
            self._hear_until(partial(self._is_opened_or_stopped, desk), end_s)
        self._starting = False
        self._roster.started(one_stops_all=self._once)

    def _is_opened_or_stopped(self, desk: Desk) -> bool:
        return desk.scan is None or self._stopped_by is not None

    def _drain(self) -> None:
        """Finish what is in hand, and start nothing. A route that hangs is not waited for, whose lock ends with us."""
        self._starting = False
        in_hand = sum(len(desk.visits) for desk in self._all())
        self._heart.stopping(f"stopping, uploads in hand: {in_hand}")
        if in_hand:
            event(_log, logging.INFO, "draining", attempts_in_hand=in_hand)
        self._hear_until(lambda: not any(desk.is_busy() for desk in self._all()), time.monotonic() + DRAIN_S)
        closing = [desk for desk in self._all() if desk.closing or not any(desk.in_hand())]
        for desk in closing:
            if not desk.closing:
                self._roster.close(desk)
        self._hear_until(lambda: not any(desk.scan for desk in closing), time.monotonic() + CLOSE_S)
        left = ", ".join(desk.name for desk in self._all() if any(desk.in_hand()))
        if left:
            event(_log, logging.WARNING, "stopped with work in hand: it is taken up at the next start", routes=left)
        self._workers.finish(0.0 if left else CLOSE_S)
        self._word.leave_last(time.monotonic(), self._work.tools.calls.token_in_hand())

    def _all(self) -> Iterator[Desk]:
        yield from self._desks
        yield from self._roster.leaving

    # --- the loop ------------------------------------------------------------------------------------

    def _loop(self) -> None:
        self._until_s = time.monotonic() + self._wait_s
        while self._stopped_by is None:
            now_s = time.monotonic()
            if not self._checked and any(True for desk in self._desks for _ in desk.tracks.items()):
                self._work.check()
                self._checked = True
                self._until_s = time.monotonic() + self._wait_s
            if self._once and now_s >= self._until_s:  # a second try is for the next run
                self._visits.start(now_s, waits_out_its_quiet_period)
            else:
                self._visits.start(now_s)
            if now_s >= self._round_s:
                self._make_round(now_s)
                if self._once and self._all_tried(now_s):
                    return
            self._hear(self._pause_s(now_s))

    def _make_round(self, now_s: float) -> None:
        """All but the visits. While these come and go quickly there are rounds now and then; else whenever one of
        the things it looks after is due, or was heard of."""
        self._reporter.turn()
        self._ledger.check_sound()
        self._roster.let_go()
        while self._past and not self._roster.leaving:
            self._past.pop().close()
        self._part_with_orphans(now_s)
        self._roster.start_scans(now_s, again=not self._once)
        self._look_round(now_s)
        self._word.leave(now_s, self._work.tools.calls.token_in_hand())
        self._rounded_s, self._round_s = now_s, self._round_due_s(now_s)

    def _hear_until(self, done: Callable[[], bool], end_s: float) -> None:
        """Take messages, and start nothing, until ``done`` or the end has come."""
        while not done() and (now_s := time.monotonic()) < end_s:
            self._look_round(now_s)
            self._hear(min(end_s - now_s, 0.2))

    def _hear(self, pause_s: float | None) -> None:
        """Wait for one message, then take all that are there."""
        if self._inbox.empty() and not any(desk.visits for desk in self._all()):
            self._flush()
        try:
            message = self._inbox.get(timeout=pause_s)
            with in_one_write():
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
            self._reporter.standing(LEDGER, told(error))

    def _take(self, message: Message) -> None:
        if isinstance(message, Visited):
            self._visits.visited(message)
        elif isinstance(message, Hinted):
            message.desk.heard(message.hints)
        else:
            self._take_rare(message)
            self._round_s = 0.0
            return
        self._round_s = min(self._round_s, self._rounded_s + _ROUND_EVERY_S)

    def _take_rare(self, message: Message) -> None:
        match message:
            case Scanned():
                self._roster.scanned(message)
            case Opened():
                self._roster.opened(message, starting=self._starting)
            case Answered():
                self._roster.answered(message)
            case Closed(desk):
                if desk in self._roster.leaving:
                    for _, track in desk.tracks.items():
                        self._reporter.let_go(desk.name, track.step)
                self._roster.closed(message)
            case Reload():
                self._reload()
            case Ask(answer):
                answer(self._vitals())
            case Stop(number):
                self._stopped_by = number

    def _pause_s(self, now_s: float) -> float | None:
        """Seconds until the next visit or round is due; None while only messages can bring any."""
        due_s = self._round_s if (visit_s := self._visits.due_s()) is None else min(visit_s, self._round_s)
        return max(due_s - now_s, 0.0) if due_s < inf else None

    def _round_due_s(self, now_s: float) -> float:
        """When there is something to do beside the visits; inf while only messages can bring any."""
        due = [self._heart.due_s()]
        if not self._once:
            due.append(self._roster.scan_due_s())
        if self._roster.is_settled():
            due.append(self._orphans.due_s)
        if any(any(desk.in_hand()) for desk in self._all()):
            due.append(now_s + SLOW_S)  # is it stuck by then?
        if self._ready_by_s > now_s:
            due.append(self._ready_by_s)
        if self._once:
            due.append(max(self._until_s, now_s + 0.1))
        return min((at for at in due if at is not None), default=inf)

    def _look_round(self, now_s: float) -> None:
        """Does every route still answer? And let systemd know how it stands."""
        self._roster.listen(now_s)
        if any(desk.stuck for desk in self._all()):
            self._flush()  # what a clerk has noted that hangs now is not to keep others from the ledger
        if self._stopped_by is not None:
            return
        ready = now_s >= self._ready_by_s or (not self._starting and all(desk.was_looked_at() for desk in self._desks))
        self._heart.beat(
            now_s, ready=ready, alive=is_alive(self._desks, now_s),
            words=lambda: in_words(self._desks, self._visits, self._now(), now_s, self._refusal),
        )  # fmt: skip

    # --- reload --------------------------------------------------------------------------------------

    def _reload(self) -> None:
        """Take the config as it is now, or stay with the old one."""
        if self._reread is None or self._stopped_by is not None:
            return
        self._heart.reloading()
        try:
            self._change(self._reread())
        except CanarysyncError as error:
            self._refusal = f"the last reload was refused at {for_people(self._now())}, see the log"
            tell_refusal(error)
        self._heart.reloaded()

    def _change(self, work: Work) -> None:
        before = {desk.name: desk for desk in self._desks}
        new_api = work.tools is not self._work.tools
        self._roster.change(work.routes, work.tools, afresh=new_api)
        if new_api:
            self._past.append(self._work)
            self._visits.open_gate()
        self._visits.pace(work.traffic, work.concurrency, work.rate_per_s)
        self._work, self._refusal = work, ""
        self._orphans.changed()
        tell_change(before, {desk.name: desk for desk in self._desks})

    def _part_with_orphans(self, now_s: float) -> None:
        """Once all routes of the config have opened, under whatever names, and those before them are gone."""
        if self._roster.is_settled():
            self._orphans.turn(now_s, {desk.name for desk in self._desks})

    # --- one pass ------------------------------------------------------------------------------------

    def _all_tried(self, now_s: float) -> bool:
        """Whether a single pass is over: everything found has had its try, or waits for another run."""
        if any((desk.visits and not desk.hangs) or not desk.has_been_through() for desk in self._desks):
            return False
        tracks = [track for desk in self._desks for _, track in desk.tracks.items()]
        return now_s >= self._until_s or all(track.step is not None and track.step.held for track in tracks)

    def _summed_up(self) -> Summary:
        self._reporter.close()
        summary = self._reporter.summary
        summary.stopped_by = self._stopped_by
        for desk in self._desks:
            for _, track in desk.tracks.items():
                self._reporter.left(track.step)
            summary.skipped.update(desk.lane.skipped)
            if desk.gone or desk.hangs:
                summary.gone.append(desk.name)
            if desk.lane.hold is not None:
                summary.on_hold.append(desk.name)
        return summary
