"""What a run tells of itself: a log line for each file's step, and a summary in the end."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from canarysync.errors import Exit
from canarysync.logs import event
from canarysync.step import FINAL, Outcome, Step

_log = logging.getLogger(__name__)

_LEVELS = {
    Outcome.UPLOADED: logging.INFO,
    Outcome.RECOVERED: logging.INFO,
    Outcome.DUPLICATE: logging.INFO,
    Outcome.WITHDRAWN: logging.WARNING,
    Outcome.FAILED: logging.WARNING,
    Outcome.DEFERRED: logging.WARNING,
    Outcome.IN_DOUBT: logging.WARNING,
}


_LEFT = {
    Outcome.BLOCKED: "until the API can be used",
    Outcome.TWIN: "for a file with the same score",
    Outcome.UNSETTLED: "until it is quiet",
}


@dataclass(frozen=True, slots=True)
class Event:
    """One visit that ended, for whoever looks on (the progress bar, the tests)."""

    route: str
    name: str
    step: Step


@dataclass(slots=True)
class Summary:
    """What a run came to.

    ``left`` counts by reason the files that wait for another run, ``held`` those that wait for a person;
    ``gone`` names the routes whose folder was not there; ``skipped`` counts what was left alone.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    held: int = 0
    gone: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)
    stopped_by: int | None = None

    def exit_code(self) -> Exit:
        """75 while anything waits, else 1 where a person is needed, else 0."""
        if self.left or self.gone:
            return Exit.TRY_AGAIN
        return Exit.NEEDS_A_PERSON if self.held or self.outcomes[Outcome.FAILED] else Exit.OK


class Reporter:
    """Counts and logs steps as they come."""

    def __init__(self, observer: Callable[[Event], None]) -> None:
        self.summary = Summary()
        self._observer = observer
        self._troubled: Counter[tuple[str, str]] = Counter()

    def step(self, route: str, name: str, step: Step, before: Step | None) -> None:
        """A visit to ``name`` ended with ``step``, the one before it with ``before``; no news are no log line."""
        self._observer(Event(route, name, step))
        if step.outcome in FINAL:
            self.summary.outcomes[step.outcome] += 1
            if step.outcome is Outcome.FAILED:
                self.summary.codes[step.reason] += 1
        entry = step.entry
        self._trouble(route, name, step, before)
        news = before is None or (step.outcome, step.reason) != (before.outcome, before.reason)
        level = _LEVELS.get(step.outcome, logging.DEBUG) if news and not step.trouble else logging.DEBUG
        event(
            _log, level, str(step.outcome), route=route, file=name,
            why=step.reason, uuid=entry.uuid if entry else None, status=entry.status if entry else None,
            attempts=entry.attempts if entry and entry.attempts > 1 else None,
            again_in_s=round(step.wait_s, 1) if step.wait_s is not None else None,
        )  # fmt: skip

    def _trouble(self, route: str, name: str, step: Step, before: Step | None) -> None:
        """Say a trouble once, with the first file that it befell, and once more when no file has it any longer."""
        now = (route, step.reason) if step.trouble else None
        then = (route, before.reason) if before is not None and before.trouble else None
        if now == then:
            return
        if now is not None:
            self._troubled[now] += 1
            if self._troubled[now] == 1:
                event(_log, logging.ERROR, "files have to wait", route=route, why=step.reason, first=name)
        if then is not None:
            self._troubled[then] -= 1
            if not self._troubled[then]:
                event(_log, logging.WARNING, "no file has to wait for this any longer", route=route, why=then[1])

    def left(self, step: Step | None) -> None:
        """A file is left where it is at the end of the run; ``step`` is the last that was heard of it."""
        if step is not None and step.held:
            self.summary.held += 1
        else:
            self.summary.left[_LEFT.get(step.outcome, str(step.outcome)) if step else "not looked at"] += 1
