"""Retention: what is old leaves done/ with its receipt, and nothing else does (README, ``keep``)."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from canarysync import retention
from canarysync.ledger_sqlite import Access, SqliteLedger
from canarysync.retention import Retention
from canarysync.sandbox import Sandbox
from canarysync.service import utc_now
from canarysync.step import Outcome
from tests.support import Site, make_site, score, stored


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def age(site: Site, days: int) -> None:
    """Everything that was filed so far, that many days earlier: in the ledger, and in the sidecars."""
    with closing(sqlite3.connect(site.home / "state" / "ledger.sqlite3")) as ledger:
        ledger.execute("UPDATE entries SET filed_at = strftime('%Y-%m-%dT%H:%M:%fZ', filed_at, ?)", (f"-{days} days",))
        ledger.commit()
    for path in (*site.done.glob("*.receipt.json"), *site.failed.glob("*.error.json")):
        told = json.loads(path.read_text())
        key = "uploadedAt" if "uploadedAt" in told else "failedAt"
        told[key] = (datetime.fromisoformat(told[key]) - timedelta(days=days)).isoformat()
        path.write_text(json.dumps(told))


@pytest.fixture
def site(tmp_path: Path, sandbox: Sandbox) -> Site:
    return make_site(tmp_path, sandbox.url, routes__keep__done="30d")


def fate(site: Site, name: str) -> str:
    """The last thing that happened to a file."""
    with SqliteLedger(site.home / "state" / "ledger.sqlite3", Access.READER) as ledger:
        last = ledger.history.of(ledger.history.named(name)[0])[-1]
    return f"{last.what}: {last.detail}"


def test_what_is_old_goes_and_is_a_duplicate_still(site: Site, sandbox: Sandbox) -> None:
    site.put("old.json", score(1))
    site.put("bad.json", "{")
    site.once()
    age(site, 31)
    site.put("new.json", score(2))
    site.once()

    assert names(site.done) == ["new.json", "new.json.receipt.json"]
    assert names(site.failed) == ["bad.json", "bad.json.error.json"], "nobody asked for failed/"
    assert fate(site, "old.json") == "removed: "
    site.put("old.json", score(1))
    assert site.once().outcomes == {Outcome.DUPLICATE: 1}
    assert len(stored(sandbox)) == 2


def test_nothing_goes_from_a_route_on_hold(site: Site) -> None:
    site.put("old.json", score(1))
    site.once()
    age(site, 31)
    site.told("hold", "clinic")
    site.once()
    assert site.filed() == ["old.json"]

    site.told("release", "clinic")
    site.once()
    assert site.filed() == []


def _of_another_uuid(site: Site, name: str) -> None:
    path = site.done / f"{name}.receipt.json"
    path.write_text(path.read_text().replace(site.receipt(name)["uuid"], site.receipt("fine.json")["uuid"]))


def _linked(path: Path, elsewhere: Path) -> None:
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def test_what_is_not_as_it_was_filed_stays_and_that_is_said_once(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    changes: dict[str, Callable[[Path], object]] = {
        "altered.json": lambda path: path.write_bytes(path.read_bytes().replace(b"PHQ9", b"PHQ8")),
        "grown.json": lambda path: path.write_bytes(path.read_bytes() + b" " * 100),
        "alone.json": lambda path: (site.done / "alone.json.receipt.json").unlink(),
        "ruined.json": lambda path: (site.done / "ruined.json.receipt.json").write_text("{"),
        "uuid.json": lambda path: _of_another_uuid(site, path.name),
        "folder.json": lambda path: (path.unlink(), path.mkdir()),
        "link.json": lambda path: _linked(path, site.home / "elsewhere.json"),
    }
    for number, name in enumerate([*changes, "fine.json"]):
        site.put(name, score(number))
    site.once()
    age(site, 31)
    for name, change in changes.items():
        change(site.done / name)
    before = {name for name in names(site.done) if not name.startswith("fine")}

    for _ in range(3):
        site.once()

    assert set(names(site.done)) == before, "and what is fine goes all the same"
    assert [record.message for record in caplog.records].count("an old file is kept for good") == len(changes)
    assert {fate(site, name).partition(":")[0] for name in changes} == {"kept"}


def test_a_folder_without_any_receipt_says_nothing(site: Site) -> None:
    """Another file system may be mounted over it, or none where there should be one."""
    site.put("old.json", score(1))
    site.once()
    age(site, 31)
    away = site.done.rename(site.home / "away")
    site.done.mkdir()
    site.once()
    site.done.rmdir()
    away.rename(site.done)
    assert fate(site, "old.json") == "filed: "

    site.once()

    assert names(site.done) == []


def test_what_others_took_away_is_not_looked_for_for_ever(site: Site) -> None:
    for number in range(3):
        site.put(f"{number}.json", score(number))
    site.once()
    (site.done / "0.json.receipt.json").unlink()
    (site.done / "0.json").unlink()
    (site.done / "1.json").unlink()
    age(site, 31)
    site.once()

    assert names(site.done) == []
    assert fate(site, "0.json") == "removed: it was not there any more"
    assert fate(site, "1.json") == "removed: "


@pytest.mark.parametrize("calls", range(4))
def test_a_crash_in_between_is_made_good(site: Site, monkeypatch: pytest.MonkeyPatch, calls: int) -> None:
    """Wherever it comes: never is a file left without a receipt, and in the end both are gone."""
    site.put("old.json", score(1))
    site.put("new.json", score(2))
    site.once()
    age(site, 29)
    site.put("newer.json", score(3))
    site.once()
    age(site, 2)
    left = iter(range(calls))

    class Crash(BaseException):
        pass

    def crashing(unlink: Callable[..., None]) -> Callable[..., None]:
        def call(*arguments: object, **more: object) -> None:
            if next(left, None) is None:
                raise Crash
            unlink(*arguments, **more)

        return call

    with monkeypatch.context() as patch, SqliteLedger(site.home / "state" / "ledger.sqlite3") as ledger:
        route = site.config.routes[0]
        due = Retention(route, ledger.routes()[route.name], ledger, utc_now, site.config.api.url)
        patch.setattr(Path, "unlink", crashing(Path.unlink))
        with pytest.raises(Crash):
            due.turn()
    files = {name for name in names(site.done) if not name.endswith(".receipt.json")}
    assert {f"{name}.receipt.json" for name in files} <= set(names(site.done))

    site.once()

    assert names(site.done) == ["newer.json", "newer.json.receipt.json"]


def test_a_turn_is_short_and_the_next_goes_on(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retention, "TURN", 2)
    for number in range(5):
        site.put(f"{number}.json", score(number))
    site.once()
    age(site, 31)
    left = []
    for _ in range(3):
        site.once()
        left.append(len(names(site.done)))
    assert left == [6, 2, 0]


def test_failed_files_go_where_that_is_asked_for(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_site(tmp_path, sandbox.url, routes__keep__failed="90d")
    for name in ("bad.json", "mended.json"):
        site.put(name, "{")
    (site.drop / "link.json").symlink_to("elsewhere")
    site.once()
    (site.failed / "mended.json").write_text("{}")
    age(site, 91)
    site.once()
    assert names(site.failed) == ["mended.json", "mended.json.error.json"]
