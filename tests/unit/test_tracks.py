"""What a route's files are waiting for: no name is ever lost, and none is visited twice at a time."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from canarysync.ledger import Entry
from canarysync.model import Held, Kind, Observation, Signature, State
from canarysync.step import FINAL, Outcome, Step
from canarysync.tracks import TROUBLE_PROBE_S, WINDOW, Place, Tally, Tracks

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
SEEN = Observation("a", Kind.FILE, 0.0, Signature(1, 2, 3, 4))
LATER = [Outcome.UNSETTLED, Outcome.DEFERRED, Outcome.IN_DOUBT]


def entry(entry_id: str) -> Entry:
    return Entry(entry_id, "route", "name", "00", Signature(1, 2, 3, 4), State.INTENDED, AT, AT)


def running(*keys: str) -> Tracks[str]:
    """Tracks in which ``keys`` are being visited."""
    tracks: Tracks[str] = Tracks()
    for key in keys:
        tracks.found(key)
        assert tracks.take() is not None
    return tracks


def place(tracks: Tracks[str], key: str) -> Place | None:
    return dict(tracks.items())[key].place if key in tracks else None


def taken(tracks: Tracks[str]) -> list[str]:
    """The keys of all that is ready, in the order in which they are visited."""
    keys = []
    while (found := tracks.take()) is not None:
        keys.append(found[0])
    return keys


# --- one file -----------------------------------------------------------------------------------------


def test_files_are_visited_in_the_order_in_which_they_were_found() -> None:
    tracks: Tracks[str] = Tracks()
    for key in ("a", "b", "a", "c", "b"):
        tracks.found(key)
    assert tracks.has_ready()
    assert taken(tracks) == ["a", "b", "c"]
    assert not tracks.has_ready()
    assert len(tracks) == 3


@pytest.mark.parametrize("outcome", [*sorted(FINAL), Outcome.GONE, Outcome.ON_HOLD])
def test_an_end_is_forgotten(outcome: Outcome) -> None:
    tracks = running("a")
    tracks.visited("a", Step(outcome), None, 0.0)
    assert "a" not in tracks
    assert len(tracks) == 0
    assert taken(tracks) == []
    tracks.found("a")  # a new file of that name
    assert taken(tracks) == ["a"]


@pytest.mark.parametrize("outcome", [*LATER, Outcome.TWIN])
def test_what_waits_is_visited_when_it_is_due(outcome: Outcome) -> None:
    tracks = running("a")
    tracks.visited("a", Step(outcome, wait_s=5.0), SEEN, 100.0)
    assert place(tracks, "a") is Place.WAITING
    assert tracks.next_due_s() == 105.0
    tracks.ripen(104.9)
    assert taken(tracks) == []
    tracks.ripen(105.0)
    found = tracks.take()
    assert found is not None
    assert (found[1].since, found[1].visits) == (SEEN, 1)
    assert tracks.next_due_s() is None


def test_what_is_due_at_once_is_due_at_the_next_ripening() -> None:
    tracks = running("a")
    tracks.visited("a", Step(Outcome.IN_DOUBT, wait_s=0.0), None, 100.0)
    tracks.ripen(100.0)
    assert taken(tracks) == ["a"]


@pytest.mark.parametrize(
    "step",
    [Step(Outcome.BLOCKED), Step(Outcome.BLOCKED, wait_s=5.0), Step(Outcome.IN_DOUBT)],
    ids=["blocked", "blocked, whatever it says of time", "nothing is due by itself"],
)
def test_what_waits_for_the_api_is_a_probe_or_goes_when_it_answers(step: Step) -> None:
    tracks = running("a", "b")
    tracks.visited("a", step, None, 0.0)
    tracks.visited("b", step, None, 0.0)
    tracks.ripen(1e9)
    assert taken(tracks) == []
    probe = tracks.take_blocked()
    assert probe is not None
    assert (probe[0], probe[1].place) == ("a", Place.RUNNING)
    assert tracks.has_blocked()
    tracks.unblock()
    assert not tracks.has_blocked()
    assert tracks.take_blocked() is None
    assert taken(tracks) == ["b"]


# --- hints --------------------------------------------------------------------------------------------


def test_a_hint_on_an_unknown_name_is_a_find() -> None:
    tracks: Tracks[str] = Tracks()
    tracks.hinted("a")
    tracks.hinted("a")
    assert taken(tracks) == ["a"]


def test_a_hint_ends_the_wait_and_the_old_timer_means_nothing() -> None:
    tracks = running("a")
    tracks.visited("a", Step(Outcome.UNSETTLED, wait_s=5.0), None, 0.0)
    tracks.hinted("a")
    assert taken(tracks) == ["a"]
    tracks.visited("a", Step(Outcome.UNSETTLED, wait_s=60.0), None, 1.0)
    tracks.ripen(5.0)
    assert taken(tracks) == []
    tracks.ripen(61.0)
    assert taken(tracks) == ["a"]


@pytest.mark.parametrize("outcome", [*LATER, *sorted(FINAL), Outcome.GONE, Outcome.ON_HOLD, Outcome.TWIN])
def test_a_hint_during_a_visit_leads_to_another(outcome: Outcome) -> None:
    """The file changed, or another one took its name, after the visit had read it."""
    tracks = running("a")
    tracks.hinted("a")
    tracks.visited("a", Step(outcome, wait_s=300.0), None, 0.0)
    assert taken(tracks) == ["a"]
    tracks.visited("a", Step(outcome, wait_s=300.0), None, 0.0)
    assert taken(tracks) == []


def test_a_hint_lets_nothing_through_to_an_api_that_is_down() -> None:
    tracks = running("a")
    tracks.hinted("a")
    tracks.visited("a", Step(Outcome.BLOCKED), None, 0.0)
    tracks.hinted("a")
    assert taken(tracks) == []
    assert place(tracks, "a") is Place.BLOCKED


def test_a_find_does_not_end_a_wait() -> None:
    """A rescan every minute must not undo a backoff of five."""
    tracks = running("a")
    tracks.visited("a", Step(Outcome.DEFERRED, wait_s=300.0), None, 0.0)
    tracks.found("a")
    assert taken(tracks) == []


# --- twins --------------------------------------------------------------------------------------------


def test_a_twin_is_visited_as_soon_as_its_owner_was() -> None:
    """Whatever became of the owner, in this route or another."""
    tracks = running("twin", "other")
    tracks.visited("twin", Step(Outcome.TWIN, wait_s=5.0, entry=entry("1")), None, 0.0)
    tracks.visited("other", Step(Outcome.TWIN, wait_s=5.0, entry=entry("2")), None, 0.0)
    tracks.heard_of("1")
    assert taken(tracks) == ["twin"]


def test_two_twins_do_not_wake_each_other() -> None:
    tracks = running("twin", "third")
    tracks.visited("twin", Step(Outcome.TWIN, wait_s=5.0, entry=entry("1")), None, 0.0)
    tracks.visited("third", Step(Outcome.TWIN, wait_s=5.0, entry=entry("1")), None, 0.0)
    assert taken(tracks) == []


def test_a_twin_whose_owner_was_faster_still_has_its_own_time() -> None:
    tracks = running("owner", "twin")
    tracks.visited("owner", Step(Outcome.UPLOADED, entry=entry("1")), None, 0.0)
    tracks.visited("twin", Step(Outcome.TWIN, wait_s=5.0, entry=entry("1")), None, 0.0)
    tracks.ripen(5.0)
    assert taken(tracks) == ["twin"]


# --- the window ---------------------------------------------------------------------------------------


def filled(step: Step) -> Tracks[str]:
    tracks: Tracks[str] = Tracks()
    for number in range(WINDOW):
        tracks.found(str(number))
        assert tracks.take() is not None
        tracks.visited(str(number), step, None, 0.0)
    return tracks


def test_a_full_window_pauses_the_scan_until_there_is_room() -> None:
    tracks = filled(Step(Outcome.UNSETTLED, wait_s=5.0))
    assert tracks.crowded()
    tracks.hinted("0")
    assert taken(tracks) == ["0"]
    tracks.visited("0", Step(Outcome.UPLOADED), None, 0.0)
    assert not tracks.crowded()


@pytest.mark.parametrize("outcome", [Outcome.DEFERRED, Outcome.IN_DOUBT])
def test_files_with_an_entry_crowd_nobody_out(outcome: Outcome) -> None:
    """Ten thousand scores in doubt, and the lab goes on dropping new ones."""
    tracks = filled(Step(outcome, wait_s=5.0, entry=entry("1")))
    assert not tracks.crowded()
    tracks.ripen(5.0)
    assert len(taken(tracks)) == WINDOW
    for number in range(WINDOW):
        tracks.visited(str(number), Step(Outcome.UNSETTLED, wait_s=5.0), None, 0.0)
    assert tracks.crowded()


def test_a_long_queue_pauses_the_scan() -> None:
    tracks: Tracks[str] = Tracks()
    number = 0
    while not tracks.crowded():
        tracks.found(str(number))
        number += 1
    assert 1 < number < WINDOW
    assert tracks.take() is not None
    assert not tracks.crowded()


# --- everything at once -------------------------------------------------------------------------------

KEYS = "abcdef"
keys = st.sampled_from(KEYS)
entries = st.sampled_from([None, entry("1"), entry("2")])
waits = st.sampled_from([None, 0.0, 1.0, 1.0, 5.0, 300.0])


class TracksMachine(RuleBasedStateMachine):
    """Every key that was found is ready, running, waiting or blocked, until a visit ends it."""

    def __init__(self) -> None:
        super().__init__()
        self.tracks: Tracks[str] = Tracks()
        self.now_s = 0.0
        self.alive: set[str] = set()
        self.running: set[str] = set()
        self.hinted: set[str] = set()

    @rule(key=keys)
    def find(self, key: str) -> None:
        self.tracks.found(key)
        self.alive.add(key)

    @rule(key=keys)
    def hint(self, key: str) -> None:
        self.tracks.hinted(key)
        self.alive.add(key)
        if key in self.running:
            self.hinted.add(key)

    @rule(blocked=st.booleans())
    def take(self, blocked: bool) -> None:
        found = self.tracks.take_blocked() if blocked else self.tracks.take()
        if found is None:
            return
        key, track = found
        assert key in self.alive
        assert key not in self.running, "visited twice at a time"
        assert track.place is Place.RUNNING
        self.running.add(key)

    @precondition(lambda self: self.running)
    @rule(data=st.data(), outcome=st.sampled_from(Outcome), wait_s=waits, entry=entries)
    def visited(self, data: st.DataObject, outcome: Outcome, wait_s: float | None, entry: Entry | None) -> None:
        key = data.draw(st.sampled_from(sorted(self.running)))
        self.tracks.visited(key, Step(outcome, wait_s=wait_s, entry=entry), None, self.now_s)
        self.running.remove(key)
        ended = outcome in {*FINAL, Outcome.GONE, Outcome.ON_HOLD}
        if ended and key not in self.hinted:
            self.alive.remove(key)
        elif key in self.hinted:
            assert place(self.tracks, key) in (Place.READY, Place.BLOCKED)
        self.hinted.discard(key)

    @rule(passed_s=st.sampled_from([0.0, 1.0, 4.0, 300.0]))
    def ripen(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.tracks.ripen(self.now_s)
        assert not [key for key, track in self.waiting() if track <= self.now_s], "overslept"

    @rule()
    def unblock(self) -> None:
        self.tracks.unblock()
        assert Place.BLOCKED not in {track.place for _, track in self.tracks.items()}

    def waiting(self) -> list[tuple[str, float]]:
        return [(key, track.due_s) for key, track in self.tracks.items() if track.place is Place.WAITING]

    @invariant()
    def nothing_is_lost(self) -> None:
        assert {key for key, _ in self.tracks.items()} == self.alive
        assert {key for key, track in self.tracks.items() if track.place is Place.RUNNING} == self.running

    @invariant()
    def nothing_is_overslept(self) -> None:
        due_s = self.tracks.next_due_s()
        for _, at_s in self.waiting():
            assert due_s is not None
            assert due_s <= at_s

    @invariant()
    def what_is_there_is_told(self) -> None:
        places = {track.place for _, track in self.tracks.items()}
        assert self.tracks.has_ready() == (Place.READY in places)
        assert self.tracks.has_blocked() == (Place.BLOCKED in places)

    @invariant()
    def the_recorded_are_counted(self) -> None:
        recorded = {Outcome.DEFERRED, Outcome.IN_DOUBT}
        steps = [track.step for _, track in self.tracks.items() if track.step is not None]
        assert self.tracks.recorded == sum(step.outcome in recorded and step.entry is not None for step in steps)

    def teardown(self) -> None:
        """Whatever happened, every key that is not being visited can be had, and exactly once."""
        self.tracks.ripen(float("inf"))
        self.tracks.unblock()
        assert sorted(taken(self.tracks)) == sorted(self.alive - self.running)


TestTracks = TracksMachine.TestCase
TestTracks.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)


# --- what waits for what ------------------------------------------------------------------------------


def test_a_tally_counts_by_what_each_file_waits_for() -> None:
    now_s = 100.0
    tracks: Tracks[str] = Tracks(lambda: now_s)
    held = entry("h")._replace(state=State.IN_DOUBT, held=Held.NEAR)
    steps = {
        "held": Step(Outcome.IN_DOUBT, held=True, entry=held, wait_s=1.0),
        "held, no API": Step(Outcome.BLOCKED, entry=held),
        "resolved": Step(Outcome.IN_DOUBT, entry=held._replace(resolution="send-again"), wait_s=1.0),
        "unfiled": Step(Outcome.DEFERRED, entry=held._replace(state=State.UPLOADED), wait_s=1.0),
        "deferred": Step(Outcome.DEFERRED, entry=held._replace(state=State.DEFERRED), wait_s=1.0),
        "twin of one held": Step(Outcome.TWIN, held=True, entry=held, wait_s=1.0),
        "no API": Step(Outcome.BLOCKED),
        "growing": Step(Outcome.UNSETTLED, wait_s=1.0),
        "done": Step(Outcome.UPLOADED),
    }
    assert tracks.tally() == Tally(Counter(), None)
    for key, step in steps.items():
        tracks.found(key)
        assert tracks.take() is not None
        tracks.visited(key, step, None, now_s)
        now_s += 1
    tracks.found("new")
    assert tracks.tally() == Tally(
        Counter(held=2, in_doubt=1, unfiled=1, deferred=1, twin=1, blocked=1, unsettled=1, new=1),  # type: ignore[arg-type]
        oldest_s=102.0,
    )
    assert tracks.age_s("growing") == 2.0


# --- a trouble that many files wait for -----------------------------------------------------------------

FULL = Step(Outcome.DEFERRED, "not sent: no room in done/", 30.0, trouble=True)
DENIED = Step(Outcome.DEFERRED, "not sent: no right to write in done/", 30.0, trouble=True)


def troubled(*keys: str) -> Tracks[str]:
    """Tracks in which all ``keys`` found no room, at 0 s."""
    tracks = running(*keys)
    for key in keys:
        tracks.visited(key, FULL, None, 0.0)
    return tracks


def test_one_file_looks_whether_the_trouble_is_over_and_goes_on_looking() -> None:
    tracks = troubled("a", "b", "c")
    for now_s in (TROUBLE_PROBE_S, 2 * TROUBLE_PROBE_S):
        assert tracks.next_due_s() == now_s
        tracks.ripen(now_s)
        assert taken(tracks) == ["a"]
        tracks.visited("a", FULL, None, now_s)


@pytest.mark.parametrize("outcome", [Outcome.UPLOADED, Outcome.BLOCKED, Outcome.DEFERRED])
def test_when_it_gets_through_all_that_wait_for_the_same_go(outcome: Outcome) -> None:
    tracks = troubled("a", "b", "c")
    tracks.found("other")
    assert taken(tracks) == ["other"]
    tracks.visited("other", DENIED, None, 0.0)
    tracks.ripen(TROUBLE_PROBE_S)
    assert taken(tracks) == ["a", "other"]

    tracks.visited("a", Step(outcome, wait_s=1.0), None, TROUBLE_PROBE_S)

    assert taken(tracks) == ["b", "c"]
    assert place(tracks, "other") is Place.RUNNING


def test_a_file_that_goes_away_ends_no_trouble_and_another_looks_in_its_stead() -> None:
    tracks = troubled("a", "b", "c")
    tracks.ripen(TROUBLE_PROBE_S)
    assert taken(tracks) == ["a"]
    tracks.visited("a", Step(Outcome.GONE), None, TROUBLE_PROBE_S)
    assert not tracks.has_ready()

    tracks.ripen(30.0)
    assert taken(tracks) == ["b", "c"]
    tracks.visited("c", FULL, None, 30.0)
    tracks.visited("b", FULL, None, 30.0)
    assert tracks.next_due_s() == 30.0 + TROUBLE_PROBE_S
    tracks.ripen(30.0 + TROUBLE_PROBE_S)
    assert taken(tracks) == ["b"]
