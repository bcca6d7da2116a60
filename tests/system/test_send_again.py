"""`canarysync requeue --send-again`: a score that was deleted at the API is created anew, since a person says so."""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime

import pytest

from canarysync.errors import Exit
from canarysync.ledger_sqlite import SqliteLedger
from canarysync.requeue import Fate
from canarysync.sandbox import Sandbox
from canarysync.send_again import send_again
from canarysync.step import Outcome
from tests.support import Site, score, stored
from tests.system.faults import Crash, failing, os_error

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
STILL_THERE = "it is at the API after all, or was deleted: nobody but the person looks"


def upload(site: Site, name: str = "visit.json") -> str:
    site.put(name, score(1))
    site.once()
    return str(site.receipt(name)["uuid"])


def again(site: Site, *names: str, dry_run: bool = False) -> list[tuple[Fate, str]]:
    found = send_again(site.config, site.config.routes, names or ("visit.json",), NOW, dry_run=dry_run)
    return [(failed.fate, failed.why) for failed in found]


def new_receipts(site: Site) -> list[str]:
    """The uuids of all receipts but the first."""
    names = [path for path in site.done.glob("*.receipt.json") if path.name != "visit.json.receipt.json"]
    return [json.loads(path.read_text())["uuid"] for path in names]


def test_it_is_sent_as_a_new_file_and_the_old_receipt_stays(site: Site, sandbox: Sandbox) -> None:
    old = upload(site)
    receipt = site.receipt("visit.json")
    assert again(site, dry_run=True) == [(Fate.BACK, "")]
    assert site.once().outcomes == {}

    said = site.told("requeue", "--send-again", "clinic/done/visit.json")
    assert (said.returncode, site.waiting()) == (0, ["visit.json"])
    assert site.once().outcomes == {Outcome.UPLOADED: 1}

    assert site.receipt("visit.json") == receipt
    [new] = new_receipts(site)
    assert {uuid for uuid, _ in stored(sandbox)} == {old, new}, STILL_THERE
    told = [line.partition("Z  ")[2] for line in site.told("history", "--uuid", old).stdout.splitlines()]
    assert told[-2:] == [
        "filed as done/visit.json",
        "given up for a new one: a person said that the API no longer has its score",
    ]
    site.put("twin.json", score(1))
    assert site.once().outcomes == {Outcome.DUPLICATE: 1}
    assert site.receipt("twin.json")["uuid"] == new


def test_a_read_back_does_not_take_the_old_score_for_the_new_one(site: Site, sandbox: Sandbox) -> None:
    old = upload(site)
    again(site)
    sandbox.faults.add("put:drop_before,times=1")

    assert site.once(wait_s=10.0).outcomes == {Outcome.UPLOADED: 1}

    [new] = new_receipts(site)
    assert new != old
    assert len(stored(sandbox)) == 2, STILL_THERE


def test_a_crash_at_any_step_is_finished_by_the_next_call_and_one_too_many_sends_nothing(
    site: Site, sandbox: Sandbox
) -> None:
    upload(site)
    at, fired, scores = 1, True, 1
    newest = "visit.json"
    while fired:
        try:
            with failing(at, Crash(), for_good=True) as count:
                again(site, newest)
        except Crash:
            pass
        assert again(site, newest) in ([(Fate.BACK, "")], [(Fate.LEFT, "drop/ has a file of that name")])
        before = set(site.filed())
        assert site.once().outcomes == {Outcome.UPLOADED: 1}
        assert site.waiting() == [], "nor is a copy left that was never finished"
        at, fired, scores = at + 1, count.fired, scores + 1
        assert len(stored(sandbox)) == scores
        [(fate, why)] = again(site, newest)
        assert (fate, why.partition(",")[0]) == (Fate.LEFT, "the file with this score that was sent is another one")
        [newest] = set(site.filed()) - before
    assert at > 4


@pytest.mark.parametrize("error", [os_error(errno.ENOSPC), FileNotFoundError(errno.ENOENT, "No such file")])
def test_a_copy_that_fails_at_any_step_is_told_and_made_by_the_next_call(site: Site, error: OSError) -> None:
    """A start of canarysync beside it sweeps the half-written copy away, say."""
    upload(site)
    at, fired = 4, True  # the first three are of looking at the file and its receipt
    while fired:
        with failing(at, error, for_good=False) as count:
            found = again(site)
        if count.fired and not site.waiting():
            assert found == [(Fate.LEFT, f"drop/ could not be written ({error.strerror}): call again")]
            assert again(site) == [(Fate.BACK, "")]
        (site.drop / "visit.json").unlink()
        at, fired = at + 1, count.fired
    assert at > 6


def altered(site: Site) -> None:
    (site.done / "visit.json").write_text(json.dumps(score(2)))


def without_receipt(site: Site) -> None:
    (site.done / "visit.json.receipt.json").unlink()


def just_being_filed(site: Site) -> None:
    with closing(sqlite3.connect(site.home / "state" / "ledger.sqlite3", isolation_level=None)) as ledger:
        ledger.execute("UPDATE entries SET filed_at = NULL")


def unmounted(site: Site) -> None:
    (site.drop / ".canarysync").unlink()


def in_use(site: Site) -> None:
    site.put("visit.json", score(3))


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (altered, "it is not the file of a readable receipt"),
        (without_receipt, "it is not the file of a readable receipt"),
        (just_being_filed, "its file is just being filed"),
        (unmounted, "the drop folder's marker is missing"),
        (in_use, "drop/ has a file of that name"),
    ],
)
def test_what_cannot_be_sent_again_is_left_and_still_owns_its_score(
    site: Site, what: Callable[[Site], None], why: str
) -> None:
    upload(site)
    with SqliteLedger(site.home / "state" / "ledger.sqlite3") as ledger:
        identity = ledger.entry(site.receipt("visit.json")["entryId"]).identity
    what(site)

    [(fate, told)] = again(site)

    assert (fate, told[: len(why)]) == (Fate.LEFT, why)
    assert identity is not None
    with SqliteLedger(site.home / "state" / "ledger.sqlite3") as ledger:
        assert ledger.owner(identity.fingerprint) is not None


def test_a_duplicate_is_not_the_file_that_was_sent(site: Site) -> None:
    upload(site)
    site.put("twin.json", score(1))
    site.once()

    assert again(site, "twin.json", "nope.json") == [
        (Fate.LEFT, "the file with this score that was sent is another one, in done/ as visit.json"),
        (Fate.UNKNOWN, ""),
    ]
    usage = site.told("requeue", "--send-again", "--all")
    assert usage.returncode == Exit.USAGE
