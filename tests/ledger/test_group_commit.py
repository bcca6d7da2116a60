"""Parallel writers share one commit, and one writer's trouble is nobody else's."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest

from canarysync.errors import LedgerError, UuidOwned
from canarysync.ledger import Entry, Notes
from canarysync.ledger_sqlite import SqliteLedger
from canarysync.ledger_sqlite.rows import IllegalChange
from canarysync.model import Proof, State
from tests.ledger.spy import Spy
from tests.ledger.support import ROUTE, SIGNATURE, T0, at, claim, draft, entry_in, uuid_of

Job = Callable[[], object]


@pytest.fixture
def ledger(tmp_path: Path, spy: Spy) -> Iterator[SqliteLedger]:
    with SqliteLedger(tmp_path / "ledger.sqlite3") as ledger:
        yield ledger


def in_one_commit(ledger: SqliteLedger, jobs: Sequence[Job]) -> list[object]:
    """Run all jobs, and then see to it that what they wrote is on disk; results or errors."""
    results = [_outcome(ledger, job) for job in jobs]
    for place, (_, notes) in enumerate(results):
        try:
            notes.settle()
        except LedgerError as error:
            results[place] = (error, notes)
    return [result for result, _ in results]


def _outcome(ledger: SqliteLedger, job: Job) -> tuple[object, Notes]:
    with ledger.gather() as notes:
        try:
            return job(), notes
        except Exception as error:  # for the test to look at
            return error, notes


def deferring(ledger: SqliteLedger, entries: Sequence[Entry]) -> list[Job]:
    return [partial(ledger.defer, entry, "HTTP 429", at(9), at(1)) for entry in entries]


def claimed(ledger: SqliteLedger, how_many: int) -> list[Entry]:
    return [claim(ledger, draft(f"{number}.json"), at(number / 100)) for number in range(how_many)]


def test_a_lone_writer_waits_for_nobody(ledger: SqliteLedger, spy: Spy) -> None:
    before = spy.commits()
    entry_in(ledger, State.DEFERRED)

    assert spy.commits() - before == 2


def test_the_life_of_a_file_takes_few_statements(ledger: SqliteLedger, spy: Spy) -> None:
    """Each of them costs, and lets other threads in."""
    new = draft()
    spy.statements.clear()

    assert ledger.open_entry(ROUTE, new.name) is None
    assert ledger.hold_on(ROUTE) is None
    entry = ledger.upload(claim(ledger, new), uuid_of(1), Proof.RESPONSE, new.name, at(1))
    told = [sql.split()[0] for sql in spy.statements]
    ledger.filed(entry, at(2))
    spy.statements.clear()
    claim(ledger, draft("next.json"))
    rode = [sql.split()[0] for sql in spy.statements]

    intend, upload = ["SELECT", "INSERT", "INSERT", "INSERT"], ["UPDATE", "UPDATE", "INSERT"]
    commit, filed = ["UPDATE", "COMMIT"], ["UPDATE", "INSERT"]
    assert told == ["SELECT", "SELECT", "BEGIN", *intend, *commit, "BEGIN", *upload, *commit]
    assert rode == ["BEGIN", *filed, *intend, *commit]


def test_a_change_that_breaks_off_undoes_all_that_was_not_committed(ledger: SqliteLedger) -> None:
    """It had written something: that must not get to the disk with the rest."""
    entries = claimed(ledger, 3)
    jobs = deferring(ledger, entries)

    results = in_one_commit(ledger, [*jobs[:2], partial(ledger._database.write, interrupted), jobs[2]])

    assert [type(result) for result in results] == [LedgerError, LedgerError, ValueError, Entry]
    assert [entry.state for entry in ledger.open_entries(ROUTE)] == [State.INTENDED, State.INTENDED, State.DEFERRED]
    assert [type(job()) for job in jobs[:2]] == [Entry] * 2


def interrupted(connection: sqlite3.Connection) -> None:
    connection.execute("UPDATE scores SET reason = 'half'")
    raise ValueError("half")


def test_nothing_is_built_on_what_was_undone(ledger: SqliteLedger) -> None:
    """Who gathers does not know yet that another thread's trouble took its change along: the next may rest on it."""
    entry, other = claimed(ledger, 2)
    with ledger.gather() as notes:
        ledger.defer(entry, "HTTP 429", at(9), at(1))
        with ThreadPoolExecutor(1) as pool, pytest.raises(ValueError, match="half"):
            pool.submit(ledger._database.write, interrupted).result()
        with pytest.raises(LedgerError):
            ledger.defer(other, "HTTP 429", at(9), at(1))
    with pytest.raises(LedgerError):
        notes.settle()
    ledger.flush()

    assert list(ledger.open_entries(ROUTE)) == [entry, other]


def test_a_change_that_was_not_made_leaves_no_transaction_open(tmp_path: Path, ledger: SqliteLedger) -> None:
    """`canarysync resolve` would wait for it, in another process, for as long as nobody else commits."""
    ledger.filed(entry_in(ledger, State.UPLOADED, "filed.json"), at(5))
    illegal = _illegal(ledger)
    ledger.filed(entry_in(ledger, State.UPLOADED, "filed too.json"), at(5))
    with pytest.raises(IllegalChange), ledger.gather() as notes:
        illegal()
    notes.settle()

    with closing(sqlite3.connect(tmp_path / "ledger.sqlite3", timeout=0, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
    ledger.flush()
    assert ledger.counts(ROUTE).done == 2, "and what rode on it rides on the next one"


def test_a_rollback_that_fails_lets_nothing_through(ledger: SqliteLedger, spy: Spy) -> None:
    entries = claimed(ledger, 2)
    spy.writer.refuses_to_commit = spy.writer.refuses_to_roll_back = True
    assert [type(came) for came in in_one_commit(ledger, deferring(ledger, entries[:1]))] == [LedgerError]
    assert [type(came) for came in in_one_commit(ledger, deferring(ledger, entries[1:]))] == [LedgerError]
    spy.writer.refuses_to_commit = spy.writer.refuses_to_roll_back = False

    assert list(ledger.open_entries(ROUTE)) == entries


def test_what_one_thread_gathers_another_one_takes_along(ledger: SqliteLedger, spy: Spy) -> None:
    entry, other = claimed(ledger, 2)
    before = spy.commits()

    with ledger.gather() as notes:
        ledger.defer(entry, "HTTP 429", at(9), at(1))
        with ThreadPoolExecutor(1) as pool:
            pool.submit(ledger.defer, other, "HTTP 429", at(9), at(1)).result()
    notes.settle()

    assert spy.commits() == before + 1
    assert {entry.state for entry in ledger.open_entries(ROUTE)} == {State.DEFERRED}


def test_what_nobody_settles_is_flushed(ledger: SqliteLedger, spy: Spy) -> None:
    [entry] = claimed(ledger, 1)
    with ledger.gather():
        ledger.defer(entry, "HTTP 429", at(9), at(1))
    assert [found.state for found in ledger.open_entries(ROUTE)] == [State.INTENDED]

    ledger.flush()

    assert [found.state for found in ledger.open_entries(ROUTE)] == [State.DEFERRED]


def test_writers_that_wait_share_one_commit(ledger: SqliteLedger, spy: Spy) -> None:
    entries = claimed(ledger, 12)
    before = spy.commits()

    results = in_one_commit(ledger, deferring(ledger, entries))

    assert spy.commits() - before == 1
    assert [result.id for result in results if isinstance(result, Entry)] == [entry.id for entry in entries]
    assert {entry.state for entry in ledger.open_entries(ROUTE)} == {State.DEFERRED}


def _uuid_of_another(ledger: SqliteLedger) -> Job:
    entry_in(ledger, State.UPLOADED, "owner.json")
    owner = ledger.open_entry(ROUTE, "owner.json")
    late = claim(ledger, draft("late.json"))
    assert owner is not None
    assert owner.uuid is not None
    uuid = owner.uuid
    return lambda: ledger.upload(late, uuid, Proof.RESPONSE, "late.json", at(1))


def _name_of_another(ledger: SqliteLedger) -> Job:
    claim(ledger, draft("late.json"))
    return lambda: ledger.intend(draft("late.json"), at(1))


def _illegal(ledger: SqliteLedger) -> Job:
    entry = entry_in(ledger, State.REFUSED, "late.json")
    return lambda: ledger.defer(entry, "HTTP 429", at(9), at(1))


def _no_number_for_sqlite(ledger: SqliteLedger) -> Job:
    return lambda: ledger.intend(draft("late.json", signature=SIGNATURE._replace(size_bytes=2**80)), at(1))


def _no_text_for_sqlite(ledger: SqliteLedger) -> Job:
    entry = claim(ledger, draft("late.json"))
    return lambda: ledger.defer(entry, "\udcff", at(9), at(1))


@pytest.mark.parametrize(
    "trouble", [_uuid_of_another, _name_of_another, _illegal, _no_number_for_sqlite, _no_text_for_sqlite]
)
@pytest.mark.parametrize("place", [0, 2, 4])
def test_an_error_in_one_job_is_its_own_writers(
    ledger: SqliteLedger, trouble: Callable[[SqliteLedger], Job], place: int
) -> None:
    bad = trouble(ledger)
    entries = claimed(ledger, 4)
    jobs = deferring(ledger, entries)
    jobs.insert(place, bad)
    before = ledger.open_entry(ROUTE, "late.json")

    results = in_one_commit(ledger, jobs)

    assert isinstance(results.pop(place), Exception)
    assert [type(result) for result in results] == [Entry] * 4
    assert {ledger.entry(entry.id).state for entry in entries} == {State.DEFERRED}
    assert ledger.open_entry(ROUTE, "late.json") == before


def test_an_error_keeps_its_kind(ledger: SqliteLedger) -> None:
    assert isinstance(in_one_commit(ledger, [_uuid_of_another(ledger)])[0], UuidOwned)


@pytest.mark.parametrize("how_many", [1, 8])
def test_a_commit_that_fails_fails_for_all_and_records_nothing(ledger: SqliteLedger, spy: Spy, how_many: int) -> None:
    entries = claimed(ledger, how_many)
    jobs = deferring(ledger, entries)

    spy.writer.refuses_to_commit = True
    results = in_one_commit(ledger, jobs)
    spy.writer.refuses_to_commit = False

    assert [type(result) for result in results] == [LedgerError] * how_many
    assert list(ledger.open_entries(ROUTE)) == entries
    assert [type(job()) for job in jobs] == [Entry] * how_many, "and the next commit goes through"


def test_a_commit_that_sqlite_refuses_records_nothing(ledger: SqliteLedger) -> None:
    """A reference that leads nowhere is found out by COMMIT only."""

    def change(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA defer_foreign_keys = ON")
        columns = "entry_id, position, assessment_id, fingerprint, match_key, near_key, state"
        connection.execute(f"INSERT INTO scores ({columns}) VALUES ('nobody', 0, '', '', '', '', 'refused')")

    entries = claimed(ledger, 3)
    jobs = deferring(ledger, entries)
    bad: Job = partial(ledger._database.write, change)

    assert [type(result) for result in in_one_commit(ledger, [*jobs, bad])] == [LedgerError] * 4
    assert list(ledger.open_entries(ROUTE)) == entries
    assert [type(job()) for job in jobs] == [Entry] * 3


def test_a_full_disk_is_told_and_passes(ledger: SqliteLedger, spy: Spy) -> None:
    entry = claim(ledger, draft("first.json"))
    pages = spy.writer.execute("PRAGMA page_count").fetchone()[0]
    spy.writer.execute(f"PRAGMA max_page_count = {pages}")
    recorded = ["first.json"]

    def fill() -> None:
        for number in range(1000):
            recorded.append(claim(ledger, draft(f"{number}.json"), at(number + 1)).name)

    with pytest.raises(LedgerError):
        fill()
    assert [found.name for found in ledger.open_entries(ROUTE)] == recorded

    spy.writer.execute(f"PRAGMA max_page_count = {pages + 1000}")
    assert ledger.defer(entry, "HTTP 429", at(9), at(1)).state is State.DEFERRED


# --- what rides along --------------------------------------------------------------------------------


def test_filed_makes_no_commit_of_its_own_and_rides_on_the_next(ledger: SqliteLedger, spy: Spy) -> None:
    entry = entry_in(ledger, State.UPLOADED)
    before = spy.commits()

    ledger.filed(entry, at(5))
    assert spy.commits() == before
    assert ledger.counts(ROUTE).done == 0

    claim(ledger, draft("next.json"))
    assert spy.commits() == before + 1
    assert ledger.counts(ROUTE).done == 1


def test_flush_commits_only_when_something_rides(ledger: SqliteLedger, spy: Spy) -> None:
    ledger.filed(entry_in(ledger, State.UPLOADED), at(5))
    before = spy.commits()

    ledger.flush()
    ledger.flush()

    assert spy.commits() == before + 1


def test_a_defect_in_what_rides_is_told_to_who_waits_for_the_commit(ledger: SqliteLedger) -> None:
    def defect(connection: sqlite3.Connection) -> None:
        raise ZeroDivisionError

    [entry] = claimed(ledger, 1)
    with ledger.gather() as notes:
        ledger.defer(entry, "HTTP 429", at(9), at(1))
    ledger._database.ride("another", defect)

    with pytest.raises(LedgerError):
        notes.settle()
    ledger._database._riding.clear()
    assert [found.state for found in ledger.open_entries(ROUTE)] == [State.INTENDED]


def test_what_rides_survives_a_commit_that_failed(ledger: SqliteLedger, spy: Spy) -> None:
    ledger.filed(entry_in(ledger, State.UPLOADED), at(5))
    spy.writer.refuses_to_commit = True
    with pytest.raises(LedgerError):
        claim(ledger, draft("next.json"))
    spy.writer.refuses_to_commit = False

    assert ledger.open_entry(ROUTE, "visit.json") is None
    ledger.flush()
    assert ledger.counts(ROUTE).done == 1


@pytest.mark.parametrize("step", [0, 10, 20, 40])
def test_a_commit_while_it_is_being_read_brings_no_filed_entry_back(ledger: SqliteLedger, spy: Spy, step: int) -> None:
    """The commit comes between SQLite's own steps: after the reader's snapshot was taken, or before."""
    ledger.filed(entry_in(ledger, State.UPLOADED), at(5))
    steps = iter(range(10_000))

    def between_two_steps() -> int:
        if next(steps) == step:
            ledger.flush()
        return 0

    spy.reader.set_progress_handler(between_two_steps, 1)
    try:
        assert ledger.open_entry(ROUTE, "visit.json") is None
        assert next(steps) > step, "the query had fewer steps"
    finally:
        spy.reader.set_progress_handler(None, 1)


def test_many_writers_for_real(ledger: SqliteLedger, spy: Spy) -> None:
    before = spy.commits()

    def work(worker: int) -> None:
        for number in range(25):
            entry = claim(ledger, draft(f"{worker}-{number}.json"), T0)
            ledger.filed(ledger.upload(entry, uuid_of(worker * 100 + number), Proof.RESPONSE, "x", at(1)), at(2))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(work, range(8))) == [None] * 8

    ledger.flush()
    assert (ledger.counts(ROUTE).done, ledger.open_entries(ROUTE)) == (200, [])
    assert spy.commits() - before <= 401
