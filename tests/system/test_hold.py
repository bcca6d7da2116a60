"""`canarysync hold` and `release`: a person stops a route, and keeps its files."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from canarysync.errors import Exit
from canarysync.hold import hold, made_by, release
from canarysync.ledger import Claimed, Draft
from canarysync.ledger_sqlite import SqliteLedger
from canarysync.model import Document, Proof, Score, Syntax
from canarysync.parse import parse
from canarysync.reading import Content, read
from canarysync.sandbox import Sandbox
from canarysync.status import exit_code, gather
from canarysync.step import Outcome
from canarysync.validate import validate
from canarysync.views import summary_line
from tests.support import Site, make_site, score, unique_assessment, wait_for

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)


def say(site: Site, *arguments: str, code: int = Exit.OK) -> str:
    """The command; what it printed."""
    ended = site.told(*arguments)
    assert ended.returncode == code, ended.stdout + ended.stderr
    return ended.stdout + ended.stderr


def hold_it(site: Site) -> None:
    hold(site.config, site.config.routes[0], made_by({}, "", NOW))


def test_a_running_daemon_stops_at_once_and_goes_on_after_the_release(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_site(tmp_path, sandbox.url, log__level="debug")
    sandbox.faults.add("put:status=503,retry_after=0,times=2")
    site.put("before.json", score(1))
    daemon = site.start()
    try:
        wait_for(lambda: site.filed() == ["before.json"], "the first file")
        told = say(site, "hold", "clinic", "--reason", "wrong\x1bexport")
        site.put("good.json", score(2))
        site.put("bad.json", "{")
        for name in ("good.json", "bad.json"):
            wait_for(lambda name=name: f"on_hold route=clinic file={name}" in site.log(), name)  # type: ignore[misc]
        wait_for(lambda: "the route is on hold" in site.log(), "the daemon's word")
        assert site.waiting() == ["bad.json", "good.json"]
        assert len(sandbox.scores) == 1

        shown = say(site, "status", code=Exit.NEEDS_A_PERSON)
        released = say(site, "release", "clinic")
        wait_for(lambda: not site.waiting(), "an empty drop folder")
    finally:
        daemon.terminate()
        daemon.wait()
    assert told.splitlines()[0] == "The route clinic is on hold."
    assert "wrong\\x1bexport" in shown
    assert "its files stay in drop/ until: canarysync release clinic" in shown
    assert "within 1 s" in released
    assert (site.filed(), site.error("bad.json")["code"]) == (["before.json", "good.json"], "syntax")
    assert site.log().count("the route is on hold") == site.log().count("the route is released") == 1


def test_run_once_leaves_what_is_on_hold_and_says_so(site: Site, sandbox: Sandbox) -> None:
    """What is new, deferred and in doubt, all stays as it is."""
    other = {"assessmentId": unique_assessment()}
    sandbox.faults.add("put:drop_before,times=1")
    site.put("doubtful.json", score(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    site.put("new.json", score(2, **other))
    hold_it(site)
    requests = sandbox.requests.total()

    summary = site.once(wait_s=60.0)

    assert (summary.exit_code(), summary_line(summary)) == (Exit.NEEDS_A_PERSON, "the route clinic is on hold")
    assert sandbox.requests.total() == requests
    assert site.waiting() == ["doubtful.json", "new.json"]
    told = gather(site.config, datetime.now(UTC))
    [route] = told.routes
    assert (route.files.waiting, route.files.in_doubt, exit_code(told)) == (1, 1, Exit.NEEDS_A_PERSON)

    release(site.config, site.config.routes[0])
    assert site.once(wait_s=10.0).outcomes.total() == 2


def test_what_is_decided_goes_to_its_place_all_the_same(site: Site) -> None:
    """Its score is at the API; the move is all that is left."""
    site.once()
    path = site.put("visit.json", score(1))
    content = read(path, 10_000)
    assert isinstance(content, Content)
    document = parse(content.data, Syntax.JSON)
    assert isinstance(document, Document)
    found = validate(document)
    assert isinstance(found, Score)
    with SqliteLedger(site.home / "state" / "ledger.sqlite3") as ledger:
        route_id = ledger.routes()["clinic"]
        draft = Draft(route_id, path.name, content.sha256, content.signature, found.assessment_id, found.identity)
        claimed = ledger.intend(draft, NOW)
        assert isinstance(claimed, Claimed)
        ledger.upload(claimed.entry, unique_assessment(), Proof.RESPONSE, path.name, NOW)
    hold_it(site)

    assert site.once().outcomes == {Outcome.UPLOADED: 1}
    assert site.filed() == ["visit.json"]


def test_a_hold_outlives_a_damaged_ledger(site: Site) -> None:
    site.once()
    hold_it(site)
    site.put("visit.json", score(1))
    with closing(sqlite3.connect(site.home / "state" / "ledger.sqlite3")) as ledger:
        ledger.execute("DROP INDEX suspects_score")  # not what the migrations make

    assert site.once().on_hold == ["clinic"]
    assert site.waiting() == ["visit.json"]


def test_what_cannot_be_meant_is_refused(site: Site) -> None:
    assert "it was never started" in say(site, "hold", "clinic", code=Exit.NEEDS_A_PERSON)
    site.once()
    assert "there is no route other; there are: clinic" in say(site, "hold", "other", code=Exit.USAGE)
    assert say(site, "release", "clinic") == "The route clinic was not on hold.\n"
