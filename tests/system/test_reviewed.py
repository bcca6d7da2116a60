"""What reviews of the whole found, and nothing else was holding."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import pytest

from canarysync.daemon import orphans
from canarysync.errors import Exit, LedgerError, SetupError
from canarysync.report import Event
from canarysync.sandbox import Endpoint, Sandbox
from canarysync.service import service
from canarysync.state import LEDGER_NAME
from canarysync.step import Outcome
from tests.support import PATIENCE_S, Site, make_site, running, score, stored, wait_for


def put_count(sandbox: Sandbox) -> int:
    return sum(count for (endpoint, _), count in sandbox.requests.items() if endpoint is Endpoint.PUT)


def test_a_single_pass_ends_while_the_api_answers_nothing_but_errors(site: Site, sandbox: Sandbox) -> None:
    """Every file is in doubt, and every look fails: each is tried, and the rest is for the next run."""
    sandbox.faults.add("put:status=502", "scores:status=502")
    for number in range(60):
        site.put(f"{number:02}.json", score(number))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    assert put_count(sandbox) == 60
    assert sandbox.requests["scores", 502] <= 60


def test_a_single_pass_ends_when_nothing_can_be_filed(site: Site, sandbox: Sandbox) -> None:
    site.once()
    for number in range(200):
        site.put(f"{number:03}.json", "{}")
    site.failed.rmdir()
    assert site.once(wait_s=1).exit_code() == Exit.TRY_AGAIN
    site.failed.mkdir()
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.NEEDS_A_PERSON
    assert site.waiting() == []


def test_a_recovered_score_that_is_there_twice_says_so(tmp_path: Path) -> None:
    """The first request was lost on its way and arrives after the second, whose answer is lost too."""

    def arrive_late(line: str) -> None:
        if "put" in line.lower() and len(sandbox.scores) == 1:
            sandbox._store.add(sandbox.scores[0].assessment_id, sandbox.scores[0].body)

    with Sandbox(log=arrive_late) as sandbox:
        site = make_site(tmp_path, sandbox.url)
        sandbox.faults.add("put:drop_before,times=1", "put:drop_after,times=1")
        site.put("visit.json", score(1))
        assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
        receipt = site.receipt("visit.json")
    assert len(sandbox.scores) == 2
    assert (receipt["outcome"], receipt["possibleDuplicate"]) == ("recovered", True)


def test_a_uuid_of_another_file_is_for_a_person_and_nothing_is_sent_again(
    site: Site, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An API that takes two of our scores for one."""
    site.put("a.json", score(1))
    assert site.once().exit_code() == Exit.OK
    first = sandbox.scores[0]
    monkeypatch.setattr(sandbox._store, "add", lambda assessment_id, body: first)
    site.put("b.json", score(1, dateRecorded="2026-01-01T00:00:01+00:00"))
    for _ in range(3):
        assert site.once(wait_s=1).exit_code() == Exit.NEEDS_A_PERSON
    assert put_count(sandbox) == 2


def test_a_route_that_is_renamed_goes_on_and_one_that_is_a_copy_does_not(site: Site, sandbox: Sandbox) -> None:
    site.put("a.json", score(1))
    assert site.once().exit_code() == Exit.OK
    text = site.config_path.read_text()
    site.config_path.write_text(text.replace("  - folder:", "  - name: renamed\n    folder:"))
    site.put("b.json", score(2))
    assert site.once().exit_code() == Exit.OK
    shutil.copytree(site.drop.parent, site.home / "copy")
    routes = text + f"\n  - folder: {site.home / 'copy'}\n    name: copy\n"
    lines = [line for line in routes.splitlines() if not line.startswith("state:")]
    site.config_path.write_text(f"state: {site.home / 'state'}\n" + "\n".join(lines) + "\n")
    with pytest.raises(SetupError, match="copy"), service(site.config, os.environ, once=True) as daemon:
        daemon.run()


def test_a_new_file_under_the_name_of_one_that_was_just_filed_is_not_left(site: Site, sandbox: Sandbox) -> None:
    """The old one was uploaded, and could not be moved; meanwhile another score came under its name."""
    site.once()
    site.put("visit.json", score(1))
    site.done.rename(site.home / "away")
    sandbox.faults.add("put:delay,delay=0")
    site.once()
    (site.home / "away").rename(site.done)
    site.put("visit.json", score(2))
    assert site.once().exit_code() == Exit.OK
    assert site.waiting() == []
    assert len(sandbox.scores) == len(stored(sandbox)) == put_count(sandbox)
    assert json.loads(sandbox.scores[-1].body)["scoreData"] == {"value": 2}


def test_a_stale_error_that_cannot_be_read_does_not_stop_the_start(site: Site) -> None:
    site.once()
    (site.failed / "gone.json.error.json").symlink_to("nowhere")
    (site.failed / "other.json.error.json").mkdir()
    assert site.once().exit_code() == Exit.OK


def test_status_of_an_unmounted_folder_is_not_that_of_an_empty_one(site: Site) -> None:
    site.once()
    site.drop.rename(site.home / "away")
    site.drop.mkdir()
    told = site.told("status")
    assert told.returncode == 75
    assert "marker is missing" in told.stdout


def test_a_closed_stderr_is_no_defect(site: Site, sandbox: Sandbox) -> None:
    site.put("visit.json", score(1))
    told = site.cli("run-once", "-c", str(site.config_path), preexec_fn=lambda: os.close(2))
    assert (told.returncode, told.stdout) == (0, "1 uploaded\n")


def test_the_folder_is_gone_while_a_request_is_under_way(tmp_path: Path) -> None:
    """What was sent is recorded; the file is not gone, so nothing is filed in its stead."""
    away = tmp_path / "away"

    def take_away(line: str) -> None:
        if "put" in line.lower() and not away.exists():
            site.drop.rename(away)

    with Sandbox(log=take_away) as sandbox:
        site = make_site(tmp_path, sandbox.url)
        site.put("visit.json", score(1))
        assert site.once().exit_code() == Exit.TRY_AGAIN
        assert site.filed() == []
        away.rename(site.drop)
        assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
        site.assert_all_done_once(["visit.json"], stored(sandbox))


def test_failing_looks_come_ever_more_slowly(site: Site, sandbox: Sandbox) -> None:
    sandbox.faults.add("put:drop_after", "scores:status=500")
    site.put("visit.json", score(1))
    started_s = time.monotonic()
    site.once(wait_s=2)
    assert time.monotonic() - started_s < PATIENCE_S
    assert sandbox.requests["scores", 500] <= 12  # 100 ms, doubling, to 500 ms; half of that at least


def test_nothing_is_sent_once_the_state_folder_is_gone(site: Site, sandbox: Sandbox) -> None:
    """SQLite itself would not notice: what it records into a deleted file is lost with the process."""
    site.put("first.json", score(1))

    def seen(event: Event) -> None:
        if event.name == "first.json":
            shutil.rmtree(site.home / "state")
            site.put("second.json", score(2))
        elif event.step.outcome is Outcome.DEFERRED:
            daemon.stop()

    with (
        pytest.raises(LedgerError, match="removed"),
        service(site.config, os.environ, observer=seen) as daemon,
    ):
        daemon.run()
    assert put_count(sandbox) == 1
    assert site.waiting() == ["second.json"]


def leave_the_config(site: Site) -> Path:
    """The route makes place for another one; its old drop folder is returned."""
    (site.home / "other").mkdir()
    site.config_path.write_text(site.config_path.read_text().replace("folder: clinic", "folder: other"))
    return site.home / "other" / "drop"


def come_back(site: Site) -> None:
    site.config_path.write_text(site.config_path.read_text().replace("folder: other", "folder: clinic"))


def test_what_a_route_that_left_the_config_never_sent_stands_in_nobodys_way(site: Site, sandbox: Sandbox) -> None:
    sandbox.faults.add("put:status=408,times=1")
    site.put("visit.json", score(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    drop = leave_the_config(site)

    told = site.cli("run-once", "-c", str(site.config_path))
    assert "not in the config: put it back route=clinic files=1" in told.stderr
    (drop / "same.json").write_text(json.dumps(score(1)))
    assert site.once().outcomes == {Outcome.UPLOADED: 1}

    come_back(site)
    assert site.once().outcomes == {Outcome.DUPLICATE: 1}
    assert len(sandbox.scores) == 1


def test_a_ledger_that_cannot_part_with_them_now_stops_nothing_and_does_so_later(
    site: Site, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And they have their turns: so many of them would keep the loop from feeding the watchdog."""
    monkeypatch.setattr(orphans, "AT_ONCE", 2)
    monkeypatch.setattr(orphans, "AGAIN_S", 0.1)
    sandbox.faults.add("put:status=408,times=5")
    for number in range(5):
        site.put(f"{number}.json", score(number))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    leave_the_config(site)
    with service(site.config, os.environ) as daemon, closing(sqlite3.connect(site.home / "state" / LEDGER_NAME)) as db:
        db.execute("CREATE TRIGGER no BEFORE UPDATE OF verdict ON entries BEGIN SELECT zeroblob(2147483647); END")
        with running(daemon):
            wait_for(lambda: "the ledger cannot be written" in caplog.text, "a trouble", 15.0)
            db.execute("DROP TRIGGER no")
            wait_for(lambda: "not in the config: put it back" in caplog.text, "all to be parted with", 15.0)
            assert db.execute("SELECT count(*) FROM entries WHERE verdict = 'withdrawn'").fetchone() == (5,)


def test_what_it_left_in_doubt_is_for_a_person_and_its_twin_with_it(site: Site, sandbox: Sandbox) -> None:
    sandbox.faults.add("put:drop_after,times=1")
    site.put("visit.json", score(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    drop = leave_the_config(site)
    site.once()
    (drop / "same.json").write_text(json.dumps(score(1)))

    assert site.once().held == 1
    assert len(sandbox.scores) == 1

    come_back(site)
    assert site.once().outcomes == {Outcome.RECOVERED: 1}
    leave_the_config_again = site.config_path.read_text().replace("folder: clinic", "folder: other")
    site.config_path.write_text(leave_the_config_again)
    assert site.once().outcomes == {Outcome.DUPLICATE: 1}


def test_status_says_why_nothing_is_sent(site: Site) -> None:
    site.put("visit.json", score(1))
    site.failed.rmdir()

    told = site.told("status")

    assert told.returncode == Exit.TRY_AGAIN
    assert "nothing is sent: failed/ is not there" in told.stdout
