"""`done: done/%Y-%m-%d`: a folder for each day, and everything finds a file where it was filed."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from canarysync import tree
from canarysync.candidates import RECEIPT_SUFFIX
from canarysync.errors import Exit
from canarysync.moving import temporary_name
from canarysync.sandbox import Sandbox
from canarysync.service import api_calls
from canarysync.step import Outcome
from canarysync.tree import DatedFolders
from canarysync.verify import Means, Verdict, exit_code, verify
from tests.support import Site, make_site, score, stored, wait_for

FLAT = "clinic/done"
BY_YEAR, BY_DAY, BY_HOUR = f"{FLAT}/of %Y", f"{FLAT}/%Y-%m-%d", f"{FLAT}/%Y/%m/%d/at %H"


@pytest.fixture
def site(tmp_path: Path, sandbox: Sandbox) -> Site:
    return make_site(tmp_path, sandbox.url, routes__done=BY_DAY)


def receipts(site: Site) -> dict[str, Path]:
    """By the files' names: where their receipts are, relative to done/."""
    found = [Path(name) for name in tree.names(site.done, deep=True) if name.endswith(RECEIPT_SUFFIX)]
    return {path.name.removesuffix(RECEIPT_SUFFIX): path for path in found}


def reconfigure(site: Site, done: str) -> None:
    text = site.config_path.read_text()
    for other in (FLAT, BY_DAY, BY_HOUR):
        text = text.replace(f'"{other}"', f'"{done}"').replace(f"done: {other}\n", f'done: "{done}"\n')
    site.config_path.write_text(text)
    assert site.config.routes[0].dated == done.removeprefix(FLAT).strip("/")


def upload(site: Site, name: str, number: int) -> Path:
    """Its place in done/, relative to that."""
    site.put(name, score(number))
    assert site.once(wait_s=30.0).outcomes == {Outcome.UPLOADED: 1}
    return receipts(site)[name].parent / name


def lose_ledger(site: Site) -> None:
    shutil.rmtree(site.home / "state")


def verified(site: Site) -> tuple[Exit, dict[Verdict, int]]:
    with api_calls(site.config, os.environ) as calls:
        tallies = verify(site.config, site.config.routes, None, Means(calls))
    return exit_code(tallies), dict(tallies[0].counts)


# --- filing ------------------------------------------------------------------------------------------


def test_the_folder_is_that_of_the_day_on_which_the_upload_was_recorded(site: Site) -> None:
    site.done.chmod(0o2770)
    place = upload(site, "visit.json", 1)

    told = json.loads((site.done / f"{place}{RECEIPT_SUFFIX}").read_bytes())
    assert str(place.parent) == told["uploadedAt"][:10]
    assert stat.S_IMODE((site.done / place).parent.stat().st_mode) == 0o2770, "the rights of done/"
    assert sorted(os.listdir(site.done / place.parent)) == ["visit.json", "visit.json.receipt.json"]
    assert f"filed as done/{place}" in site.told("history", "visit.json").stdout


def test_a_folder_for_each_hour(site: Site) -> None:
    reconfigure(site, BY_HOUR)
    place = upload(site, "visit.json", 1)
    told = json.loads((site.done / f"{place}{RECEIPT_SUFFIX}").read_bytes())
    assert str(place.parent) == f"{datetime.fromisoformat(told['uploadedAt']):%Y/%m/%d/at %H}"


def test_what_failed_is_in_one_folder(site: Site) -> None:
    site.put("bad.json", "{")
    site.once()
    assert sorted(os.listdir(site.failed)) == ["bad.json", "bad.json.error.json"]
    assert os.listdir(site.done) == [], "no folder that nothing goes into"


@pytest.mark.parametrize("kind", ["file", "link"])
def test_what_stands_in_the_way_of_the_folder_is_told_and_not_followed(site: Site, kind: str) -> None:
    reconfigure(site, BY_YEAR)
    year = site.done / upload(site, "first.json", 1).parent
    os.rename(year, site.home / "elsewhere")
    if kind == "file":
        year.write_text("mine")
    else:
        year.symlink_to(site.home / "elsewhere")
    site.put("visit.json", score(2))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    assert site.waiting() == ["visit.json"]
    assert sorted(os.listdir(site.home / "elsewhere")) == ["first.json", "first.json.receipt.json"]

    year.unlink()
    wait_for(lambda: site.once(wait_s=5.0).exit_code() == Exit.OK, "the file to be filed")
    assert set(receipts(site)) == {"visit.json"}


def test_a_done_folder_that_is_away_is_not_made(site: Site) -> None:
    upload(site, "first.json", 1)
    os.rename(site.done, site.home / "away")
    site.put("visit.json", score(2))

    assert site.once().exit_code() == Exit.TRY_AGAIN

    assert not site.done.exists()
    assert site.waiting() == ["visit.json"]


def test_a_folder_that_somebody_archived_is_made_again(site: Site) -> None:
    upload(site, "first.json", 1)
    for day in os.listdir(site.done):
        os.rename(site.done / day, site.home / day)
    assert upload(site, "visit.json", 2).name == "visit.json"
    assert verified(site) == (Exit.OK, {Verdict.FINE: 1, Verdict.GONE: 1})


# --- the pattern comes, changes and goes -----------------------------------------------------------------


@pytest.mark.parametrize("lost", [False, True], ids=["ledger", "lost ledger"])
def test_files_are_found_where_they_were_filed(site: Site, sandbox: Sandbox, lost: bool) -> None:
    for number, done in enumerate([FLAT, BY_DAY, BY_HOUR, FLAT]):
        reconfigure(site, done)
        if lost and number:
            lose_ledger(site)
        assert len(upload(site, f"{number}.json", number).parts) == {FLAT: 1, BY_DAY: 2, BY_HOUR: 5}[done]
    if lost:
        lose_ledger(site)

    for number in range(4):
        site.put(f"again-{number}.json", json.dumps(score(number), indent=1))
    assert site.once(wait_s=30.0).outcomes == {Outcome.DUPLICATE: 4}

    assert len(stored(sandbox)) == 4
    assert verified(site) == (Exit.OK, {Verdict.FINE: 8})
    assert json.loads(site.told("status", "--json").stdout)["routes"][0]["done"] == 8


@pytest.mark.parametrize("lost", [False, True], ids=["ledger", "lost ledger"])
def test_a_move_that_a_crash_came_into_goes_on_to_the_same_folder(site: Site, sandbox: Sandbox, lost: bool) -> None:
    place = upload(site, "visit.json", 1)
    os.rename(site.done / place, site.drop / "visit.json")  # as a crash between sidecar and move leaves it
    entry_id = json.loads((site.done / f"{place}{RECEIPT_SUFFIX}").read_bytes())["entryId"]
    (site.done / place.parent / temporary_name(entry_id)).write_text("half of a file")
    with closing(sqlite3.connect(site.home / "state" / "ledger.sqlite3")) as ledger:
        ledger.execute("UPDATE entries SET filed_at = NULL")
        ledger.commit()
    if lost:
        lose_ledger(site)
    reconfigure(site, BY_HOUR)

    assert site.once(wait_s=30.0).exit_code() == Exit.OK

    assert sorted(os.listdir(site.done / place.parent)) == ["visit.json", "visit.json.receipt.json"]
    assert site.waiting() == []
    assert len(stored(sandbox)) == 1


def test_links_and_hidden_folders_are_nobodys_receipts(site: Site, sandbox: Sandbox) -> None:
    place = upload(site, "visit.json", 1)
    os.rename(site.done / place.parent, site.home / "elsewhere")
    (site.done / "link").symlink_to(site.home / "elsewhere")
    shutil.copytree(site.home / "elsewhere", site.done / ".snapshot")
    (site.done / "lost+found").mkdir(mode=0)
    lose_ledger(site)
    site.put("again.json", score(1))
    assert site.once(wait_s=30.0).outcomes == {Outcome.RECOVERED: 1}, "it had to be looked for"
    assert verified(site) == (Exit.NEEDS_A_PERSON, {Verdict.FINE: 1, Verdict.NO_SIDECAR: 1}), "that is the link"


def test_verify_tells_of_a_file_without_its_receipt_only_where_files_go(site: Site) -> None:
    place = upload(site, "visit.json", 1)
    (site.done / place.parent / "notes.txt").write_text("mine")
    assert verified(site) == (Exit.NEEDS_A_PERSON, {Verdict.FINE: 1, Verdict.NO_SIDECAR: 1})
    assert f"done/{place.parent}/notes.txt" in site.told("verify").stdout

    reconfigure(site, FLAT)
    assert verified(site) == (Exit.OK, {Verdict.FINE: 1})


# --- people ----------------------------------------------------------------------------------------------


def test_a_score_is_sent_again_by_the_name_of_its_file(site: Site, sandbox: Sandbox) -> None:
    place = upload(site, "visit.json", 1)
    assert site.told("requeue", "--send-again", "visit.json").returncode == Exit.OK
    assert site.once().outcomes == {Outcome.UPLOADED: 1}
    assert len(stored(sandbox)) == 2
    assert (site.done / place).is_file()


def test_of_several_files_of_a_name_the_one_in_the_folder_is_meant(site: Site) -> None:
    place = upload(site, "visit.json", 1)
    older = site.done / "2020-01-01"
    os.rename(site.done / place.parent, older)
    upload(site, "visit.json", 2)
    lose_ledger(site)  # so that it knows where the first one is now
    site.once(wait_s=5.0)

    said = site.told("requeue", "--send-again", "visit.json")
    assert (said.returncode, site.waiting()) == (Exit.NEEDS_A_PERSON, [])
    assert "name it with its folder, as in 2020-01-01/visit.json" in said.stdout

    assert site.told("requeue", "--send-again", "clinic/done/2020-01-01/visit.json").returncode == Exit.OK
    assert json.loads((site.drop / "visit.json").read_text()) == score(1)


def test_check_looks_at_the_folder_of_today(site: Site) -> None:
    reconfigure(site, BY_YEAR)
    year = site.done / upload(site, "visit.json", 1).parent
    year.chmod(0o755)
    assert f"{year} lets everybody in" in site.told("check").stdout


# --- keep ------------------------------------------------------------------------------------------------


def test_a_folder_goes_with_its_last_file_but_not_the_one_of_today(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_site(tmp_path, sandbox.url, routes__done=BY_HOUR, routes__keep__done="30d")
    old, fresh = upload(site, "old.json", 1), upload(site, "fresh.json", 2)
    gone = site.done / "2020/01/31/at 23"
    gone.mkdir(parents=True)
    for name in ("old.json", "old.json.receipt.json"):
        os.rename((site.done / old).parent / name, gone / name)
    (site.done / "2020" / "02").mkdir()
    age(site, gone, "old.json")

    site.once()
    assert os.listdir(site.done / "2020") == ["02"], "what we emptied goes, as far up as it is empty"
    assert (site.done / fresh).is_file()

    age(site, site.done / fresh.parent, "fresh.json")
    site.once()
    assert os.listdir(site.done / fresh.parent) == [], "today's stays"
    assert verified(site) == (Exit.OK, {})


def age(site: Site, folder: Path, name: str) -> None:
    """Files that were filed a hundred days earlier, by their receipt, and by the ledger, which knows their folder."""
    target = os.fsencode(folder.relative_to(site.done) / name)
    with closing(sqlite3.connect(site.home / "state" / "ledger.sqlite3")) as ledger:
        sql = "UPDATE entries SET target = ?, filed_at = strftime('%Y-%m-%dT%H:%M:%fZ', filed_at, '-100 days')"
        ledger.execute(f"{sql} WHERE name = ?", (target, os.fsencode(name)))
        ledger.commit()
    path = folder / f"{name}{RECEIPT_SUFFIX}"
    told = json.loads(path.read_text())
    told["uploadedAt"] = (datetime.fromisoformat(told["uploadedAt"]) - timedelta(days=100)).isoformat()
    path.write_text(json.dumps(told))


# --- durability --------------------------------------------------------------------------------------------


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is made and fsynced, in order, by the names of the folders."""
    seen: list[str] = []
    mkdir, fsync = os.mkdir, os.fsync

    def making(path: str, mode: int = 0o777) -> None:
        mkdir(path, mode)
        seen.append(f"mkdir {os.path.basename(path)}")

    def syncing(fd: int) -> None:
        fsync(fd)
        seen.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{fd}')).name}")

    monkeypatch.setattr(os, "mkdir", making)
    monkeypatch.setattr(os, "fsync", syncing)
    return seen


def test_each_folder_is_durable_before_anything_goes_into_it(tmp_path: Path, calls: list[str]) -> None:
    done, month = tmp_path, f"{tmp_path}/2026/03"
    DatedFolders(str(done)).make(month)
    made = ["mkdir 2026", f"fsync {done.name}", "mkdir 03", "fsync 2026"]
    assert calls == made

    calls.clear()
    folders = DatedFolders(str(done))  # of another process: the one before may have died in the middle
    folders.make(month)
    assert calls == [f"fsync {done.name}", "fsync 2026"]
    folders.make(month)
    folders.make(str(done))
    assert calls == [f"fsync {done.name}", "fsync 2026"], "once is enough"

    (done / "2026" / "03").rmdir()
    (done / "2026").rmdir()
    calls.clear()
    folders.make(month)
    assert calls == made, "it is not the one that was durable"


def test_the_units_name_what_is_above_the_dates(site: Site) -> None:
    reconfigure(site, BY_HOUR)
    [line] = [line for line in site.told("systemd").stdout.splitlines() if line.startswith("ReadWritePaths=")]
    assert line == f"ReadWritePaths={site.home}", "what holds drop/, failed/ and the folder above the dates"
