"""What a route's files are waiting for: a pure bookkeeping of names, due times and who goes next."""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from canarysync.ledger import DECIDED
from canarysync.model import Observation, State
from canarysync.step import FINAL, Outcome, Step

K = TypeVar("K", bound=Hashable)

WINDOW = 10_000
"""So many files of a route are kept in mind before its scan pauses; the others are found when there is room."""

TROUBLE_PROBE_S = 5.0
"""Of all files that wait for one trouble to be over, one looks so often; the others go when it gets through."""


class Place(StrEnum):
    """Where a tracked file stands between two visits."""

    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    BLOCKED = "blocked"


class Waiting(StrEnum):
    """What a tracked file waits for; HELD is for a person, UNFILED has its outcome and could not be moved yet."""

    NEW = "new"
    UNSETTLED = "unsettled"
    TWIN = "twin"
    BLOCKED = "blocked"
    DEFERRED = "deferred"
    IN_DOUBT = "in_doubt"
    HELD = "held"
    UNFILED = "unfiled"


@dataclass(frozen=True, slots=True)
class Tally:
    """How many files wait for what; ``oldest_s`` is when the first of them was first seen (monotonic), those that
    are held left aside, None when there is none."""

    waiting: Counter[Waiting]
    oldest_s: float | None


@dataclass(slots=True)
class Track:
    """What is known of one file between visits. ``found_s`` is when it was first seen (monotonic)."""

    found_s: float = 0.0
    place: Place = Place.READY
    since: Observation | None = None
    step: Step | None = None
    due_s: float = 0.0
    visits: int = 0
    started: int = 0
    again: bool = False


class Tracks(Generic[K]):
    """All tracked files of one route. Times are monotonic seconds and come in as parameters; ``clock`` tells those
    at which files were first seen."""

    def __init__(self, clock: Callable[[], float] = lambda: 0.0) -> None:
        self._clock = clock
        self._tracks: dict[K, Track] = {}
        self._ready: deque[K] = deque()
        self._blocked: deque[K] = deque()
        self._timers: list[tuple[float, int, K]] = []
        self._twins: dict[str, dict[K, None]] = {}
        self._heard: dict[str, int] = {}
        self._troubled: dict[str, dict[K, None]] = {}
        self._running = 0
        self._made = 0
        self.recorded = 0  # of those tracked: files whose state is in the ledger too, so that they crowd nobody out

    def __len__(self) -> int:
        return len(self._tracks)

    def __contains__(self, key: K) -> bool:
        return key in self._tracks

    def items(self) -> Iterator[tuple[K, Track]]:
        """Every tracked file."""
        return iter(self._tracks.items())

    def last_step(self, key: K) -> Step | None:
        """What the last visit came to; None before the first."""
        return self._tracks[key].step

    def age_s(self, key: K) -> float:
        """For how many seconds it has been known."""
        return self._clock() - self._tracks[key].found_s

    def tally(self) -> Tally:
        """Who waits for what."""
        waiting: Counter[Waiting] = Counter()
        oldest_s: float | None = None
        for track in self._tracks.values():  # in the order in which they were found
            why = _waits_for(track.step)
            waiting[why] += 1
            if oldest_s is None and why is not Waiting.HELD:
                oldest_s = track.found_s
        return Tally(waiting, oldest_s)

    def crowded(self) -> bool:
        """Whether a scan should pause."""
        return len(self._tracks) - self.recorded >= WINDOW or len(self._ready) >= WINDOW // 20

    # --- in ------------------------------------------------------------------------------------------

    def found(self, key: K) -> None:
        """A scan came by it: of interest unless it is tracked already."""
        if key not in self._tracks:
            self._tracks[key] = Track(self._clock())
            self._ready.append(key)

    def hinted(self, key: K) -> None:
        """Something happened to it: look now, or again once the visit under way has ended."""
        track = self._tracks.get(key)
        if track is None:
            self.found(key)
        elif track.place is Place.RUNNING:
            track.again = True
        elif track.place is Place.WAITING:
            self._make_ready(key, track)

    def visited(self, key: K, step: Step, since: Observation | None, now_s: float) -> None:
        """A visit ended with ``step``."""
        track = self._tracks[key]
        self._running -= 1
        self._count_recorded(track.step, -1)
        self._out_of_trouble(key, track.step, step)
        track.step, track.since, track.visits = step, since, track.visits + 1
        again, track.again = track.again, False
        if step.outcome in FINAL or step.outcome in (Outcome.GONE, Outcome.ON_HOLD):
            del self._tracks[key]  # what is on hold, the first scan after its release finds again
            if again or step.more:
                self.found(key)
        else:
            self._count_recorded(step, +1)
            self._park(key, track, now_s)
            if again and track.place is Place.WAITING:
                self._make_ready(key, track)

    def _count_recorded(self, step: Step | None, change: int) -> None:
        if step is not None and step.outcome in (Outcome.DEFERRED, Outcome.IN_DOUBT) and step.entry is not None:
            self.recorded += change

    def _park(self, key: K, track: Track, now_s: float) -> None:
        step = track.step
        assert step is not None
        if step.outcome is Outcome.BLOCKED or step.wait_s is None:
            track.place = Place.BLOCKED
            self._blocked.append(key)
            return
        wait_s = min(step.wait_s, TROUBLE_PROBE_S) if self._probes(key, step) else step.wait_s
        track.place, track.due_s = Place.WAITING, now_s + wait_s
        self._made += 1
        heapq.heappush(self._timers, (track.due_s, self._made, key))
        if step.outcome is Outcome.TWIN and step.entry is not None:
            if self._heard.get(step.entry.id, 0) > track.started:  # while this visit was under way
                self._make_ready(key, track)
                return
            self._twins.setdefault(step.entry.id, {})[key] = None

    def _probes(self, key: K, step: Step) -> bool:
        """Whether this is the file that finds out for all that wait with it when their trouble is over."""
        if not step.trouble:
            return False
        waiting = self._troubled.setdefault(step.reason, {})
        waiting[key] = None
        return next(iter(waiting)) == key

    def _out_of_trouble(self, key: K, before: Step | None, step: Step) -> None:
        """Where a trouble is over for one file, those that wait for the same look again."""
        if before is None or not before.trouble or (step.trouble and step.reason == before.reason):
            return
        waiting = self._troubled.get(before.reason, {})
        waiting.pop(key, None)
        if step.outcome is not Outcome.GONE:  # which says nothing of the trouble
            self._wake(self._troubled.pop(before.reason, ()))

    def heard_of(self, entry_id: str) -> None:
        """An entry came one step further: those that wait for it, as its twins, look again.

        While visits are under way it is remembered: one of them may be of a twin that saw the entry as it was.
        """
        if self._running:
            self._made += 1
            self._heard[entry_id] = self._made
        self._wake(self._twins.pop(entry_id, ()))

    def _wake(self, keys: Iterable[K]) -> None:
        for key in keys:
            track = self._tracks.get(key)
            if track is not None and track.place is Place.WAITING:
                self._make_ready(key, track)

    def _make_ready(self, key: K, track: Track) -> None:
        track.place = Place.READY
        self._ready.append(key)

    # --- out -----------------------------------------------------------------------------------------

    def ripen(self, now_s: float, wanted: Callable[[Track], bool] = lambda track: True) -> None:
        """What is due, and wanted, becomes ready; what is due and not wanted waits for ever."""
        while self._timers and self._timers[0][0] <= now_s:
            due_s, _, key = heapq.heappop(self._timers)
            track = self._tracks.get(key)
            if track is not None and track.place is Place.WAITING and track.due_s == due_s and wanted(track):
                self._make_ready(key, track)

    def next_due_s(self) -> float | None:
        """When something will be due; None when nothing waits for a time."""
        return self._timers[0][0] if self._timers else None

    def take(self) -> tuple[K, Track] | None:
        """The next file to visit."""
        while self._ready:
            key = self._ready.popleft()
            track = self._tracks.get(key)
            if track is not None and track.place is Place.READY:
                return key, self._run(track)
        return None

    def take_blocked(self) -> tuple[K, Track] | None:
        """A file that waits for the API: to be the probe."""
        if not self._blocked:
            return None
        key = self._blocked.popleft()
        return key, self._run(self._tracks[key])

    def _run(self, track: Track) -> Track:
        if not self._running:
            self._heard.clear()
        self._running += 1
        self._made += 1
        track.place, track.started = Place.RUNNING, self._made
        return track

    def unblock(self) -> None:
        """The API answers again."""
        while self._blocked:
            key = self._blocked.popleft()
            self._make_ready(key, self._tracks[key])

    def has_ready(self) -> bool:
        """Whether ``take`` would give something (or nearly: names that vanished are passed over)."""
        return bool(self._ready)

    def has_blocked(self) -> bool:
        """Whether a file waits for the API."""
        return bool(self._blocked)


def _waits_for(step: Step | None) -> Waiting:
    """What the entry is counts for more than what became of the last visit: while the API is away, say."""
    entry = step.entry if step is not None and step.outcome is not Outcome.TWIN else None
    if entry is not None and entry.state in DECIDED:
        return Waiting.UNFILED
    if entry is not None and entry.state is State.IN_DOUBT:
        return Waiting.HELD if entry.for_a_person else Waiting.IN_DOUBT
    return _WAITING.get(step.outcome, Waiting.NEW) if step is not None else Waiting.NEW


_WAITING = {
    Outcome.UNSETTLED: Waiting.UNSETTLED,
    Outcome.TWIN: Waiting.TWIN,
    Outcome.BLOCKED: Waiting.BLOCKED,
    Outcome.DEFERRED: Waiting.DEFERRED,
}
