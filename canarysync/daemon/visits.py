"""Whose turn is it? The routes share the API file by file, in turn; behind a shut gate one probe at a time goes out."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from random import random
from typing import NamedTuple

from canarysync import gate
from canarysync.concurrency import Limit
from canarysync.daemon.desks import SLOW_S, Desk
from canarysync.lane import Key, Visit
from canarysync.ledger import Entry
from canarysync.logs import event
from canarysync.rate import Bucket
from canarysync.report import API, Reporter
from canarysync.step import ApiDown, ApiUp, Outcome, Step
from canarysync.tracks import Track
from canarysync.traffic import Traffic

_log = logging.getLogger(__name__)

_TELL_LIMIT_EVERY_S = 5.0


class Visited(NamedTuple):
    """A visit ended."""

    desk: Desk
    key: Key
    visit: Visit


class Visits:
    """The visits of all ``desks`` (which may change), so many at a time as ``limit`` says; and the API's gate."""

    def __init__(
        self,
        desks: Sequence[Desk],
        hand_in: Callable[[Visited], None],
        reporter: Reporter,
        now: Callable[[], datetime],
    ) -> None:
        """``hand_in`` is called in a worker, for each visit that has ended."""
        self._desks = desks
        self._hand_in = hand_in
        self._reporter = reporter
        self._now = now
        self.limit = Limit()
        self._fixed: int | None = None
        self._traffic = Traffic()
        self._bucket: Bucket | None = None
        self._short_of_tokens = False
        self._told_limit, self._tell_limit_s = self.limit.now, 0.0
        self._gate = gate.opened()
        self.down_since: datetime | None = None
        self._probe: tuple[Desk, Key] | None = None
        self._turn = 0

    def pace(self, traffic: Traffic, fixed: int | None, rate_per_s: float | None) -> None:
        """From now on ``fixed`` visits at a time, or as many as ``traffic`` shows to be good where that is None; and
        at most so many a second, if that is not None. A limit that was found is kept: it is the same API."""
        self._traffic = traffic
        if fixed != self._fixed:
            self._fixed, self.limit = fixed, Limit(fixed, fixed) if fixed else Limit()
        if rate_per_s != (self._bucket and self._bucket.per_s):
            self._bucket = Bucket(rate_per_s) if rate_per_s else None

    @property
    def finds_itself(self) -> bool:
        """Whether the limit is not a fixed one."""
        return self._fixed is None

    @property
    def in_flight(self) -> int:
        """How many requests to the API are under way."""
        return self._traffic.in_flight

    @property
    def down(self) -> str:
        """Why the API cannot be used now; empty while it can."""
        return self._gate.reason

    @property
    def down_until_s(self) -> float:
        """When the API is probed next (monotonic)."""
        return self._gate.until_s

    @property
    def failures(self) -> int:
        """How many probes in a row the API has not answered."""
        return self._gate.failures

    def due_s(self) -> float | None:
        """When a visit is due by itself (monotonic); None while there is none."""
        due = [at for desk in self._desks if (at := desk.tracks.next_due_s()) is not None]
        if self._gate.reason and not self._gate.probing and self._could_probe():
            due.append(self._gate.until_s)
        if self._bucket is not None and self._short_of_tokens:
            due.append(self._bucket.due_s())
        return min(due, default=None)

    def _could_probe(self) -> bool:
        return any(desk.tracks.has_blocked() and self._has_room(desk) for desk in self._desks)

    # --- out -----------------------------------------------------------------------------------------

    def start(self, now_s: float, wanted: Callable[[Track], bool] = lambda track: True) -> None:
        """Fill the workers with what is ready, or is due and ``wanted``.

        A visit that is stuck in its folder does not count for the other routes, only against its own: each may have
        as many visits under way as the limit says. When such a folder answers again, its visits go on, all at once,
        beside those that took their place; so many, once. A rate limit counts visits that may send, whether they do.
        """
        for desk in self._desks:
            desk.tracks.ripen(now_s, wanted)
        self._learn_limit(now_s)
        self._probe_if_due(now_s)
        room = self.limit.now
        for desk in self._desks:
            room -= len(desk.visits) - desk.stuck
        idle_turns = 0
        while room > 0 and idle_turns < len(self._desks) and self._may_begin(now_s):
            desk = self._next()
            taken = desk.tracks.take() if self._has_room(desk) else None
            if taken is None:
                idle_turns += 1
                continue
            idle_turns, room = 0, room - 1
            self._visit(desk, *taken, may_send=not self._gate.reason)
        if room <= 0:
            self.limit.reached()

    def _learn_limit(self, now_s: float) -> None:
        for sample in self._traffic.heard():
            self.limit.learn(sample, now_s)
        told = self._told_limit
        if now_s >= self._tell_limit_s and not told / 2 <= self.limit.now <= 2 * told:
            self._told_limit, self._tell_limit_s = self.limit.now, now_s + _TELL_LIMIT_EVERY_S
            event(_log, logging.DEBUG, "another limit suits the API", uploads_at_once=self.limit.now, before=told)

    def _may_begin(self, now_s: float) -> bool:
        """Whether the rate limit lets one more visit begin. One that may not send is free."""
        self._short_of_tokens = not self._gate.reason and self._bucket is not None and not self._bucket.has(now_s)
        return not self._short_of_tokens

    def _next(self) -> Desk:
        self._turn = (self._turn + 1) % len(self._desks)
        return self._desks[self._turn]

    def _has_room(self, desk: Desk) -> bool:
        return len(desk.visits) < self.limit.now

    def _probe_if_due(self, now_s: float) -> None:
        if self._probe is not None and _is_stuck(*self._probe, now_s):  # it may never end: another takes its place
            self._probe, self._gate = None, gate.not_used(self._gate)
        if not self._gate.reason or not gate.may_send(self._gate, now_s):
            return
        for desk in (self._next() for _ in range(len(self._desks))):
            taken = desk.tracks.take_blocked() if self._has_room(desk) else None
            if taken is not None:
                self._gate, self._probe = gate.probe(self._gate), (desk, taken[0])
                self._visit(desk, *taken, may_send=True)
                return

    def _visit(self, desk: Desk, key: Key, track: Track, *, may_send: bool) -> None:
        if may_send and self._bucket is not None:
            self._bucket.spend()
        lane, since = desk.lane, track.since
        desk.visits[key] = lane.visit(key, since, may_send, lambda visit: self._hand_in(Visited(desk, key, visit)))

    # --- in ------------------------------------------------------------------------------------------

    def visited(self, message: Visited) -> None:
        """Take in what came of a visit."""
        desk, key, step = message.desk, message.key, message.visit.step
        probe = self._probe == (desk, key)
        if probe:  # whatever came of it, and though its desk may have left: another may take its place
            self._probe, self._gate = None, gate.not_used(self._gate)
        del desk.visits[key]
        if desk in self._desks:  # else it left, perhaps with the API that it knew
            self._learn(step, probe)
        before, age_s = desk.tracks.last_step(key), desk.tracks.age_s(key)
        now_s = desk.visited_s = time.monotonic()
        if desk.stuck:  # perhaps it was this one
            desk.listen(now_s)
        desk.tracks.visited(key, step, message.visit.since, now_s)
        self._pass_on(None if step.outcome is Outcome.TWIN else step.entry)
        self._pass_on(step.parted)
        if step.outcome is Outcome.ON_HOLD and desk.lane.hold is None:
            desk.scan_wanted = True  # which tells of the hold
        if step.outcome is Outcome.BLOCKED and not self._gate.reason:
            desk.tracks.unblock()  # the gate opened while this visit was under way
        if step.parted is not None and step.parted.detached:
            desk.tracks.found(Key(key.name, step.parted.id))
        self._reporter.step(desk.name, key.name, step, before, age_s)

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
            if self._gate.reason:
                self.open_gate()
        elif isinstance(step.api, ApiDown):
            self._shut(step.api, probe)

    def _shut(self, api: ApiDown, probe: bool) -> None:
        if not self._gate.reason:
            self.down_since = self._now()
        now_s = time.monotonic()
        if probe or not self._gate.reason:
            self._reporter.standing(API, api.reason)
            self._gate = gate.shut(self._gate, api.reason, now_s, random(), api.pause_s)
        elif api.pause_s:
            self._gate = gate.extend(self._gate, now_s, api.pause_s)

    def open_gate(self) -> None:
        """The API answers, or is another one now."""
        self._reporter.standing(API, "")
        self._gate, self._probe = gate.opened(), None
        for desk in self._desks:
            desk.tracks.unblock()


def _is_stuck(desk: Desk, key: Key, now_s: float) -> bool:
    task = desk.visits.get(key)
    return task is None or task.silent_s(now_s) > SLOW_S
