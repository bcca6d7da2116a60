"""`canarysync requeue`: failed files go back into the drop folder."""

from __future__ import annotations

import errno
import json
import os
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from canarysync.errors import Exit
from canarysync.ledger import Draft
from canarysync.ledger_sqlite import SqliteLedger
from canarysync.model import Code, Signature, State
from canarysync.requeue import Failed, Fate, Wanted, requeue
from canarysync.sandbox import Sandbox
from canarysync.step import Outcome
from tests.support import Site, score, wait_for
from tests.system.faults import LIMITS, Crash, another_file_system, failing, just_before_moving, os_error

NOT_UTF8 = os.fsdecode(b"pr\xfcfung.json")
UNFINISHED = "not finished (Input/output error): call again"
Limit = Callable[[pytest.MonkeyPatch], None]


def command(site: Site, *arguments: str) -> subprocess.CompletedProcess[str]:
    return site.told("requeue", *arguments)


def fail(site: Site, *names: str, code: Code = Code.SYNTAX) -> None:
    """Files that failed; as many passes as there are names, so that they failed in this order."""
    for name in names:
        site.put(name, "{" if code is Code.SYNTAX else "{}")
        assert site.once().codes == {str(code): 1}


def again(site: Site, *names: str) -> list[Failed]:
    return requeue(site.config, site.config.routes, Wanted(names))


def fates(found: list[Failed]) -> dict[str, str]:
    """The file's name in failed/, and why it was left, or what became of it."""
    return {failed.file: failed.why or str(failed.fate) for failed in found}


def change_sidecar(site: Site, name: str, **changes: object) -> None:
    path = site.failed / f"{name}.error.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


# --- back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["visit.json", NOT_UTF8, "a'b;$(x).yaml"])
def test_a_file_that_was_mended_in_failed_goes_its_way_again(site: Site, name: str) -> None:
    fail(site, name)
    (site.failed / name).write_text(json.dumps(score(1)))

    assert fates(again(site, name)) == {name: "back"}
    assert (site.waiting(), os.listdir(site.failed)) == ([name], [])

    assert site.once().outcomes == {Outcome.UPLOADED: 1}
    assert site.filed() == [name]


def test_beside_a_running_daemon(site: Site) -> None:
    """One is mended, one fails again: its new sidecar is not taken for the old one."""
    daemon = site.start()
    try:
        for name in ("mended.json", "bad.json"):
            site.put(name, "{")
        wait_for(lambda: len(os.listdir(site.failed)) == 4 and not site.waiting(), "two failures")
        first = site.error("bad.json")["entryId"]
        (site.failed / "mended.json").write_text(json.dumps(score(1)))
        wait_for(lambda: command(site, "--all").returncode == Exit.OK, "what is just being filed to be filed")
        wait_for(lambda: site.filed() == ["mended.json"], "the mended file in done/")
        wait_for(lambda: (site.failed / "bad.json").exists() and not site.waiting(), "the other one back in failed/")
    finally:
        daemon.terminate()
        daemon.wait()
    assert sorted(os.listdir(site.failed)) == ["bad.json", "bad.json.error.json"]
    assert site.error("bad.json")["entryId"] != first


def test_it_gets_the_name_back_that_it_came_with_each_of_several_in_turn(site: Site) -> None:
    fail(site, "visit.json", "visit.json")
    [tagged] = [name for name in os.listdir(site.failed) if name.count(".") == 2 and "error" not in name]

    found = again(site, "visit.json")

    assert fates(found) == {"visit.json": "back", tagged: "another one goes back under that name first: call again"}
    assert again(site, tagged)[0].why == "drop/ has a file of that name"
    (site.drop / "visit.json").unlink()
    assert [(failed.name, failed.fate) for failed in again(site, tagged)] == [("visit.json", Fate.BACK)]
    assert os.listdir(site.failed) == []


@pytest.mark.parametrize("limit", [limit for limit in LIMITS if limit is not another_file_system])
def test_a_crash_at_any_step_loses_nothing_and_the_next_call_finishes(site: Site, limit: Limit) -> None:
    fail(site, "a.json", "b.json")
    failed = {path: path.read_bytes() for path in site.failed.iterdir()}
    at, fired = 1, True
    with pytest.MonkeyPatch.context() as patch:
        limit(patch)
        while fired:
            try:
                with failing(at, Crash(), for_good=True) as count:
                    again(site, "*.json")
            except Crash:
                pass
            there = {name for folder in (site.drop, site.failed) for name in os.listdir(folder)}
            assert {"a.json", "b.json"} <= there

            assert {failed.fate for failed in again(site, "*.json")} <= {Fate.BACK, Fate.GONE}
            assert site.waiting() == ["a.json", "b.json"]
            assert [name for name in os.listdir(site.failed) if not name.startswith(".")] == []
            for name in site.waiting():
                (site.drop / name).unlink()
            for path, content in failed.items():
                path.write_bytes(content)
            at, fired = at + 1, count.fired
    assert at > 8


def test_an_error_at_any_step_keeps_nothing_from_being_told_and_the_next_call_finishes(site: Site) -> None:
    fail(site, "a.json", "b.json")
    failed = {path: path.read_bytes() for path in site.failed.iterdir()}
    at, fired, whys = 2, True, set()  # the first one is of looking at the marker
    while fired:
        with failing(at, os_error(errno.EIO), for_good=False) as count:
            found = again(site, "*.json")
        if count.fired:
            assert {each.file for each in found} == {"a.json", "b.json"}
        whys |= {each.why for each in found if each.fate is Fate.LEFT}
        again(site, "*.json")
        assert site.waiting() == ["a.json", "b.json"]
        assert not list(site.failed.glob("*.json"))
        for name in site.waiting():
            (site.drop / name).unlink()
        for path, content in failed.items():
            path.write_bytes(content)
        at, fired = at + 1, count.fired
    told = ["Input/output error", "it has no readable error sidecar: move it by hand", UNFINISHED]
    assert sorted(whys) == told


@pytest.mark.parametrize("before", ["b.json", "a.json.error.json"])
def test_a_sidecar_that_was_written_meanwhile_stays(site: Site, monkeypatch: pytest.MonkeyPatch, before: str) -> None:
    """The file failed again at once, before its old sidecar was removed."""
    fail(site, "a.json", "b.json")
    new = (site.failed / "a.json.error.json").read_bytes().replace(b"0", b"1")

    def fails_again() -> None:
        (site.failed / "a.json.error.json").unlink()
        (site.failed / "a.json.error.json").write_bytes(new)

    just_before_moving(monkeypatch, site.failed / before, fails_again)
    again(site, "a.json", "b.json")

    assert os.listdir(site.failed) == ["a.json.error.json"]
    assert (site.failed / "a.json.error.json").read_bytes() == new


# --- left ------------------------------------------------------------------------------------------------


def in_use(site: Site) -> None:
    site.put("visit.json", "another")


def without_sidecar(site: Site) -> None:
    (site.failed / "visit.json.error.json").unlink()


def damaged_sidecar(site: Site) -> None:
    (site.failed / "visit.json.error.json").write_text('{"code": "syntax", "failedAt": 7}')


def unmatched(site: Site) -> None:
    for name in ("visit.json", "visit.json.error.json"):
        (site.failed / name).rename(site.failed / name.replace("visit.json", "visit.txt"))
    change_sidecar(site, "visit.txt", file=".hidden.json")


def never_moved(site: Site) -> None:
    (site.failed / "visit.json").unlink()
    change_sidecar(site, "visit.json", fileMissing=True)


def being_filed(site: Site) -> None:
    with SqliteLedger(site.home / "state" / "ledger.sqlite3") as ledger:
        draft = Draft(ledger.routes()["clinic"], "visit.json", None, Signature(1, 1, 1, 1))
        ledger.fail(draft, State.REJECTED, Code.SYNTAX, None, "visit.json", datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (in_use, "drop/ has a file of that name"),
        (without_sidecar, "it has no readable error sidecar: move it by hand"),
        (damaged_sidecar, "it has no readable error sidecar: move it by hand"),
        (unmatched, "no pattern of the route matches its name"),
        (never_moved, "its file was gone before it could be filed"),
        (being_filed, "it is just being filed: try again in a moment"),
    ],
)
@pytest.mark.parametrize("dry_run", [False, True])
def test_what_cannot_go_back_is_left_and_told(
    site: Site, what: Callable[[Site], None], why: str, dry_run: bool
) -> None:
    fail(site, "visit.json")
    what(site)
    before = {path: path.read_bytes() for folder in (site.drop, site.failed) for path in folder.iterdir()}

    found = requeue(site.config, site.config.routes, Wanted(), dry_run=dry_run)

    assert [failed.why for failed in found] == [why]
    assert {path: path.read_bytes() for folder in (site.drop, site.failed) for path in folder.iterdir()} == before


def test_another_file_system_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fail(site, "visit.json")
    another_file_system(monkeypatch)

    assert fates(again(site, "*")) == {"visit.json": "drop/ is on another file system: move it by hand"}
    assert len(os.listdir(site.failed)) == 2


@pytest.mark.parametrize(
    "name", ["../../api-key", "/etc/passwd", "..", "", ".canarysync", "a\0b.json", "x.tmp", "\ud800.json", 7, None]
)
def test_a_name_that_leads_elsewhere_is_not_believed(site: Site, name: object) -> None:
    fail(site, "visit.json")
    change_sidecar(site, "visit.json", file=name)
    outside = sorted(site.home.iterdir())

    assert fates(again(site)) == {"visit.json": "back"}
    assert (site.waiting(), sorted(site.home.iterdir())) == (["visit.json"], outside)


def unmount(site: Site) -> None:
    (site.drop / ".canarysync").unlink()


def unmount_failed(site: Site) -> None:
    site.failed.rename(site.home / "elsewhere")


@pytest.mark.parametrize(("what", "why"), [(unmount, "marker is missing"), (unmount_failed, "cannot list failed/")])
def test_folders_that_are_not_there_are_told(site: Site, what: Callable[[Site], None], why: str) -> None:
    fail(site, "visit.json")
    what(site)

    [left] = again(site)

    assert left.fate is Fate.LEFT
    assert why in left.why
    assert "visit.json" not in os.listdir(site.drop)
    assert again(site, "other.json") == [left], "whether that is there nobody knows"


# --- which ones ------------------------------------------------------------------------------------------


def test_what_is_wanted(site: Site) -> None:
    fail(site, "a.json", "b[1].json")
    fail(site, "c.json", code=Code.INVALID)

    def names(**wanted: Any) -> str:
        found = requeue(site.config, site.config.routes, Wanted(**wanted), dry_run=True)
        return " ".join(failed.file if failed.fate is Fate.BACK else f"{failed.fate}:{failed.file}" for failed in found)

    assert names() == names(names=["*"]) == "a.json b[1].json c.json"
    assert names(names=["b[1].json", "clinic/failed/a.json.error.json"]) == "a.json b[1].json"
    assert names(names=["[ab]*", "z.json", "z*"]) == "a.json b[1].json unknown:z.json"
    assert names(codes=["invalid"], names=["a.json", "c.json"]) == "c.json unknown:a.json"
    assert names(since=datetime.fromisoformat(site.error("b[1].json")["failedAt"])) == "b[1].json c.json"


def test_the_command_says_what_it_did(site: Site, sandbox: Sandbox) -> None:
    fail(site, *(f"visit-{number:02}.json" for number in range(3)))
    fail(site, "odd\x1b.json", code=Code.INVALID)
    (site.failed / "stray.txt").touch()

    for usage in ([], ["--route", "other", "--all"], ["--since", "soon"], ["--route", "clinic"]):
        assert command(site, *usage).returncode == Exit.USAGE
    told = command(site, "--all", "--dry-run")
    assert len(os.listdir(site.failed)) == 9
    done = command(site, "--code", "syntax", "--since", "1h", "--json")
    rest = command(site, "--all")

    assert told.returncode == rest.returncode == Exit.NEEDS_A_PERSON
    assert told.stdout.splitlines()[-1] == (
        "4 would go back into drop/ (1 invalid, 3 syntax), 1 left. Nothing was done yet."
    )
    assert (done.returncode, json.loads(done.stdout)["failedByCode"]) == (0, {"syntax": 3})
    assert rest.stdout == (
        "clinic\n  invalid    odd\\x1b.json\n"
        "  left       stray.txt: it has no readable error sidecar: move it by hand\n"
        "1 went back into drop/ (1 invalid), 1 left\n"
    )
    assert max(map(len, told.stdout.splitlines())) <= 91


def test_a_name_that_no_file_can_have_keeps_no_other_from_going_back(site: Site) -> None:
    fail(site, "long.json", "visit.json")
    change_sidecar(site, "long.json", file="x" * 300 + ".json")
    assert fates(again(site)) == {"long.json": "File name too long", "visit.json": "back"}
