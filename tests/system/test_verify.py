"""`canarysync verify` and `canarysync history`, over real folders and a real API."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from canarysync.errors import Exit, IoTrouble
from canarysync.history import Wanted, since
from canarysync.ledger_sqlite import Access, SqliteLedger
from canarysync.sandbox import Sandbox
from canarysync.service import api_calls
from canarysync.telling import bar, history_json, history_lines, tally_lines
from canarysync.verify import FINDINGS_MOST, Means, Tally, Verdict, exit_code, sidecars, verify
from tests.support import Site, make_site, score, unique_assessment


def tally(site: Site, *, api: bool = False, audit: Path | None = None, paused: list[float] | None = None) -> Tally:
    pauses = [] if paused is None else paused
    with api_calls(site.config, os.environ if api else None) as calls:
        [found] = verify(site.config, site.config.routes, audit, Means(calls, pause=pauses.append))
    return found


def troubles(found: Tally) -> dict[str, Verdict]:
    return {finding.file: finding.verdict for finding in found.findings}


def fill(site: Site, *names: str) -> None:
    for number, name in enumerate(names):
        site.put(name, score(number))
    site.once()


def test_all_is_fine(site: Site) -> None:
    fill(site, "a.json", "b.json")
    site.put("twin.json", json.dumps(score(0), indent=2))
    site.put("bad.json", "{")
    site.once()
    (site.done / "subfolder").mkdir()

    found = tally(site, api=True)

    assert found.counts == {Verdict.FINE: 4}
    assert exit_code([found]) == Exit.OK
    assert sidecars(site.config.routes) == 4


def test_every_kind_of_damage_is_told(site: Site, tmp_path: Path) -> None:
    fill(
        site, *(f"{name}.json" for name in ("fine", "missing", "altered", "alone", "ruined", "gone", "uuid", "mended"))
    )
    for name in ("taken.json", "edited.json"):
        site.put(name, "{")
    site.once()
    (site.done / "missing.json").unlink()
    (site.done / "altered.json").write_text("{}")
    (site.done / "alone.json.receipt.json").unlink()
    (site.done / "ruined.json.receipt.json").write_text('{"sidecarVersion": 1}')
    (site.done / "gone.json.receipt.json").unlink()
    (site.done / "gone.json").unlink()
    receipt = site.done / "uuid.json.receipt.json"
    receipt.write_text(
        receipt.read_text().replace(site.receipt("uuid.json")["uuid"], site.receipt("fine.json")["uuid"])
    )
    (site.failed / "taken.json").rename(tmp_path / "taken.json")
    (site.failed / "edited.json").write_text(json.dumps(score(99)))
    audit = tmp_path / "audit.jsonl"

    found = tally(site, audit=audit)

    assert troubles(found) == {
        "missing.json": Verdict.MISSING,
        "altered.json": Verdict.ALTERED,
        "alone.json": Verdict.NO_SIDECAR,
        "ruined.json": Verdict.NOT_OURS,
        "uuid.json": Verdict.UNKNOWN,
        "edited.json": Verdict.ALTERED,
    }
    assert found.counts[Verdict.FINE] == 2
    assert found.counts[Verdict.GONE] == 1
    assert exit_code([found]) == Exit.NEEDS_A_PERSON
    lines = {told["file"]: told for told in map(json.loads, audit.read_text().splitlines())}
    assert {name: told["verdict"] for name, told in lines.items()} == {
        "fine.json": "fine", "mended.json": "fine", "gone.json": "gone", **troubles(found)
    }  # fmt: skip
    assert lines["fine.json"]["uuid"] == site.receipt("fine.json")["uuid"]
    assert lines["fine.json"]["sha256"] == site.receipt("fine.json")["sha256"]


def test_a_receipt_alone_for_a_file_that_was_gone_is_fine(site: Site, sandbox: Sandbox) -> None:
    sandbox.faults.add("put:drop_after,times=1")
    fill(site, "visit.json")
    (site.drop / "visit.json").unlink()
    site.once(wait_s=5.0)
    assert site.receipt("visit.json")["fileMissing"]

    assert tally(site).counts == {Verdict.FINE: 1}


def test_what_the_api_has_is_compared_by_value(tmp_path: Path) -> None:
    store = tmp_path / "store"
    with Sandbox(store_path=store) as before:
        site = make_site(tmp_path, before.url)
        fill(site, "fine.json", "lost.json", "other.json", "elsewhere.json")
        port = int(before.url.rpartition(":")[2])
    lines = [json.loads(line) for line in store.read_text().splitlines()]
    uuids = {site.receipt(name)["uuid"]: name for name in ("lost.json", "other.json", "elsewhere.json")}
    with store.open("w") as file:
        for line in lines:
            name = uuids.get(line["uuid"])
            if name == "other.json":
                line["body"] = line["body"].replace("PHQ9", "PHQ8")
            if name == "elsewhere.json":
                line["assessmentId"] = unique_assessment()
            if name != "lost.json":
                file.write(json.dumps(line) + "\n")

    with Sandbox(port=port, store_path=store, normalise=True):
        found = tally(site, api=True)

    assert troubles(found) == {
        "lost.json": Verdict.NOT_AT_API,
        "other.json": Verdict.ALTERED_AT_API,
        "elsewhere.json": Verdict.ALTERED_AT_API,
    }
    assert found.counts[Verdict.FINE] == 1
    assert tally(site).counts == {Verdict.FINE: 4}, "without --api nothing of this shows"


def test_the_pauses_that_the_api_asks_for_are_made(site: Site, sandbox: Sandbox) -> None:
    fill(site, "a.json")
    sandbox.faults.add("score:status=429,retry_after=7,times=1", "score:status=503,times=1")
    paused: list[float] = []

    found = tally(site, api=True, paused=paused)

    assert found.counts == {Verdict.FINE: 1}
    assert paused == [7.0, 2.0]


def test_one_that_the_api_cannot_tell_of_is_for_another_time(site: Site, sandbox: Sandbox) -> None:
    fill(site, "a.json", "b.json")
    sandbox.faults.add("score:status=500,times=5")

    found = tally(site, api=True)

    assert found.counts.total() == 2
    assert found.counts[Verdict.NOT_SEEN] <= 1
    sandbox.faults.add("score:status=500")
    assert exit_code([tally(site, api=True)]) == Exit.TRY_AGAIN


def test_an_api_that_is_down_leaves_no_audit_file(site: Site, sandbox: Sandbox) -> None:
    fill(site, "a.json")
    audit = site.home / "audit.jsonl"
    audit.write_text("of yesterday")
    sandbox.stop()

    with pytest.raises(IoTrouble):
        tally(site, api=True, audit=audit)

    assert audit.read_text() == "of yesterday"
    assert not list(site.home.glob(".audit*"))


def test_an_audit_file_that_is_not_complete_is_none(site: Site) -> None:
    """The disk is full for a moment, and has room again when the file is closed."""
    site.once()
    for number in range(600):
        (site.done / f"{number}.json").touch()
    audit = site.home / "audit.jsonl"
    audit.write_text("of yesterday")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, lambda *_: resource.setrlimit(resource.RLIMIT_FSIZE, before))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (64_000, before[1]))
        with pytest.raises(IoTrouble, match="audit file"):
            tally(site, audit=audit)
        assert resource.getrlimit(resource.RLIMIT_FSIZE) == before
    finally:
        signal.signal(signal.SIGXFSZ, handler)
        resource.setrlimit(resource.RLIMIT_FSIZE, before)

    assert audit.read_text() == "of yesterday"
    assert not list(site.home.glob(".audit*"))


def test_one_file_that_the_disk_does_not_give_out_is_one_finding(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(site, "a.json", "b.json")
    (site.done / "stray.json").touch()
    lstat = os.lstat

    def failing_for_one(path: Any, **options: Any) -> os.stat_result:
        if Path(path).name == "stray.json":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return lstat(path, **options)

    monkeypatch.setattr(os, "lstat", failing_for_one)
    found = tally(site)

    assert troubles(found) == {"stray.json": Verdict.NOT_SEEN}
    assert (found.trouble, found.counts[Verdict.FINE]) == ("", 2)


def test_folders_that_are_away_are_no_reason_to_say_that_all_is_fine(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    fill(site, "a.json")
    away = site.done.rename(site.home / "away")
    with bar(lambda: sidecars(site.config.routes)) as tick:
        tick()
    assert "cannot list" in tally(site).trouble
    assert exit_code([tally(site)]) == Exit.TRY_AGAIN
    site.done.mkdir()
    assert tally(site).counts == {Verdict.GONE: 1}
    assert exit_code([tally(site)]) == Exit.NEEDS_A_PERSON
    site.done.rmdir()
    away.rename(site.done)
    (site.drop / ".canarysync").unlink()
    assert exit_code([tally(site)]) == Exit.TRY_AGAIN


def test_a_file_on_its_way_and_one_that_retention_took_are_no_damage(site: Site) -> None:
    fill(site, "moving.json", "removed.json")
    with closing(sqlite3.connect(site.home / "state" / "ledger.sqlite3")) as ledger:
        ledger.execute("UPDATE entries SET filed_at = NULL WHERE name = ?", (b"moving.json",))
        ledger.execute("UPDATE entries SET fate = 'removed' WHERE name = ?", (b"removed.json",))
        ledger.commit()
    for name in ("moving.json", "removed.json"):
        (site.done / name).unlink()

    assert tally(site).counts == {Verdict.NOT_SEEN: 1}


def test_many_findings_are_counted_and_some_are_shown(site: Site) -> None:
    site.once()
    for number in range(FINDINGS_MOST + 30):
        (site.done / f"{number}.json").write_text("")
    *_, last = tally_lines(tally(site))
    assert last == "  … and 30 more; --audit FILE lists them all"


def test_the_commands(site: Site) -> None:
    fill(site, "visit.json")
    site.put("visit.json", score(7))
    site.once()
    config = ("-c", str(site.config_path))

    verified = site.cli("verify", "--json", *config)
    assert (verified.returncode, json.loads(verified.stdout)[0]["counts"]["fine"]) == (0, 2)
    told = site.cli("history", "visit.json", *config)
    assert (told.returncode, told.stdout.count("visit.json  uploaded  (route clinic)")) == (0, 2)
    assert told.stdout.count("  intended, attempt 1\n") == 2
    assert "\x1b" not in told.stdout
    uuid = site.receipt("visit.json")["uuid"]
    with SqliteLedger(site.home / "state" / "ledger.sqlite3", Access.READER) as ledger:
        of_uuid = json.loads("".join(history_json(ledger, Wanted(uuid=uuid.upper()))))
        assert len(json.loads("".join(history_json(ledger, Wanted(since=datetime(2020, 1, 1, tzinfo=UTC)))))) == 6
        assert json.loads("".join(history_json(ledger, Wanted(since=datetime(2999, 1, 1, tzinfo=UTC))))) == []
        assert len(list(history_lines(ledger, Wanted("v*.json")))) == 14
        assert len(list(history_lines(ledger, Wanted(route="clinic")))) == 6
    assert [event["event"] for event in of_uuid] == ["intended", "uploaded", "filed"]
    unknown = site.cli("history", "nobody.json", *config)
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "nobody.json: the ledger knows of none" in unknown.stderr


@pytest.mark.parametrize("command", [("verify",), ("history",), ("resolve", "visit.json", "--send-again")])
def test_a_route_that_there_is_not_is_told_as_everywhere(site: Site, command: tuple[str, ...]) -> None:
    told = site.told(*command, "--route", "nope")
    assert (told.returncode, told.stdout) == (Exit.USAGE, "")
    assert "there is no route nope; there are: clinic" in told.stderr


def test_the_history_of_a_route_that_has_left_the_config_or_was_never_started(site: Site) -> None:
    fill(site, "visit.json")
    config = site.config_path.read_text()
    site.config_path.write_text(config.replace("folder: clinic", "folder: later"))
    assert config != site.config_path.read_text()

    left, later = (site.told("history", "--route", route) for route in ("clinic", "later"))

    assert (left.returncode, len(left.stdout.splitlines())) == (0, 3)
    assert (later.returncode, later.stdout) == (0, "")


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("90m", datetime(2026, 3, 10, 10, 30, tzinfo=UTC)),
        ("2026-03-09", datetime(2026, 3, 9, tzinfo=UTC)),
        ("2026-03-09T10:00+02:00", datetime(2026, 3, 9, 8, tzinfo=UTC)),
        ("999999999d", None),
        ("soon", None),
    ],
)
def test_since(text: str, at: datetime | None) -> None:
    assert since(text, datetime(2026, 3, 10, 12, tzinfo=UTC)) == at


def test_a_folder_that_is_not_there_is_told_and_tried_again(site: Site) -> None:
    fill(site, "visit.json")
    site.done.rename(site.home / "elsewhere")

    told = site.told("verify")

    assert (told.returncode, told.stderr) == (75, "")
    assert f"cannot list {site.done}" in told.stdout
    assert "looked at" not in told.stdout
