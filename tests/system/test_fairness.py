"""Nobody waits for somebody else's trouble: bounded by counting requests as they arrive, not by the clock."""

from __future__ import annotations

import json
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import pytest

from canarysync import crew, examine
from canarysync.daemon import desks, loop
from canarysync.daemon.desks import HINTED_MOST
from canarysync.errors import Exit
from canarysync.report import Event, Summary
from canarysync.sandbox import Sandbox
from canarysync.sandbox.wire import Answer, Request, error_answer
from canarysync.service import service
from canarysync.step import Outcome
from tests.support import ASSESSMENT, PATIENCE_S, Site, make_routes, make_site, running, score, stored, wait_for

BAD = "0192530c-0000-7aa1-be9b-bc52dec8a184"
"""The assessment that the API has trouble with; all is well with ASSESSMENT."""


@dataclass(frozen=True)
class Arrival:
    at_s: float
    request: Request

    @property
    def is_bad(self) -> bool:
        return BAD in self.request.path

    @property
    def is_good_put(self) -> bool:
        return self.request.method == "PUT" and ASSESSMENT in self.request.path


class Partly(Sandbox):
    """The simulated API, with another answer wherever ``says`` has one. Keeps what arrived, in order."""

    def __init__(self, says: Callable[[Request], Answer | None]) -> None:
        super().__init__()
        self.says = says
        self.arrivals: list[Arrival] = []

    def __enter__(self) -> Self:
        super().__enter__()
        return self

    def _respond(self, request: Request) -> Answer:
        self.arrivals.append(Arrival(time.monotonic(), request))
        return self.says(request) or super()._respond(request)

    def bad_before_the_last_good(self) -> list[Arrival]:
        last = max(index for index, arrival in enumerate(self.arrivals) if arrival.is_good_put)
        return [arrival for arrival in self.arrivals[:last] if arrival.is_bad]


def to_the_bad(answer: Answer) -> Callable[[Request], Answer | None]:
    return lambda request: answer if BAD in request.path else None


def put_good(site: Site, number: int) -> list[str]:
    names = [f"good-{index:02}.json" for index in range(number)]
    for index, name in enumerate(names):
        site.put(name, score(index))
    return names


def put_bad(site: Site, number: int) -> list[str]:
    names = [f"bad-{index:02}.json" for index in range(number)]
    for index, name in enumerate(names):
        site.put(name, score(1000 + index, assessmentId=BAD))
    return names


# --- one assessment, one file ------------------------------------------------------------------------


@pytest.mark.parametrize("status", [500, 408])
def test_a_failing_assessment_holds_up_no_other(tmp_path: Path, status: int) -> None:
    """Every file has its first turn before any has its second: the good ones wait for fifty requests at most."""
    with Partly(to_the_bad(error_answer(status, "not now"))) as api:
        site = make_site(tmp_path, api.url, api__concurrency=4, routes__retry__most="100ms")
        bad, good = put_bad(site, 50), put_good(site, 50)
        assert site.once().exit_code() == Exit.TRY_AGAIN
        assert (site.filed(), site.waiting()) == (good, bad)
        ahead = api.bad_before_the_last_good()
        assert len(ahead) <= 50
        assert {arrival.request.method for arrival in ahead} == {"PUT"}
        api.says = lambda request: None
        assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    site.assert_all_done_once(bad + good, stored(api))


@pytest.mark.timeout(60)
def test_one_poisonous_file_holds_up_fifty_for_a_few_requests(tmp_path: Path) -> None:
    """A firewall before the API answers one file in HTML. Nobody can know that it is the file's fault: all wait, and
    one probe at a time goes out; but not always the same one."""
    blocked = Answer(403, b"<html>blocked</html>", "text/html")

    def seen(event: Event) -> None:
        outcomes[event.step.outcome] += 1
        if event.step.outcome is Outcome.BLOCKED and not site.filed() and len(site.waiting()) == 1:
            put_good(site, 50)
        if outcomes[Outcome.UPLOADED] == 50:
            daemon.stop()

    with Partly(to_the_bad(blocked)) as api:
        site = make_site(tmp_path, api.url)
        outcomes = Summary().outcomes
        (poison,) = put_bad(site, 1)
        with service(site.config, os.environ, observer=seen) as daemon:
            daemon.run()
        assert (len(site.filed()), site.waiting()) == (50, [poison])
        assert len(api.bad_before_the_last_good()) <= 10
        assert api.requests["scores", 200] == 0, "nothing was in doubt"


# --- giving up ---------------------------------------------------------------------------------------


def test_what_is_refused_for_too_long_gives_up_and_what_is_in_doubt_never_does(tmp_path: Path) -> None:
    with Partly(to_the_bad(error_answer(500, "not now"))) as api:
        api.faults.add("put:status=429,skip=1")
        site = make_site(tmp_path, api.url, routes__retry__give_up_after="1s", routes__retry__most="100ms")
        (doubtful,), names = put_bad(site, 1), put_good(site, 3)
        summary = site.once(wait_s=3.0)
        assert summary.codes == {"gave_up": 2}
        assert site.waiting() == [doubtful], "the API may have it"
        assert len(site.filed()) == 1
        for name in set(names) - set(site.filed()):
            error = site.error(name)
            assert (error["code"], error["status"], error["file"]) == ("gave_up", None, name)
            assert error["attempts"] > 1
            assert "Nothing is wrong with the file" in error["advice"]
        api.says = lambda request: None
        api.faults.clear()
        site.once(wait_s=PATIENCE_S)
        assert (site.waiting(), site.receipt(doubtful)["outcome"]) == ([], "uploaded")


# --- pauses that the API asks for --------------------------------------------------------------------


@pytest.mark.parametrize(("endpoint", "status"), [("token", 503), ("scores", 429)])
def test_nobody_asks_anything_before_the_pause_is_over(tmp_path: Path, endpoint: str, status: int) -> None:
    """By the clock of the server. One worker, so that nothing else is under way when it asks for the pause."""
    asked_at_s: list[float] = []

    def says(request: Request) -> Answer | None:
        method = {"token": "POST", "scores": "GET"}[endpoint]
        if request.method != method or asked_at_s:
            return None
        asked_at_s.append(time.monotonic())
        return Answer(status, b"{}", headers=(("Retry-After", "1"),))

    with Partly(says) as api:
        site = make_site(tmp_path, api.url, api__concurrency=1)
        if endpoint == "scores":
            api.faults.add("put:drop_after,times=1")
        put_good(site, 3)
        assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert len(api.scores) == 3
    later_s = [arrival.at_s - asked_at_s[0] for arrival in api.arrivals if arrival.at_s > asked_at_s[0]]
    assert min(later_s) >= 1


# --- several routes ----------------------------------------------------------------------------------


def put_in(site: Site, route: str, numbers: range, **changes: object) -> None:
    for number in numbers:
        (site.home / route / "drop" / f"{number:04}.json").write_text(json.dumps(score(number, **changes)))


@pytest.mark.timeout(60)
def test_a_flood_and_a_broken_folder_hold_up_no_other_route(tmp_path: Path, sandbox: Sandbox) -> None:
    uploaded: Counter[str] = Counter()

    def seen(event: Event) -> None:
        uploaded[event.route] += event.step.outcome is Outcome.UPLOADED
        if uploaded["few"] == 5:
            daemon.stop()

    site = make_routes(tmp_path, sandbox.url, "broken", "many", "few")
    site.once()  # the routes are known from now on
    put_in(site, "many", range(1000))
    put_in(site, "broken", range(1000, 1020))
    put_in(site, "few", range(2000, 2005))
    shutil.rmtree(tmp_path / "broken" / "done")
    (tmp_path / "broken" / "done").write_text("no folder")
    with service(site.config, os.environ, observer=seen) as daemon:
        daemon.run()
    assert uploaded["few"] == 5
    assert uploaded["broken"] == 0
    assert uploaded["many"] < 100, "in turn, but for the visits in hand and a head start of one chunk"


@pytest.mark.timeout(60)
def test_a_poisonous_route_is_not_always_the_probe(tmp_path: Path) -> None:
    """Behind a shut gate the routes take turns too."""
    blocked = Answer(403, b"<html>blocked</html>", "text/html")

    def seen(event: Event) -> None:
        if event.step.outcome is Outcome.BLOCKED and not put:
            put.append("good")
            put_in(site, "good", range(1))
        if event.route == "good" and event.step.outcome is Outcome.UPLOADED:
            daemon.stop()

    put: list[str] = []
    with Partly(to_the_bad(blocked)) as api:
        site = make_routes(tmp_path, api.url, "bad", "good")
        put_in(site, "bad", range(1000, 1003), assessmentId=BAD)
        with service(site.config, os.environ, observer=seen) as daemon:
            daemon.run()
        assert len(api.bad_before_the_last_good()) <= 8, "three at once, and a probe or two"


def test_events_of_more_files_than_are_kept_in_mind_are_left_to_the_scans(site: Site) -> None:
    with service(site.config, os.environ) as daemon:
        (desk,) = daemon._desks
        for number in range(HINTED_MOST):
            desk.hinted(f"visit-{number}.json")
        desk.scan_wanted = False
        desk.hinted("visit-0.json")
        assert not desk.scan_wanted
        desk.hinted("one-more.json")

    assert desk.scan_wanted
    assert len(desk.tracks) == HINTED_MOST


def test_a_file_that_waits_for_two_that_hang_is_not_left_with_them(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """It came when nobody knew yet that these hang, and nothing comes after it."""
    monkeypatch.setattr(crew, "TOGETHER", 1)
    monkeypatch.setattr(crew, "HANGS_S", 2.0)
    for module in (desks, loop):
        monkeypatch.setattr(module, "SLOW_S", 0.2)
    go, hanging, real = threading.Event(), list[str](), examine.open_safely

    def opened(path: str) -> int:
        if "hangs" in path:
            hanging.append(path)
            go.wait(PATIENCE_S)
        return real(path)

    monkeypatch.setattr(examine, "open_safely", opened)
    with service(site.config, os.environ) as daemon, running(daemon):
        site.put("hangs.json", score(1))
        wait_for(lambda: hanging, "the first one")
        site.put("hangs too.json", score(2))
        site.put("visit.json", score(3))
        try:
            wait_for((site.done / "visit.json").exists, "the one that does not hang")
        finally:
            go.set()


def test_a_rate_limit_spreads_the_uploads_of_all_routes_together(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_routes(tmp_path, sandbox.url, "a", "b", rate_limit="10/s")
    for number in range(12):
        (tmp_path / "ab"[number % 2] / "drop" / f"{number}.json").write_text(json.dumps(score(number)))
    began_s = time.monotonic()
    assert site.once().outcomes[Outcome.UPLOADED] == 12
    assert time.monotonic() - began_s >= 1.0
