"""What the log says: each file's end, and each trouble once for all its files, with counts and its end."""

from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from canarysync.ledger import Entry
from canarysync.model import Held, Signature, State
from canarysync.report import API, Reporter
from canarysync.step import Outcome, Step
from canarysync.troubles import LINGER_S

FULL = Step(Outcome.DEFERRED, "cannot be filed: No space left on device", 1.0, trouble=True)
DENIED = Step(Outcome.DEFERRED, "not sent: no right to write in done/", 1.0, trouble=True)
AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
SENT = Entry("1", "route", "a.json", "00", Signature(1, 2, 3, 4), State.IN_DOUBT, AT, AT, reason="HTTP 500")
DOUBT = Step(Outcome.IN_DOUBT, "HTTP 500", 1.0, entry=SENT)
HELD = DOUBT._replace(held=True, entry=SENT._replace(held=Held.NEAR, reason="held: the API has a like score"))
DONE = Step(Outcome.UPLOADED)

WAIT, STILL, OVER = "files have to wait", "files still have to wait", "no file has to wait for this any longer"


class Clock:
    """Monotonic seconds, as a test wants them."""

    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "canarysync")
    return caplog


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reporter(clock: Clock) -> Reporter:
    return Reporter(lambda event: None, clock)


def walk(reporter: Reporter, name: str, *steps: Step, route: str = "clinic") -> None:
    before = None
    for step in steps:
        reporter.step(route, name, step, before)
        before = step


def messages(told: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in told.records]


def last(told: pytest.LogCaptureFixture) -> tuple[str, str, dict[str, object]]:
    """Level, message and counts of the last line."""
    record = told.records[-1]
    fields: dict[str, object] = record.__dict__["canarysync_fields"]
    return record.levelname, record.message, {key: fields[key] for key in ("files", "times", "for_s") if key in fields}


def test_a_trouble_of_many_files_is_one_line_and_a_count(
    told: pytest.LogCaptureFixture, reporter: Reporter, clock: Clock
) -> None:
    for number in range(3000):
        walk(reporter, f"{number}.json", FULL, FULL)
    assert messages(told) == [WAIT]

    clock.now_s += 7200
    reporter.turn()
    assert last(told) == ("ERROR", STILL, {"files": 3000, "times": 6000, "for_s": 7200})
    for number in range(3000):
        reporter.step("clinic", f"{number}.json", DONE, FULL)
    assert messages(told) == [WAIT, STILL] + ["uploaded"] * 3000, "each file's own end is a line"

    clock.now_s += LINGER_S
    reporter.turn()
    assert last(told) == ("WARNING", OVER, {"files": 3000, "times": 6000, "for_s": 7200})


def test_each_trouble_and_each_route_has_its_own_word(told: pytest.LogCaptureFixture, reporter: Reporter) -> None:
    walk(reporter, "a.json", FULL)
    walk(reporter, "a.json", FULL, FULL, route="other")
    walk(reporter, "b.json", DENIED)
    assert messages(told) == [WAIT] * 3

    reporter.step("clinic", "a.json", DENIED, FULL)  # out of one, into another that is known
    reporter.close()
    assert messages(told)[3:] == [OVER, STILL, STILL]


def test_a_file_that_goes_away_ends_its_part_of_the_trouble(told: pytest.LogCaptureFixture, reporter: Reporter) -> None:
    walk(reporter, "a.json", FULL, Step(Outcome.GONE))
    reporter.close()
    assert messages(told) == [WAIT, OVER]


def test_what_comes_and_goes_is_one_trouble(told: pytest.LogCaptureFixture, reporter: Reporter, clock: Clock) -> None:
    """An API that asks for a pause of a second, again and again."""
    for _ in range(300):
        reporter.standing(API, "HTTP 429")
        clock.now_s += 1
        reporter.standing(API, "")
        clock.now_s += 1
        reporter.turn()
    clock.now_s += LINGER_S
    reporter.turn()
    assert messages(told) == ["the API cannot be used, files wait", "the API answers again"]
    assert last(told)[2] == {"times": 300, "for_s": 599}


def test_what_goes_on_for_another_reason_is_said_and_stays_one_trouble(
    told: pytest.LogCaptureFixture, reporter: Reporter, clock: Clock
) -> None:
    for why in ("no connection", "no connection", "HTTP 503", ""):
        reporter.standing(API, why)
        clock.now_s += 10
    clock.now_s += LINGER_S
    reporter.turn()
    went = ["the API cannot be used, files wait", "the API still cannot be used", "the API answers again"]
    assert messages(told) == went
    assert told.records[1].__dict__["canarysync_fields"]["why"] == "HTTP 503"
    assert last(told)[2] == {"times": 2, "for_s": 30}


def test_nobody_is_reminded_of_a_route_that_has_left(
    told: pytest.LogCaptureFixture, reporter: Reporter, clock: Clock
) -> None:
    walk(reporter, "a.json", FULL)
    for step in (FULL, DONE, None):
        reporter.let_go("clinic", step)
    clock.now_s += 86400
    reporter.turn()
    assert messages(told) == [WAIT, OVER]


def test_it_may_come_again(told: pytest.LogCaptureFixture, reporter: Reporter, clock: Clock) -> None:
    walk(reporter, "a.json", FULL, DONE)
    clock.now_s += LINGER_S
    walk(reporter, "b.json", FULL)
    assert messages(told).count(WAIT) == 2


def test_what_should_pass_by_itself_is_for_a_person_when_it_does_not(
    told: pytest.LogCaptureFixture, reporter: Reporter, clock: Clock
) -> None:
    walk(reporter, "a.json", DOUBT)
    assert [record.levelname for record in told.records] == ["INFO"]
    for _ in range(6 * 60):
        clock.now_s += 60
        reporter.step("clinic", "a.json", DOUBT, DOUBT)
    assert [(record.levelname, record.message) for record in told.records[1:]] == [
        ("INFO", "scores are still in doubt"),
        ("INFO", "scores are still in doubt"),
        ("WARNING", "scores are still in doubt"),
    ]


def test_one_file_in_doubt_for_a_moment_ends_with_its_own_line(
    told: pytest.LogCaptureFixture, reporter: Reporter
) -> None:
    walk(reporter, "a.json", DOUBT, DONE)
    reporter.close()
    assert messages(told) == ["scores are in doubt", "uploaded"]


def test_what_is_held_is_for_a_person(told: pytest.LogCaptureFixture, reporter: Reporter) -> None:
    walk(reporter, "a.json", DOUBT, HELD)
    walk(reporter, "b.json", Step(Outcome.FAILED, "invalid"))
    assert [record.levelname for record in told.records] == ["INFO", "WARNING", "WARNING"]


def test_it_stays_held_while_the_api_is_away(told: pytest.LogCaptureFixture, reporter: Reporter, clock: Clock) -> None:
    blocked = Step(Outcome.BLOCKED, "no connection", entry=HELD.entry)
    walk(reporter, "a.json", HELD, blocked)
    clock.now_s += LINGER_S
    reporter.step("clinic", "a.json", blocked, blocked)
    reporter.step("clinic", "a.json", HELD, blocked)
    assert messages(told) == ["files are held for a person", "files are still held"]
