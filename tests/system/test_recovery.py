"""A ledger that was lost, damaged, or restored from an old backup: read-backs, and nothing twice (README, "What is
promised")."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from canarysync.errors import CanarysyncError, Exit
from canarysync.sandbox import Sandbox
from canarysync.step import Outcome
from tests.support import Site, make_site, score, stored, wait_for


def bring_home(site: Site) -> None:
    """Single runs until nothing waits."""
    wait_for(lambda: site.once(wait_s=5.0).exit_code() != Exit.TRY_AGAIN, "a run that leaves nothing")


def lose(site: Site) -> None:
    shutil.rmtree(site.home / "state")


def damage(site: Site) -> None:
    """The first pages are overwritten: no database any more."""
    ledger = site.home / "state" / "ledger.sqlite3"
    ledger.write_bytes(b"\xff" * 4096 + ledger.read_bytes()[4096:])


def tear(site: Site) -> None:
    """A page in the middle is overwritten, as a bad disk does it, and the machine stopped hard: only the integrity
    check finds out."""
    ledger = site.home / "state" / "ledger.sqlite3"
    with closing(sqlite3.connect(ledger)) as connection:
        root = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'scores'").fetchone()[0]
        size = connection.execute("PRAGMA page_size").fetchone()[0]
        connection.execute("UPDATE meta SET value = '0' WHERE key = 'clean'")
        connection.commit()
    data = bytearray(ledger.read_bytes())
    data[(root - 1) * size : root * size] = b"\x0d\xff" * (size // 2)
    ledger.write_bytes(data)


def change_the_schema(site: Site, before: bytes, after: bytes) -> None:
    """The text of the schema is not what it was, nor has it to be text."""
    ledger = site.home / "state" / "ledger.sqlite3"
    data = ledger.read_bytes()
    assert before in data
    ledger.write_bytes(data.replace(before, after))


def garble(site: Site) -> None:
    change_the_schema(site, b"near_key", b"near_\xff\xfe\xff")


def rename_a_column(site: Site) -> None:
    change_the_schema(site, b"near_key", b"near_kex")


LOSSES = pytest.mark.parametrize("loss", [lose, damage, tear, garble, rename_a_column])


def taken_but_unanswered(site: Site, sandbox: Sandbox, name: str, number: int) -> None:
    """A score that the API has, and whose file still waits, in doubt."""
    sandbox.faults.add("put:drop_after,times=1")
    site.put(name, score(number))
    summary = site.once()
    assert summary.left == {"in_doubt": 1}
    assert len([body for _, body in stored(sandbox) if json.loads(body)["scoreData"]["value"] == number]) == 1


@LOSSES
def test_what_was_done_stays_done_and_what_was_in_doubt_is_found(
    site: Site, sandbox: Sandbox, loss: Callable[[Site], None]
) -> None:
    for number in range(3):
        site.put(f"{number}.json", score(number))
    assert site.once().outcomes == {Outcome.UPLOADED: 3}
    taken_but_unanswered(site, sandbox, "doubt.json", 3)

    loss(site)
    site.put("new.json", score(4))  # nobody can know that it came later: it is looked for, too
    site.put("again.json", json.dumps(score(1), indent=1))  # done before the loss
    bring_home(site)

    assert len(stored(sandbox)) == 5
    assert site.receipt("doubt.json")["outcome"] == "recovered"
    assert site.receipt("new.json")["outcome"] == "uploaded"
    assert site.receipt("again.json")["outcome"] == "duplicate"
    assert site.receipt("again.json")["uuid"] == site.receipt("1.json")["uuid"]
    assert site.waiting() == []
    assert json.loads(site.told("status", "--json").stdout)["routes"][0]["done"] == 6


@pytest.mark.parametrize("loss", [damage, tear])
def test_a_damaged_ledger_is_kept(site: Site, loss: Callable[[Site], None], caplog: pytest.LogCaptureFixture) -> None:
    site.put("visit.json", score())
    site.once()
    loss(site)
    damaged = (site.home / "state" / "ledger.sqlite3").read_bytes()

    site.once()

    kept = list((site.home / "state").glob("ledger.sqlite3.damaged-*Z"))
    assert [path.read_bytes() for path in kept] == [damaged]
    assert "the ledger is damaged" in caplog.text


def test_a_ledger_from_a_backup_knows_that_it_is_older(site: Site, sandbox: Sandbox) -> None:
    site.put("0.json", score(0))
    sandbox.faults.add("put:status=429,times=1")
    site.put("slow.json", score(1))
    site.once()
    shutil.copytree(site.home / "state", site.home / "backup")  # here slow.json is known not to be at the API
    site.put("2.json", score(2))
    site.once(wait_s=5.0)
    taken_but_unanswered(site, sandbox, "doubt.json", 3)

    lose(site)
    shutil.copytree(site.home / "backup", site.home / "state")
    bring_home(site)

    assert site.waiting() == []
    assert sorted(site.filed()) == ["0.json", "2.json", "doubt.json", "slow.json"]
    assert len(stored(sandbox)) == 4
    assert len(list((site.home / "state").glob("ledger.sqlite3.older-*"))) == 1


def test_what_an_older_ledger_takes_for_unsent_is_looked_for(site: Site, sandbox: Sandbox) -> None:
    """The backup says: never taken. It was sent later, and the answer was lost with the ledger."""
    sandbox.faults.add("put:status=429,times=1")
    site.put("visit.json", score())
    site.once()
    shutil.copytree(site.home / "state", site.home / "backup")
    sandbox.faults.add("put:drop_after,times=1")
    wait_for(lambda: site.once(wait_s=1.0) and stored(sandbox), "the second attempt")
    shutil.rmtree(site.done)
    site.done.mkdir()
    lose(site)
    shutil.copytree(site.home / "backup", site.home / "state")
    site.put("visit.json", score())

    bring_home(site)

    assert len(stored(sandbox)) == 1
    assert site.filed() == ["visit.json"]


def test_a_ledger_that_is_up_to_date_is_believed(
    site: Site, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        site.put(f"{number}.json", score(number))
        site.once()

    assert "sidecars are taken back in" not in caplog.text
    assert ("scores", 200) not in sandbox.requests, "nothing had to be looked for"


def test_a_folder_that_was_worked_on_with_another_ledger_is_recognised(site: Site, sandbox: Sandbox) -> None:
    site.put("0.json", score(0))
    site.once()
    config = site.config_path.read_text()
    site.config_path.write_text(config.replace("state: state", "state: elsewhere"))
    site.put("1.json", score(1))
    bring_home(site)
    site.config_path.write_text(config)
    site.put("1-again.json", json.dumps(score(1), indent=1))

    bring_home(site)

    assert len(stored(sandbox)) == 2
    assert site.receipt("1-again.json")["outcome"] == "duplicate"


def test_a_file_whose_receipt_was_written_but_that_was_not_moved_is_filed(site: Site, sandbox: Sandbox) -> None:
    site.put("visit.json", score())
    site.once()
    os.rename(site.done / "visit.json", site.drop / "visit.json")  # as a crash between sidecar and move leaves it
    lose(site)

    bring_home(site)

    assert site.filed() == ["visit.json"]
    assert site.receipt("visit.json")["outcome"] == "uploaded"
    assert len(stored(sandbox)) == 1
    assert ("scores", 200) not in sandbox.requests, "the receipt says it all"


def test_failures_are_taken_back_in_too(site: Site) -> None:
    site.put("bad.json", score(dateRecorded=None))
    site.put("refused.json", score(assessmentId="00000000-0000-0000-0000-000000000000"))
    before = site.once()
    lose(site)
    bring_home(site)

    told = json.loads(site.told("status", "--json").stdout)["routes"][0]
    assert before.outcomes[Outcome.FAILED] == told["failed"] == 2
    assert told["failedByCode"] == {"invalid": 1, "refused": 1}


def test_sidecars_that_are_none_are_passed_over(site: Site, sandbox: Sandbox) -> None:
    site.put("0.json", score(0))
    site.once()
    for number, content in enumerate((b"", b"[]", b"{}", b"\xff", b'{"sidecarVersion": 1}', b"[" * 100_000)):
        (site.done / f"odd-{number}.json.receipt.json").write_bytes(content)
    (site.done / "a-folder.receipt.json").mkdir()
    lose(site)
    site.put("0-again.json", json.dumps(score(0), indent=1))

    bring_home(site)

    assert site.receipt("0-again.json")["outcome"] == "duplicate"
    assert len(stored(sandbox)) == 1


def test_a_recovery_that_was_interrupted_is_begun_again(
    site: Site, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("0.json", score(0))
    site.once()
    taken_but_unanswered(site, sandbox, "doubt.json", 1)
    lose(site)
    with monkeypatch.context() as broken:

        def fails(*arguments: object) -> None:
            raise CanarysyncError("suspect")

        broken.setattr("canarysync.ledger_sqlite.SqliteLedger.suspect", fails)
        with pytest.raises(CanarysyncError):
            site.once()

    bring_home(site)

    assert len(stored(sandbox)) == 2
    assert site.receipt("doubt.json")["outcome"] == "recovered"


def test_only_the_file_that_waited_is_suspect_not_the_next_of_its_name(site: Site, sandbox: Sandbox) -> None:
    site.put("0.json", score(0))
    site.once()
    lose(site)
    site.put("visit.json", score(1))
    bring_home(site)
    looks = sandbox.requests["scores", 200]
    site.put("visit.json", score(2))

    assert site.once().outcomes == {Outcome.UPLOADED: 1}
    assert sandbox.requests["scores", 200] == looks


def test_a_suspect_that_is_moved_aside_for_a_while_is_looked_for_all_the_same(site: Site, sandbox: Sandbox) -> None:
    """So one may tidy up after a disaster. That a file left the drop folder says nothing of what the API has."""
    site.put("0.json", score(0))
    site.once()
    taken_but_unanswered(site, sandbox, "doubt.json", 1)
    lose(site)
    sandbox.faults.add("token:status=503")
    assert site.once().exit_code() == Exit.TRY_AGAIN
    (site.drop / "doubt.json").rename(site.home / "aside.json")
    assert site.once().exit_code() == Exit.OK
    (site.home / "aside.json").rename(site.drop / "doubt again.json")
    sandbox.faults.clear()

    bring_home(site)

    assert len(stored(sandbox)) == 2
    assert site.receipt("doubt again.json")["outcome"] == "recovered"


def test_where_the_api_lists_nothing_a_person_decides(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_site(tmp_path, sandbox.url)
    site.put("0.json", score(0))
    site.once()
    lose(site)
    sandbox.faults.add("scores:status=403")
    site.put("visit.json", score(1))

    assert site.once().held == 1
    assert len(stored(sandbox)) == 1


def test_with_a_damaged_ledger_an_unmounted_share_is_not_taken_for_a_new_one(site: Site) -> None:
    site.put("visit.json", score())
    site.once()
    tear(site)
    os.rename(site.home / "clinic", site.home / "unmounted")
    (site.home / "clinic").mkdir()

    summary = site.once()

    assert summary.gone == ["clinic"]
    assert list((site.home / "clinic").iterdir()) == []


def test_beside_a_damaged_ledger_status_says_what_to_do(site: Site) -> None:
    site.put("visit.json", score())
    site.once()
    damage(site)

    told = site.told("status")

    assert told.returncode == Exit.TRY_AGAIN
    assert "start canarysync (again): it sets the database aside" in told.stderr


# --- two routes, two APIs --------------------------------------------------------------------------


def add_a_route(site: Site) -> Path:
    """A second route, "other"; its folder."""
    text = site.config_path.read_text()
    start, end = text.index("  - "), text.index("\nstate:")
    site.config_path.write_text(
        text[:end].rstrip() + "\n" + text[start:end].replace("folder: clinic", "folder: other") + text[end:]
    )
    for name in ("drop", "done", "failed"):
        (site.home / "other" / name).mkdir(parents=True)
    return site.home / "other"


def test_an_older_ledger_is_older_for_a_route_that_comes_back_later_too(site: Site, sandbox: Sandbox) -> None:
    """The other routes' commits since must not hide it."""
    other = add_a_route(site)
    site.once()
    shutil.copytree(site.home / "state", site.home / "backup")
    sandbox.faults.add("put:drop_after,times=1")
    (other / "drop" / "doubt.json").write_text(json.dumps(score(0)))
    assert site.once().left == {"in_doubt": 1}
    lose(site)
    shutil.copytree(site.home / "backup", site.home / "state")

    os.rename(other, site.home / "unmounted")
    for number in range(1, 30):
        site.put(f"{number}.json", score(number))
        site.once()
    os.rename(site.home / "unmounted", other)
    bring_home(site)

    assert json.loads((other / "done" / "doubt.json.receipt.json").read_text())["outcome"] == "recovered"
    assert len(stored(sandbox)) == 30


def test_a_ledger_is_about_one_api(site: Site, sandbox: Sandbox) -> None:
    """What the sandbox has, the real API has not."""
    site.put("visit.json", score())
    site.once()
    with Sandbox() as another:
        site.config_path.write_text(site.config_path.read_text().replace(sandbox.url, another.url))
        site.put("visit.json", score())
        told = site.cli("run-once", "-c", str(site.config_path))
        assert told.returncode == Exit.CONFIG
        assert "give each API a `state` and folders of its own" in told.stderr

        site.config_path.write_text(site.config_path.read_text().replace("state: state", "state: elsewhere"))
        bring_home(site)
        assert len(stored(another)) == 1, "the receipts of the other API count for nothing"


def test_one_route_without_its_done_folder_stops_no_other(site: Site, sandbox: Sandbox) -> None:
    other = add_a_route(site)
    site.once()
    lose(site)
    (other / "done").rmdir()
    site.put("visit.json", score())

    wait_for(lambda: site.once().exit_code() == Exit.TRY_AGAIN and site.filed(), "the file of the other route")

    (other / "done").mkdir()
    bring_home(site)


# --- the marker ------------------------------------------------------------------------------------


def test_a_marker_that_is_gone_is_told_of_and_can_be_restored(site: Site, sandbox: Sandbox) -> None:
    taken_but_unanswered(site, sandbox, "doubt.json", 1)
    (site.drop / ".canarysync").unlink()

    assert site.once().gone == ["clinic"]
    told = site.told("status").stdout
    assert "the drop folder's marker is missing" in told
    command = told.partition("Then: ")[2].splitlines()[0]
    os.system(command)

    bring_home(site)
    assert site.receipt("doubt.json")["outcome"] == "recovered"
    assert len(stored(sandbox)) == 1


def test_a_marker_that_holds_no_id_is_mended_as_it_says_even_when_the_ledger_is_lost_too(
    site: Site, sandbox: Sandbox
) -> None:
    taken_but_unanswered(site, sandbox, "doubt.json", 1)
    lose(site)
    (site.drop / ".canarysync").write_text("garbage\n")

    with pytest.raises(CanarysyncError) as caught:
        site.once()
    os.system(caught.value.hint)

    bring_home(site)
    assert site.receipt("doubt.json")["outcome"] == "recovered"
    assert len(stored(sandbox)) == 1


@pytest.mark.parametrize("linked", ["done", "failed"])
def test_two_folders_that_are_one_are_refused(site: Site, linked: str) -> None:
    (site.home / "clinic" / linked).rmdir()
    os.symlink(site.drop, site.home / "clinic" / linked)
    site.put("visit.json", score())

    told = site.cli("run-once", "-c", str(site.config_path))

    assert told.returncode == Exit.CONFIG
    assert "it is the same folder as" in told.stderr
    assert site.waiting() == ["visit.json"]
    assert "it is the same folder as" in site.told("check").stdout


def test_damage_that_shows_while_it_runs_ends_the_run_and_is_mended_at_the_next(site: Site, sandbox: Sandbox) -> None:
    for number in range(200):
        site.put(f"{number}.json", score(number))
    site.once(wait_s=20.0)
    daemon = site.start()
    try:
        wait_for(lambda: "watching" in site.log(), "the daemon to be at work")
        ledger = site.home / "state" / "ledger.sqlite3"
        with ledger.open("r+b") as file:  # all but the first page, under its feet
            file.seek(4096)
            file.write(b"\xff" * (ledger.stat().st_size - 4096))
        site.put("new.json", score(1000))
        assert daemon.wait(60) == Exit.TRY_AGAIN
    finally:
        daemon.kill()
        daemon.wait()
    assert "start canarysync (again)" in site.log()

    bring_home(site)
    assert len(stored(sandbox)) == 201
    assert len(site.filed()) == 201
