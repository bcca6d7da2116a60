"""The ledger on SQLite: the file that it keeps, how it is opened, and what is refused."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing, suppress
from pathlib import Path

import pytest

from canarysync.errors import CanarysyncError, HeldError, LedgerError, SetupError
from canarysync.ledger import Counts, Taken
from canarysync.ledger_sqlite import Access, SqliteLedger, database
from canarysync.model import State
from tests.ledger.spy import Spy
from tests.ledger.support import ROUTE, at, claim, draft, entry_in


def as_a_crash_leaves_it(path: Path, copy: Path) -> Path:
    """Fill a ledger, bring all of it into the main file, and copy that while the ledger is open."""
    copy.mkdir()
    with SqliteLedger(path) as ledger:
        for number in range(30):
            entry_in(ledger, State.UPLOADED, f"{number}.json")
        with closing(sqlite3.connect(path)) as other:
            assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        return Path(shutil.copy(path, copy))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.sqlite3"


# --- durability and names ----------------------------------------------------------------------------


def test_commits_are_synced_to_disk_and_readers_do_not_wait(path: Path, spy: Spy) -> None:
    with SqliteLedger(path):
        for connection in spy.connections:
            assert connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
            assert connection.execute("PRAGMA synchronous").fetchone()[0] == 2  # FULL
            assert connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1
    assert len(spy.connections) == 2


@pytest.mark.parametrize("name", ["a b", "what?mode=memory", "a#b", "50%41", "ü", "a'b"])
def test_any_name_will_do_for_the_state_folder(tmp_path: Path, name: str) -> None:
    folder = tmp_path / name
    folder.mkdir()

    with SqliteLedger(folder / "ledger.sqlite3") as ledger:
        entry = claim(ledger, draft())
    with SqliteLedger(folder / "ledger.sqlite3") as ledger:
        assert ledger.entry(entry.id) == entry
    assert [found.name for found in tmp_path.iterdir()] == [name]


# --- schemas -----------------------------------------------------------------------------------------


def test_a_newer_schema_is_refused_with_a_hint_and_left_alone(path: Path) -> None:
    SqliteLedger(path).close()
    with closing(sqlite3.connect(path)) as other:
        other.execute("PRAGMA user_version = 99")
    before = path.read_bytes()

    with pytest.raises(SetupError) as caught:
        SqliteLedger(path)

    assert "newer" in caught.value.cause
    assert caught.value.hint
    assert path.read_bytes() == before


def test_a_migration_copies_the_database_first(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with SqliteLedger(path) as ledger:
        entry = claim(ledger, draft())
    later = (*database.MIGRATIONS, "CREATE TABLE leases (id TEXT);")
    monkeypatch.setattr(database, "MIGRATIONS", later)

    with SqliteLedger(path) as ledger:
        assert ledger.entry(entry.id) == entry

    monkeypatch.undo()
    with SqliteLedger(path.with_name(f"ledger.sqlite3.schema-{len(database.MIGRATIONS)}")) as copy:
        assert copy.entry(entry.id) == entry


def test_what_an_upgrade_finds_counts_and_owns_as_before(path: Path) -> None:
    verdicts = {State.UPLOADED: "done", State.REFUSED: "failed", State.WITHDRAWN: "withdrawn"}
    files = {state: draft(f"{state}.json", number) for number, state in enumerate(verdicts)}
    with closing(sqlite3.connect(path)) as old:
        old.executescript(f"{';'.join(database.MIGRATIONS[:3])}; PRAGMA user_version = 3;")
        for n, (state, file) in enumerate(files.items()):
            entry_id = f"019b796d-d600-7000-8000-00000000000{n}"
            code = "refused" if state is State.REFUSED else None
            columns = "id, route_id, name, size_bytes, mtime_ns, inode, device, created_at, changed_at"
            marks = "?, ?, ?, 1, '1', 1, 1, ?, ?, ?, ?, ?"
            sql = f"INSERT INTO entries ({columns}, filed_at, verdict, code) VALUES ({marks})"
            old.execute(
                sql, (entry_id, ROUTE, file.name.encode(), *["2026-01-01T12:00:00.000Z"] * 3, verdicts[state], code)
            )
            columns = "entry_id, position, assessment_id, fingerprint, match_key, near_key, state"
            assert file.identity is not None
            scored = (entry_id, file.assessment_id, file.identity.fingerprint, "", "", state)
            old.execute(f"INSERT INTO scores ({columns}) VALUES (?, 0, ?, ?, ?, ?, ?)", scored)
        old.commit()

    with SqliteLedger(path) as ledger:
        assert ledger.counts(ROUTE) == Counts(1, 1, 1, {"refused": 1})
        claims = {state: ledger.intend(file, at(1)) for state, file in files.items()}
    assert [state for state, claim in claims.items() if isinstance(claim, Taken)] == [State.UPLOADED]


def test_a_migration_that_fails_leaves_the_schema_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    SqliteLedger(path).close()
    later = (*database.MIGRATIONS, "CREATE TABLE leases (id TEXT); CREATE TABLE entries (id TEXT);")
    monkeypatch.setattr(database, "MIGRATIONS", later)

    with pytest.raises(CanarysyncError):
        SqliteLedger(path)

    monkeypatch.undo()
    SqliteLedger(path).close()
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("SELECT count(*) FROM sqlite_master WHERE name = 'leases'").fetchone()[0] == 0


def test_beside_the_owner_nobody_works_with_another_schema(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After an upgrade, before the service was started again."""
    SqliteLedger(path).close()
    with SqliteLedger(path, Access.BESIDE) as ledger:
        ledger.check_version()
    newer, older = (SetupError, "newer"), (HeldError, "older")  # the next start mends that, so: try again
    for migrations, (error, told) in ((database.MIGRATIONS[:-1], newer), ((*database.MIGRATIONS, ""), older)):
        monkeypatch.setattr(database, "MIGRATIONS", migrations)
        with SqliteLedger(path, Access.BESIDE) as ledger, pytest.raises(error, match=told):
            ledger.check_version()


# --- the integrity check -----------------------------------------------------------------------------


def test_the_whole_database_is_checked_after_an_unclean_stop_only(path: Path, tmp_path: Path, spy: Spy) -> None:
    copy = as_a_crash_leaves_it(path, tmp_path / "copy")
    assert "PRAGMA integrity_check" not in spy.statements

    SqliteLedger(path).close()
    assert "PRAGMA integrity_check" not in spy.statements

    SqliteLedger(copy).close()
    assert "PRAGMA integrity_check" in spy.statements

    spy.statements.clear()
    SqliteLedger(copy).close()
    assert "PRAGMA integrity_check" not in spy.statements


def test_any_ruined_page_is_told_as_such(path: Path, tmp_path: Path) -> None:
    copy = as_a_crash_leaves_it(path, tmp_path / "copy")
    whole = copy.read_bytes()
    for start in range(0, len(whole), 4096):
        for name in ("-wal", "-shm"):
            copy.with_name(copy.name + name).unlink(missing_ok=True)
        copy.write_bytes(whole[:start] + b"\xa5" * 4096 + whole[start + 4096 :])

        with pytest.raises(SetupError) as caught:
            SqliteLedger(copy)

        assert caught.value.hint


def test_a_file_that_is_no_database_is_told_as_such(path: Path) -> None:
    path.write_bytes(b"This is no database.\n" * 300)

    with pytest.raises(SetupError) as caught:
        SqliteLedger(path)

    assert "disk full" not in caught.value.hint


def test_what_cannot_be_opened_leaves_no_connection_open(path: Path, spy: Spy) -> None:
    path.write_bytes(b"This is no database.\n" * 300)
    with suppress(CanarysyncError):
        SqliteLedger(path)

    assert [connection.closed for connection in spy.connections] == [True]


# --- reading beside a writer -------------------------------------------------------------------------


def test_a_reader_beside_the_writer_sees_what_is_committed(path: Path) -> None:
    with SqliteLedger(path) as ledger, SqliteLedger(path, Access.READER) as reader:
        ledger.register_route("clinic-a", ROUTE)
        entry = claim(ledger, draft())

        assert reader.route_id("clinic-a") == ROUTE
        assert list(reader.open_entries(ROUTE)) == [entry]

        ledger.filed(ledger.defer(entry, "HTTP 429", at(9), at(1)), at(2))
        assert [found.state for found in reader.open_entries(ROUTE)] == [State.DEFERRED]


def test_a_reader_neither_writes_nor_keeps_the_writer_from_it(path: Path) -> None:
    with SqliteLedger(path) as ledger:
        entry = claim(ledger, draft())
        with SqliteLedger(path, Access.READER) as reader, pytest.raises(LedgerError):
            reader.defer(entry, "HTTP 429", at(9), at(1))
        assert ledger.defer(entry, "HTTP 429", at(9), at(1)).state is State.DEFERRED


def test_a_reader_that_ends_does_not_look_like_a_clean_stop(path: Path, tmp_path: Path, spy: Spy) -> None:
    copy = as_a_crash_leaves_it(path, tmp_path / "copy")
    SqliteLedger(copy, Access.READER).close()
    spy.statements.clear()

    SqliteLedger(copy).close()

    assert "PRAGMA integrity_check" in spy.statements


def test_a_reader_works_when_there_is_no_writer(path: Path) -> None:
    with SqliteLedger(path) as ledger:
        entry = claim(ledger, draft())

    with SqliteLedger(path, Access.READER) as reader:
        assert list(reader.open_entries(ROUTE)) == [entry]


def test_a_reader_makes_no_ledger_where_there_is_none(path: Path) -> None:
    with pytest.raises(LedgerError):
        SqliteLedger(path, Access.READER)

    assert not path.exists()
