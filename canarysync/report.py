"""What a run tells of itself: a log line for each file's end and each trouble, and a summary in the end."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from canarysync.errors import Exit
from canarysync.logs import event
from canarysync.model import State
from canarysync.step import FINAL, Outcome, Step
from canarysync.troubles import LINGER_S, Story, Troubles

_log = logging.getLogger(__name__)

NOT_BRIEF_S = 3600.0
"""What should pass by itself and has not after so long is worth a person's look."""


class Trouble(NamedTuple):
    """A kind of trouble: how bad it is, and the words for its beginning, for while it lasts, and for its end."""

    level: int
    begins: str
    lasts: str
    ends: str


_WAIT = ("files have to wait", "files still have to wait", "no file has to wait for this any longer")
OURS = Trouble(logging.ERROR, *_WAIT)
"""The system's trouble, a full disk or a missing right: it does not pass by itself."""
DEFERRED = Trouble(logging.INFO, *_WAIT)
IN_DOUBT = Trouble(
    logging.INFO, "scores are in doubt", "scores are still in doubt", "no score is in doubt for this any longer"
)
HELD = Trouble(
    logging.WARNING, "files are held for a person", "files are still held", "no file is held for this any longer"
)
API = Trouble(
    logging.WARNING, "the API cannot be used, files wait", "the API still cannot be used", "the API answers again"
)
LEDGER = Trouble(
    logging.ERROR, "the ledger cannot be written", "the ledger still cannot be written", "the ledger can be written"
)


class _Key(NamedTuple):
    trouble: Trouble
    route: str
    why: str


_LEFT = {
    Outcome.BLOCKED: "until the API can be used",
    Outcome.TWIN: "for a file with the same score",
    Outcome.UNSETTLED: "until it is quiet",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One visit that ended, for whoever looks on (the progress bar, the metrics, the tests).

    ``age_s``: seconds since the file was first seen by this process.
    """

    route: str
    name: str
    step: Step
    age_s: float = 0.0


@dataclass(slots=True)
class Summary:
    """What a run came to.

    ``left`` counts by reason the files that wait for another run, ``held`` those that wait for a person;
    ``gone`` names the routes whose folder was not there, ``on_hold`` those that a person has stopped;
    ``skipped`` counts what was left alone.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    held: int = 0
    gone: list[str] = field(default_factory=list)
    on_hold: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    stopped_by: int | None = None

    def exit_code(self) -> Exit:
        """75 while anything waits, else 1 where a person is needed, else 0."""
        if self.left or self.gone:
            return Exit.TRY_AGAIN
        return Exit.NEEDS_A_PERSON if self.held or self.on_hold or self.outcomes[Outcome.FAILED] else Exit.OK


class Reporter:
    """Counts and logs steps as they come. To be used by one thread; ``clock`` gives monotonic seconds."""

    def __init__(self, observer: Callable[[Event], None], clock: Callable[[], float] = time.monotonic) -> None:
        self.summary = Summary()
        self._observer = observer
        self._clock = clock
        self._troubles: Troubles[_Key] = Troubles()
        self._standing: dict[Trouble, _Key] = {}

    def step(self, route: str, name: str, step: Step, before: Step | None, age_s: float = 0.0) -> None:
        """A visit to ``name`` ended with ``step``, the one before it with ``before``; no news are no log line."""
        self._observer(Event(route, name, step, age_s))
        if step.outcome in FINAL:
            self._end(route, name, step, age_s)
        else:
            news = before is None or (step.outcome, step.reason) != (before.outcome, before.reason)
            event(
                _log, logging.DEBUG, str(step.outcome), route=route, file=name, why=step.reason if news else None,
                again_in_s=round(step.wait_s, 1) if step.wait_s is not None else None,
            )  # fmt: skip
        self.turn()
        self._compare(name, _key(route, before), _key(route, step))

    def _end(self, route: str, name: str, step: Step, age_s: float) -> None:
        """Each file's own end is a line; that of a failed one is for a person."""
        failed = step.outcome is Outcome.FAILED
        self.summary.outcomes[step.outcome] += 1
        if failed:
            self.summary.codes[step.reason] += 1
        entry = step.entry
        event(
            _log, logging.WARNING if failed else logging.INFO, str(step.outcome), route=route, file=name,
            why=step.reason, uuid=entry.uuid if entry else None, status=entry.status if entry else None,
            attempts=entry.attempts if entry and entry.attempts > 1 else None, after_s=round(age_s, 3),
        )  # fmt: skip

    # --- troubles ------------------------------------------------------------------------------------

    def standing(self, trouble: Trouble, why: str) -> None:
        """A trouble that is no file's own is there, ``why`` it says; or is not, where that is empty."""
        before = self._standing.pop(trouble, None)
        now = _Key(trouble, "", why) if why else None
        if now is not None:
            self._standing[trouble] = now
        if before is not None and now is not None and before != now:
            self._troubles.turns_into(before, now)
            event(_log, trouble.level, trouble.lasts, why=why)
        else:
            self._compare("", before, now)

    def let_go(self, route: str, step: Step | None) -> None:
        """The route has left, and with it a file whose last visit ended with ``step``: its trouble is none of ours."""
        self._compare("", _key(route, step), None)

    def _compare(self, name: str, then: _Key | None, now: _Key | None) -> None:
        """``name`` had one trouble and now has another, or the same, or none."""
        if now == then:
            if now is not None:
                self._troubles.goes_on(now)
            return
        if now is not None and self._troubles.begins(now, self._clock()):
            event(_log, now.trouble.level, now.trouble.begins, route=now.route, why=now.why, first=name)
        if then is not None:
            self._troubles.ends(then, self._clock())

    def turn(self) -> None:
        """Say what is over by now, and remind of what lasts. To be called now and then."""
        if not self._troubles:
            return
        self._say_over(LINGER_S)
        now_s = self._clock()
        for key, story in self._troubles.to_remind_of(now_s):
            level = max(key.trouble.level, logging.WARNING if story.lasted_s(now_s) >= NOT_BRIEF_S else 0)
            self._tell(level, key.trouble.lasts, key, story)

    def close(self) -> None:
        """The run ends: say what is over, and of what is not, how many files it is by now."""
        self._say_over(0.0)
        for key, story in self._troubles.lasting():
            if story.times > 1:
                self._tell(key.trouble.level, key.trouble.lasts, key, story)

    def _say_over(self, linger_s: float) -> None:
        for key, story in self._troubles.over(self._clock(), linger_s):
            # An end is heard by those who heard the beginning. What one file had for a moment ends with its own line.
            brief = key.trouble.level == logging.INFO and story.files == 1
            level = logging.DEBUG if brief else min(key.trouble.level, logging.WARNING)
            self._tell(level, key.trouble.ends, key, story)

    def _tell(self, level: int, message: str, key: _Key, story: Story) -> None:
        lasted_s = round(story.lasted_s(self._clock()))
        files = story.files if key.route else None
        event(_log, level, message, route=key.route, why=key.why, files=files, times=story.times, for_s=lasted_s)

    # --- the end -------------------------------------------------------------------------------------

    def left(self, step: Step | None) -> None:
        """A file is left where it is at the end of the run; ``step`` is the last that was heard of it."""
        if step is not None and step.held:
            self.summary.held += 1
        else:
            self.summary.left[_LEFT.get(step.outcome, str(step.outcome)) if step else "not looked at"] += 1


def _key(route: str, step: Step | None) -> _Key | None:
    """The trouble that a file has after ``step``, if any; a twin's is its owner's."""
    if step is None or step.outcome is Outcome.TWIN:
        return None
    if step.trouble:
        return _Key(OURS, route, step.reason)
    entry = step.entry
    if entry is not None and entry.state is State.IN_DOUBT:  # which it stays while the API is away
        return _Key(HELD if entry.for_a_person else IN_DOUBT, route, entry.reason)
    return _Key(DEFERRED, route, step.reason) if step.outcome is Outcome.DEFERRED else None
