"""What systemd hears of the daemon: is it ready, what is it doing, is it alive?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from canarysync.daemon.desks import Desk
from canarysync.daemon.visits import Visits
from canarysync.display import shown
from canarysync.instant import for_people
from canarysync.notify import Notifier
from canarysync.tracks import Waiting

_STATUS_EVERY_S = 1.0

_MOST_ROUTES = 3
"""So many routes in trouble are named: `systemctl status` has one line for all."""


class Heartbeat:
    """READY, STATUS and WATCHDOG: each only when it is due, and a STATUS only when it is news."""

    def __init__(self, notifier: Notifier) -> None:
        self._notifier = notifier
        self._ready = False
        self._words = ""
        self._words_due_s = 0.0
        self._words_wait = False
        self._feed_every_s = notifier.watchdog_s / 2 if notifier.watchdog_s else None
        self._feed_due_s = 0.0

    def beat(self, now_s: float, *, ready: bool, alive: bool, words: Callable[[], str]) -> None:
        """Tell what is due at ``now_s`` (monotonic). While it is not ``alive``, the watchdog goes hungry."""
        if not self._notifier.listening:
            return
        if ready and not self._ready:
            self._words = words()
            self._ready = self._notifier.tell(STATUS=self._words, READY="1")  # else at the next beat: it must arrive
        self._words_wait = now_s < self._words_due_s
        if not self._words_wait:
            self._words_due_s = now_s + _STATUS_EVERY_S
            self._say(words())
        if self._feed_every_s and now_s >= self._feed_due_s:
            self._feed_due_s = now_s + self._feed_every_s
            if alive:
                self._notifier.tell(WATCHDOG="1")

    def due_s(self) -> float | None:
        """When to beat again, whatever happens."""
        due = [self._words_due_s] if self._words_wait else []
        due += [self._feed_due_s] if self._feed_every_s else []
        return min(due, default=None)

    def reloading(self) -> None:
        """A reload begins; ``reloaded`` is its end, whatever came of it."""
        self._notifier.reloading()

    def reloaded(self) -> None:
        if self._ready:  # else the start is still under way, and its end is that of the reload too
            self._ready = self._notifier.tell(READY="1")

    def stopping(self, words: str) -> None:
        """The end begins."""
        self._words = words
        self._notifier.tell(STOPPING="1", STATUS=words)

    def _say(self, words: str) -> None:
        if words != self._words:
            self._words = words
            self._notifier.tell(STATUS=words)


def is_alive(desks: Sequence[Desk], now_s: float) -> bool:
    """Whether the watchdog is to be fed, given that the loop turns.

    A route that hangs is no reason to be killed: it is said, and the others go on. Nor is it if all of them hang, on a
    server that is dead: a new process would hang just so, and be killed again, for as long as that takes; and the
    files wait as well with the old one, which goes on by itself when the server is back. But if *all* hang, and the
    folder of one of them answers a thread that takes no lock of ours, it is we who are stuck: that a restart mends.
    """
    return not all(desk.hangs for desk in desks) or not any(desk.answers(now_s) for desk in desks)


def in_words(desks: Sequence[Desk], visits: Visits, now: datetime, now_s: float, reload: str) -> str:
    """The daemon's state for people, in one line. ``reload``: what became of the last one, if it is worth a word."""
    ill = [desk for desk in desks if desk.gone or desk.hangs or not desk.was_looked_at()]
    many = f"{len(desks) - len(ill)} of {_counted(len(desks), 'route')}" if ill else _counted(len(desks), "route")
    parts = [f"watching {many}", _files(desks)]
    if visits.down and visits.down_since:
        parts.append(f"the API cannot be used since {for_people(visits.down_since)}: {visits.down}")
    parts += [_trouble(desk, now, now_s) for desk in ill[:_MOST_ROUTES]]
    parts += [f"{desk.name} is on hold" for desk in desks if desk.lane.hold is not None][:_MOST_ROUTES]
    parts += [f"{len(ill) - _MOST_ROUTES} more routes in trouble"] if len(ill) > _MOST_ROUTES else []
    return shown("; ".join(filter(None, [*parts, reload])), 1000)


def _files(desks: Sequence[Desk]) -> str:
    waits = sum((desk.tracks.tally().waiting for desk in desks), Counter())
    held, doubt = waits[Waiting.HELD], waits[Waiting.IN_DOUBT]
    waiting = waits.total() - held - doubt
    parts = ["1 waits" if waiting == 1 else f"{waiting} wait"] if waiting else []
    parts += [f"{doubt} in doubt"] if doubt else []
    parts += [f"{held} for a person (canarysync status)"] if held else []
    return ", ".join(parts) or "nothing waits"


def _trouble(desk: Desk, now: datetime, now_s: float) -> str:
    if desk.hangs_since_s is not None:
        return f"{desk.name} hangs since {for_people(now - timedelta(seconds=now_s - desk.hangs_since_s))}"
    return f"{desk.name}: {desk.trouble or 'the first look at its folder has not ended yet'}"


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
