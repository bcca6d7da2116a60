"""What the log says of files' steps: news once, and a trouble of the system once for all its files."""

from __future__ import annotations

import logging

import pytest

from canarysync.report import Reporter
from canarysync.step import Outcome, Step

FULL = Step(Outcome.DEFERRED, "cannot be filed: No space left on device", 1.0, trouble=True)
DENIED = Step(Outcome.DEFERRED, "not sent: no right to write in done/", 1.0, trouble=True)
DONE = Step(Outcome.UPLOADED)


@pytest.fixture
def told(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.INFO, "canarysync")
    return caplog


def walk(reporter: Reporter, name: str, *steps: Step, route: str = "clinic") -> None:
    before = None
    for step in steps:
        reporter.step(route, name, step, before)
        before = step


def messages(told: pytest.LogCaptureFixture) -> list[str]:
    return [record.message for record in told.records]


def test_a_trouble_of_many_files_is_told_once_and_once_more_when_it_is_over(told: pytest.LogCaptureFixture) -> None:
    reporter = Reporter(lambda event: None)
    for number in range(3000):
        walk(reporter, f"{number}.json", FULL, FULL)
    assert messages(told) == ["files have to wait"]

    for number in range(3000):
        reporter.step("clinic", f"{number}.json", DONE, FULL)
    assert messages(told).count("no file has to wait for this any longer") == 1
    assert messages(told)[-1] == "uploaded"
    assert len(messages(told)) == 3002


def test_each_trouble_and_each_route_has_its_own_word(told: pytest.LogCaptureFixture) -> None:
    reporter = Reporter(lambda event: None)
    walk(reporter, "a.json", FULL)
    walk(reporter, "a.json", FULL, route="other")
    walk(reporter, "b.json", DENIED)
    assert messages(told) == ["files have to wait"] * 3

    reporter.step("clinic", "a.json", DENIED, FULL)  # out of one, into another that is known
    assert messages(told)[3:] == ["no file has to wait for this any longer"]


def test_a_file_that_goes_away_ends_its_part_of_the_trouble(told: pytest.LogCaptureFixture) -> None:
    walk(Reporter(lambda event: None), "a.json", FULL, Step(Outcome.GONE))

    assert messages(told) == ["files have to wait", "no file has to wait for this any longer"]


def test_it_may_come_again(told: pytest.LogCaptureFixture) -> None:
    walk(Reporter(lambda event: None), "a.json", FULL, DONE)
    walk(Reporter(lambda event: None), "b.json", FULL)

    assert messages(told).count("files have to wait") == 2
