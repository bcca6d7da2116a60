"""What the ledger writes down of each entry: in the change's own transaction, in order, and told page by page."""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterator
from contextlib import closing, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from canarysync.errors import LedgerError, UuidOwned
from canarysync.ledger import Entry, Past
from canarysync.ledger_sqlite import SqliteLedger, database, events
from canarysync.model import SEND_AGAIN, Code, Held, Proof, State
from tests.ledger.spy import Spy
from tests.ledger.support import ROUTE, T0, at, change, claim, draft, entry_in, identity, unread, uuid_of


@pytest.fixture
def ledger(tmp_path: Path, spy: Spy) -> Iterator[SqliteLedger]:
    with SqliteLedger(tmp_path / "ledger.sqlite3") as ledger:
        yield ledger


def life(ledger: SqliteLedger, entry: Entry) -> list[str]:
    """``what detail`` of each event, and when it was, in seconds after T0."""
    return [
        f"{(happening.at - T0).total_seconds():g} {happening.what} {happening.detail}".strip()
        for happening in ledger.history.of(entry)
    ]


def test_a_whole_life(ledger: SqliteLedger) -> None:
    entry = claim(ledger, draft(), at(0))
    entry = ledger.defer(entry, "HTTP 429", at(2), at(1))
    entry = ledger.intend_again(entry, at(2), resent=False)
    entry = ledger.doubt(entry, "no answer (ReadTimeout)", at(5), at(3))
    entry = ledger.doubt(entry, "held: near", at(9), at(4), held=Held.NEAR)
    entry = ledger.doubt(entry, "held: near", at(99), at(9), held=Held.NEAR)  # looked for once more
    ledger.resolve(entry, SEND_AGAIN, at(10))
    entry = ledger.intend_again(ledger.entry(entry.id), at(11), resent=True)
    entry = ledger.detach(entry, at(12))
    entry = ledger.upload(entry, uuid_of(1), Proof.RESPONSE, "visit.json", at(13.5))
    ledger.filed(entry, at(14))
    ledger.flush()
    ledger.let_go({entry.id: ""}, {}, at(999))

    assert life(ledger, entry) == [
        "0 intended 1", "1 deferred HTTP 429", "2 intended 2", "3 in_doubt no answer (ReadTimeout)",
        "4 held held: near", f"10 decided {SEND_AGAIN}", "11 sent_again 3", "12 detached",
        "13.5 uploaded response", "14 filed", "999 removed",
    ]  # fmt: skip
    assert ledger.entry(entry.id).removed


def test_attempts_that_end_alike_are_few_events(ledger: SqliteLedger) -> None:
    entry = claim(ledger, draft(), at(0))
    for number in range(2, 40):
        reason = "no connection" if number == 39 else "HTTP 503"
        entry = ledger.defer(entry, reason, at(number), at(number - 0.5))
        entry = ledger.intend_again(entry, at(number), resent=False)

    assert life(ledger, entry) == [
        "0 intended 1", "1.5 deferred HTTP 503", "37 intended 37", "37.5 deferred HTTP 503",
        "38 intended 38", "38.5 deferred no connection", "39 intended 39",
    ]  # fmt: skip


def test_the_other_ends(ledger: SqliteLedger) -> None:
    owner = entry_in(ledger, State.UPLOADED, "owner.json", number=1)
    twin = ledger.duplicate(draft("twin.json", 1), owner, "twin.json", at(2))
    refused = ledger.fail(claim(ledger, draft("no.json")), State.REFUSED, Code.REFUSED, 422, "no.json", at(2))
    bad = ledger.fail(unread("bad.json"), State.REJECTED, Code.TOO_LARGE, None, "bad.json", at(2))
    gave_up = ledger.fail(entry_in(ledger, State.DEFERRED), State.GAVE_UP, Code.GAVE_UP, None, "x.json", at(2))
    withdrawn = entry_in(ledger, State.WITHDRAWN, "back.json")

    assert life(ledger, twin) == [f"2 duplicate {owner.id}"]
    assert life(ledger, refused)[-1] == "2 refused 422"
    assert life(ledger, bad) == ["2 rejected too_large"]
    assert life(ledger, gave_up)[-1] == "2 gave_up gave_up"
    assert life(ledger, withdrawn)[-1] == "1 withdrawn"


def test_a_ledger_that_was_lost(ledger: SqliteLedger) -> None:
    settled, doubted = (claim(ledger, draft(f"{number}.json", number)) for number in (1, 2))
    ledger.suspect(ROUTE, {}, at(5))
    past = Past(
        str(uuid.uuid4()), ROUTE, "1.json", "1.json", "ab" * 32, State.UPLOADED, at(1),
        assessment_id="", identity=identity(1), uuid=uuid_of(1), proof=Proof.RESPONSE,
    )  # fmt: skip
    ledger.take_in([past], at(6))

    assert life(ledger, doubted) == ["0 intended 1", "5 in_doubt the ledger was lost"]
    assert life(ledger, settled)[-1] == "6 withdrawn"
    assert life(ledger, ledger.entry(past.entry_id)) == ["6 taken_in"]


def test_what_was_not_recorded_is_not_written_down(ledger: SqliteLedger, spy: Spy) -> None:
    entry_in(ledger, State.UPLOADED, "owner.json")
    owner = ledger.open_entry(ROUTE, "owner.json")
    entry = claim(ledger, draft())
    assert owner is not None
    assert owner.uuid is not None

    with pytest.raises(UuidOwned):
        ledger.upload(entry, owner.uuid, Proof.RESPONSE, "visit.json", at(1))
    spy.writer.refuses_to_commit = True
    with pytest.raises(LedgerError):
        ledger.defer(entry, "HTTP 429", at(9), at(1))
    ledger.filed(owner, at(5))
    with suppress(LedgerError):
        ledger.flush()
    spy.writer.refuses_to_commit = False
    ledger.flush()

    assert life(ledger, entry) == ["0 intended 1"]
    assert life(ledger, owner).count("5 filed") == 1


def test_events_of_all_in_order_and_in_pages(ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "_PAGE", 2)
    entries = [claim(ledger, draft(f"{number}.json"), T0) for number in range(3)]  # three at one moment
    for seconds, entry in enumerate(reversed(entries), start=1):
        ledger.defer(entry, "HTTP 429", at(9), at(seconds))

    told = [f"{entry.name} {happening.what}" for entry, happening in ledger.history.since(T0)]
    assert sorted(told[:3]) == [f"{number}.json intended" for number in range(3)]
    assert told[3:] == [f"{number}.json deferred" for number in (2, 1, 0)]
    assert [entry.name for entry, _ in ledger.history.since(at(2))] == ["1.json", "0.json"]
    assert list(ledger.history.since(at(3) + timedelta(milliseconds=1))) == []
    last = ledger.history.last(2, lambda entry: entry.name != "1.json")
    assert [entry.name for entry, _ in last] == ["2.json", "0.json"]


def test_entries_by_what_they_are_known_by(ledger: SqliteLedger) -> None:
    owner = entry_in(ledger, State.UPLOADED, "visit-1.json", number=1)
    twin = ledger.duplicate(draft("visit-\udcff.json", 1), owner, "twin.json", at(2))
    other = claim(ledger, draft("other.json"))
    history = ledger.history

    assert [entry.id for entry in history.with_uuid(owner.uuid or "")] == [owner.id, twin.id]
    assert [entry.id for entry in history.named("visit-\udcff.json")] == [twin.id]
    assert [entry.id for entry in history.matching(lambda name: name.startswith("visit"))] == [owner.id, twin.id]
    assert history.entry(other.id) == other
    assert history.entry("019b796d-d600-745f-8fa6-9900b268e9c0") is None
    for entry in (owner, twin):
        ledger.filed(entry, at(3))
    ledger.flush()
    ledger.let_go({twin.id: ""}, {}, at(4))
    assert [entry.id for entry in history.filed(ROUTE)] == [owner.id]


def test_a_ledger_from_before_gets_its_history_from_now_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "ledger.sqlite3"
    with closing(sqlite3.connect(path)) as old:
        old.executescript(f"{database.MIGRATIONS[0]} PRAGMA user_version = 1;")
        old.execute(
            "INSERT INTO entries (id, route_id, name, size_bytes, mtime_ns, inode, device, created_at, changed_at)"
            "VALUES ('019b796d-d600-745f-8fa6-9900b268e9c0', ?, 'old.json', 1, '1', 1, 1, ?, ?)",
            (ROUTE, "2026-01-01T12:00:00.000Z", "2026-01-01T12:00:00.000Z"),
        )
        old.commit()

    with SqliteLedger(path) as ledger:
        entry = ledger.entry("019b796d-d600-745f-8fa6-9900b268e9c0")
        assert life(ledger, entry) == []
        ledger.filed(entry, at(1))
        ledger.flush()
        assert life(ledger, entry) == ["1 filed"]
        assert change(ledger, claim(ledger, draft()), State.DEFERRED).filed_at is None
    assert (tmp_path / "ledger.sqlite3.schema-1").exists()
