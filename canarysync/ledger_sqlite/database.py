"""One SQLite database file: opening it safely, its schema, and commits that parallel workers share."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from canarysync.errors import CanarysyncError, HeldError, LedgerDamaged, LedgerError, SetupError
from canarysync.ledger import OWNING

T = TypeVar("T")

BUSY_TIMEOUT_S = 30.0

_WAL_PAGES = 4000
"""The log of changes grows to so many pages (16 MB) before they are copied into the database: most of them are written
again and again, and copied once."""

ROOM_BYTES = 1 << 20
"""An intent is recorded only while so much is free: the outcomes of what is under way have to find room too."""

NEW_ID_SQL = "lower(hex(randomblob(16)))"

_OWNING_LIST_SQL = ", ".join(f"'{state}'" for state in sorted(OWNING))

MIGRATIONS: tuple[str, ...] = (
    f"""
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
    INSERT INTO meta VALUES ('id', {NEW_ID_SQL}), ('commits', '0');
    CREATE TABLE routes (name TEXT PRIMARY KEY, id TEXT NOT NULL UNIQUE) WITHOUT ROWID;

    -- One row for one file. `name` and `target` are bytes, as file names are.
    CREATE TABLE entries (
        id TEXT PRIMARY KEY,
        route_id TEXT NOT NULL,
        name BLOB NOT NULL,
        sha256 TEXT,
        size_bytes INTEGER NOT NULL, mtime_ns TEXT NOT NULL, inode INTEGER NOT NULL, device INTEGER NOT NULL,
        verdict TEXT NOT NULL DEFAULT 'open' CHECK (verdict IN ('open', 'done', 'failed', 'withdrawn')),
        detached INTEGER NOT NULL DEFAULT 0,
        target BLOB,
        code TEXT, status INTEGER,
        created_at TEXT NOT NULL, changed_at TEXT NOT NULL, filed_at TEXT
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX entries_one_open ON entries (route_id, name) WHERE filed_at IS NULL AND NOT detached;
    CREATE INDEX entries_unfiled ON entries (route_id, id) WHERE filed_at IS NULL;

    -- One row for each score of a file. No score and nobody's name is in here: hashes, states, uuids, times.
    CREATE TABLE scores (
        entry_id TEXT NOT NULL REFERENCES entries (id),
        position INTEGER NOT NULL,
        assessment_id TEXT NOT NULL,
        fingerprint TEXT NOT NULL, match_key TEXT NOT NULL, near_key TEXT NOT NULL,
        state TEXT NOT NULL,
        attempts INTEGER NOT NULL DEFAULT 0,
        reason TEXT NOT NULL DEFAULT '',
        retry_at TEXT,
        first_look TEXT,  -- its time, the id of the boot, and the seconds since that
        forbidden INTEGER NOT NULL DEFAULT 0,  -- how many of the attempts were answered with 403
        held TEXT,
        resolution TEXT,  -- what a person decided
        resent INTEGER NOT NULL DEFAULT 0,
        possible_duplicate INTEGER NOT NULL DEFAULT 0,
        uuid TEXT UNIQUE, proof TEXT,
        owner_id TEXT,  -- the entry whose uuid is its uuid too
        PRIMARY KEY (entry_id, position)
    ) WITHOUT ROWID;
    CREATE UNIQUE INDEX scores_owner ON scores (fingerprint) WHERE state IN ({_OWNING_LIST_SQL});

    -- Names of files that waited while the ledger was lost: their scores may be at the API. They stay when a file
    -- leaves the drop folder, since it may come back.
    CREATE TABLE suspects (
        route_id TEXT NOT NULL, name BLOB NOT NULL, fingerprint TEXT, PRIMARY KEY (route_id, name)
    ) WITHOUT ROWID;
    CREATE INDEX suspects_score ON suspects (fingerprint);
    """,
    """
    -- What became of each entry, and when, written in the transaction of the change itself. `n` rises per entry, whose
    -- rows stand together. As each is held twice, `entry_id` is the 16 bytes of the UUID (36 as text), and
    -- `at` is in milliseconds since 1970 (UTC). No REFERENCES: take_in replaces entries.
    CREATE TABLE events (
        entry_id BLOB NOT NULL, n INTEGER NOT NULL, at INTEGER NOT NULL, what TEXT NOT NULL, detail TEXT NOT NULL,
        PRIMARY KEY (entry_id, n)
    ) WITHOUT ROWID;
    CREATE INDEX events_at ON events (at, entry_id, n);

    -- What retention has done with the file and its sidecar; NULL: nothing yet.
    ALTER TABLE entries ADD COLUMN fate TEXT CHECK (fate IN ('removed', 'kept'));
    CREATE INDEX entries_expiring ON entries (route_id, verdict, filed_at) WHERE filed_at IS NOT NULL AND fate IS NULL;
    CREATE INDEX scores_shared ON scores (owner_id) WHERE owner_id IS NOT NULL;
    """,
    """
    -- Routes that a person has stopped.
    CREATE TABLE holds (
        route_id TEXT PRIMARY KEY, at TEXT NOT NULL, held_by TEXT NOT NULL, reason TEXT NOT NULL
    ) WITHOUT ROWID;
    """,
    """
    -- How many entries are filed, so that nobody has to count them; `code` is '' where there is none. Triggers keep it,
    -- whatever files an entry, or removes one. Once filed, an entry keeps its verdict and code.
    CREATE TABLE sums (
        route_id TEXT NOT NULL, verdict TEXT NOT NULL, code TEXT NOT NULL, n INTEGER NOT NULL,
        PRIMARY KEY (route_id, verdict, code)
    ) WITHOUT ROWID;
    INSERT INTO sums SELECT route_id, verdict, coalesce(code, ''), count(*) FROM entries
        WHERE filed_at IS NOT NULL GROUP BY 1, 2, 3;
    CREATE TRIGGER sums_filed AFTER UPDATE OF filed_at ON entries WHEN old.filed_at IS NULL AND new.filed_at IS NOT NULL
    BEGIN
        INSERT INTO sums VALUES (new.route_id, new.verdict, coalesce(new.code, ''), 1)
            ON CONFLICT (route_id, verdict, code) DO UPDATE SET n = n + 1;
    END;
    CREATE TRIGGER sums_taken_in AFTER INSERT ON entries WHEN new.filed_at IS NOT NULL
    BEGIN
        INSERT INTO sums VALUES (new.route_id, new.verdict, coalesce(new.code, ''), 1)
            ON CONFLICT (route_id, verdict, code) DO UPDATE SET n = n + 1;
    END;
    CREATE TRIGGER sums_gone AFTER DELETE ON entries WHEN old.filed_at IS NOT NULL
    BEGIN
        UPDATE sums SET n = n - 1
            WHERE route_id = old.route_id AND verdict = old.verdict AND code = coalesce(old.code, '');
    END;

    -- One index for what was filed when: by retention's fate, so that it finds the next to go, and with the code, so
    -- that those of the last hours are counted without looking at any entry.
    DROP INDEX entries_expiring;
    CREATE INDEX entries_filed ON entries (route_id, verdict, fate, filed_at, id, code) WHERE filed_at IS NOT NULL;
    """,
    f"""
    -- Whether the entry owns the score's fingerprint: whether its state is one of OWNING. In a column of its own, which
    -- seldom changes: an index on the state is written anew at each change of that, on a page for each score.
    ALTER TABLE scores ADD COLUMN owning INTEGER NOT NULL DEFAULT 0;
    UPDATE scores SET owning = 1 WHERE state IN ({_OWNING_LIST_SQL});
    DROP INDEX scores_owner;
    CREATE UNIQUE INDEX scores_owner ON scores (fingerprint) WHERE owning;

    -- It ran, for nothing, for every file that came: whoever takes in what is filed already counts it.
    DROP TRIGGER sums_taken_in;
    """,
)


_HINTS = {
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_READONLY: "run this as the service's user (sudo -u USER); or is its disk mounted read-only?",
}
_DAMAGED_HINT = "start canarysync (again): it sets the database aside, and makes another from the receipts"


ERRORS = (sqlite3.Error, UnicodeDecodeError)
"""What sqlite3 raises; the second one for a damaged text in the schema."""

_DAMAGED = frozenset(
    {
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_ERROR,  # e.g. a column that is not there
        sqlite3.SQLITE_CONSTRAINT,
        sqlite3.SQLITE_MISMATCH,
        sqlite3.SQLITE_FORMAT,
    }
)


class Access(StrEnum):
    """How a process uses the database."""

    OWNER = "owner"  # the one that has locked the state folder
    BESIDE = "beside"  # may note a person's decision, while the owner works or not
    READER = "reader"


class _Transaction:
    """What was written since the last commit, by whatever threads; ``error``: why it did not come to be on disk.
    ``carried`` are the keys of the riding changes that it took along; ``has_room``: its disk had, when it was asked."""

    __slots__ = ("carried", "error", "has_room", "over")

    def __init__(self) -> None:
        self.carried: set[str] = set()
        self.has_room = False
        self.over = False
        self.error: BaseException | None = None


class Notes:
    """What a thread has written and not seen to be on disk yet."""

    __slots__ = ("_database", "_transactions")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._transactions: list[_Transaction] = []

    def add(self, transaction: _Transaction) -> None:
        """Something was written in this transaction."""
        if not self._transactions or self._transactions[-1] is not transaction:
            self._transactions.append(transaction)

    def came_to_nothing(self) -> bool:
        """Whether something of it was undone: then what would be written now, which may rest on that, is not, so that
        it is always the last one that failed."""
        return bool(self._transactions) and self._transactions[-1].error is not None

    def settle(self) -> None:
        """Return once it is all on disk. Raises LedgerError: then nothing of a transaction that failed is, which is the
        last one."""
        transactions, self._transactions = self._transactions, []
        for transaction in transactions:
            self._database.settle(transaction)


class Database:
    """One connection that writes and one that reads, for any number of threads.

    All that is written goes into the one open transaction, whoever writes it, and is on disk (WAL, synchronous=FULL)
    once that is committed: by the first thread that cannot go on before. ``write`` waits for that at once; in a
    ``gather`` it is left to ``Notes.settle``, so that what many files have to say shares one fsync.
    """

    def __init__(self, path: Path, access: Access = Access.OWNER) -> None:
        """Only the owner migrates and checks the database. Raises LedgerDamaged, LedgerError."""
        self.path = path
        self._file, self._folder = str(path), str(path.parent)
        self._access = access
        self._damaged = False
        self._writing = threading.Lock()
        self._reading = threading.Lock()
        self._open: _Transaction | None = None
        self._thread = threading.local()  # .notes: those that it gathers
        self._riding: dict[str, Callable[[sqlite3.Connection], object]] = {}
        self._writer = _connect(path, access)
        there = path.stat()
        self._place = (there.st_dev, there.st_ino)
        self._reader = self._writer
        try:
            if access is not Access.OWNER:
                return
            migrate(self._writer, path)
            _check_schema(self._writer, path)
            _check_after_unclean_stop(self._writer, path)
            self._reader = _connect(path, access)
        except ERRORS as error:
            self._writer.close()
            if access is not Access.OWNER:  # who alone sets a damaged database aside
                raise trouble("read", path, error) from error
            raise _not_opened(path, error) from error
        except BaseException:
            self._writer.close()
            raise

    def write(self, change: Callable[[sqlite3.Connection], T], *, needs_room: bool = False) -> T:
        """Run ``change``; return its result once it is durable, or at once where the thread gathers. ``needs_room``:
        only where the disk is not as good as full, which is asked once for each transaction.

        Raises LedgerError when it could not be recorded, and what ``change`` itself raises; then nothing of
        it was recorded.
        """
        gathered: Notes | None = getattr(self._thread, "notes", None)
        notes = gathered or Notes(self)
        with self._writing:
            if notes.came_to_nothing():
                raise self._broken_off()
            began = self._open is None
            try:
                transaction = self._opened()
                if needs_room and not transaction.has_room:
                    self._check_room()
                    transaction.has_room = True
                result = self._run(change)
                notes.add(transaction)
            except BaseException as error:
                if began:  # nobody else would see to its end, and other processes wait for that
                    self._end(error)
                if isinstance(error, ERRORS):
                    raise self._trouble("write", error) from error
                raise
        if gathered is None:
            notes.settle()
        return result

    @contextmanager
    def gather(self) -> Iterator[Notes]:
        """Within it, this thread's writing returns at once, and is not durable before it is settled."""
        self._thread.notes = notes = Notes(self)
        try:
            yield notes
        finally:
            self._thread.notes = None

    def settle(self, transaction: _Transaction) -> None:
        """Return once it is on disk, be it by another thread's commit. Raises LedgerError."""
        with self._writing:
            if not transaction.over:
                self._commit(transaction)
        if isinstance(transaction.error, ERRORS):
            raise self._trouble("write", transaction.error) from transaction.error
        if transaction.error is not None:
            raise self._broken_off()

    def _broken_off(self) -> LedgerError:
        return LedgerError("write the ledger", str(self.path), "the transaction was broken off")

    def ride(self, key: str, change: Callable[[sqlite3.Connection], object]) -> None:
        """Leave a change for the next commit to take along. It is not durable before that."""
        self._riding[key] = change

    def riding(self) -> frozenset[str]:
        """The keys of the changes that wait for a commit. Ask before a query: then none can fall in between."""
        return frozenset(self._riding)

    def flush(self) -> None:
        """Commit what rides, and what was written and not committed, when there may not be a next commit soon."""
        if self._riding or self._open is not None:
            self.write(lambda connection: None)

    def _opened(self) -> _Transaction:
        """The open transaction, with all that rides: what is filed makes room for another file of its name."""
        if self._open is None:
            self._check_in_place()
            self._writer.execute("BEGIN IMMEDIATE")
            self._open = _Transaction()
        self._carry(self._open)
        return self._open

    def _carry(self, transaction: _Transaction) -> None:
        if len(self._riding) == len(transaction.carried):  # all of them, as what was carried rides until the commit
            return
        for key in self._riding.keys() - transaction.carried:
            self._run(self._riding[key])
            transaction.carried.add(key)

    def _run(self, change: Callable[[sqlite3.Connection], T]) -> T:
        """Run a change. One that fails has nearly always found out before it wrote anything; else all that was written
        since the last commit is undone with it, and those who wait for that will hear of it."""
        before = self._writer.total_changes
        try:
            return change(self._writer)
        except BaseException as error:
            if not self._writer.in_transaction or self._writer.total_changes != before:
                self._end(error)
            raise

    def _commit(self, transaction: _Transaction) -> None:
        failure: BaseException | None = self._broken_off()
        try:
            self._check_in_place()
            self._writer.execute("UPDATE meta SET value = value + 1 WHERE key = 'commits'")
            self._carry(transaction)
            self._writer.execute("COMMIT")
            failure = None
        except Exception as error:  # any: it is told to all who wait, and not to the one that commits alone
            failure = error
        finally:
            self._end(failure)
        for key in transaction.carried if failure is None else ():
            self._riding.pop(key, None)

    def _end(self, error: BaseException | None) -> None:
        """The open transaction is over, and was undone if there is an ``error``."""
        ended, self._open = self._open, None
        if ended is not None:
            ended.over, ended.error = True, error
        if self._writer.in_transaction:
            with suppress(*ERRORS):  # what could not be undone keeps the next one from beginning
                self._writer.execute("ROLLBACK")

    def _check_in_place(self) -> None:
        """SQLite goes on writing into a file that was deleted or replaced; what it recorded there would be lost."""
        try:
            there = os.stat(self._file)
        except OSError:
            there = None
        if there is None or (there.st_dev, there.st_ino) != self._place:
            hint = "restore the state folder, or stop canarysync and start it again"
            raise LedgerError("write the ledger", str(self.path), "the database was removed or replaced", hint)

    def check_sound(self) -> None:
        """Raise LedgerError if something told of damage."""
        if self._damaged:
            raise LedgerError("go on with the ledger", str(self.path), "the database is damaged", _DAMAGED_HINT)

    def check_version(self) -> None:
        """Raise HeldError where the owner is an older canarysync, whose schema this one does not work with; SetupError
        where it is a newer one's."""
        version: int = self.read("PRAGMA user_version")[0][0]
        _check_known(version, self.path)
        if version < len(MIGRATIONS):
            cause = f"it is an older canarysync's (schema {version}; this one works with {len(MIGRATIONS)})"
            hint = "start canarysync again: that brings it up to date"
            raise HeldError("use the ledger", str(self.path), cause, hint)

    def _check_room(self) -> None:
        """Raise LedgerError where the disk is as good as full."""
        try:
            seen = os.statvfs(self._folder)
        except OSError as error:
            raise trouble("write", self.path, error) from error
        if seen.f_blocks > 0 and seen.f_bavail * seen.f_frsize < ROOM_BYTES:
            raise LedgerError("write the ledger", str(self.path), "its disk is full", "make room on it")

    def read(self, sql: str, *arguments: object) -> list[sqlite3.Row]:
        """All rows of a query, as they were last committed."""
        try:
            with self._reading:
                return self._reader.execute(sql, arguments).fetchall()
        except ERRORS as error:
            raise self._trouble("read", error) from error

    def _trouble(self, operation: str, error: Exception) -> LedgerError:
        self._damaged |= _tells_of_damage(error)
        return trouble(operation, self.path, error)

    def copy_to(self, copy: Path) -> None:
        """A copy of the database as it was last committed."""
        try:
            with self._reading:
                self._reader.execute("VACUUM INTO ?", (str(copy),))
        except ERRORS as error:
            raise self._trouble("copy", error) from error

    def close(self) -> None:
        """Commit what rides, note the clean stop, and let go."""
        try:
            # What was found damaged is to be checked as a whole at the next start.
            if self._access is Access.OWNER and not self._damaged:
                self.flush()
                # No change of what the ledger knows, so that it counts as no commit.
                self._writer.execute("INSERT OR REPLACE INTO meta VALUES ('clean', '1')")
        except ERRORS as error:
            raise self._trouble("close", error) from error
        finally:
            self._reader.close()
            self._writer.close()


_MODES = {Access.OWNER: "rwc", Access.BESIDE: "rw", Access.READER: "ro"}


def _connect(path: Path, access: Access) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode={_MODES[access]}",
            uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False,
        )  # fmt: skip
        connection.row_factory = sqlite3.Row
        if access is Access.READER:
            return connection
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_WAL_PAGES}")
        except BaseException:
            connection.close()
            raise
    except ERRORS as error:
        raise _not_opened(path, error) from error
    return connection


def _not_opened(path: Path, error: Exception) -> CanarysyncError:
    return ruined(path) if _tells_of_damage(error) else trouble("open", path, error)


def ruined(path: Path) -> LedgerDamaged:
    """The file is no database, or a damaged one."""
    return LedgerDamaged("open the ledger", str(path), "the database does not pass its integrity check", _DAMAGED_HINT)


def migrate(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the schema up to date, each step in a transaction of its own, after copying the database."""
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    _check_known(version, path)
    if 0 < version < len(MIGRATIONS):
        copy = path.with_name(f"{path.name}.schema-{version}")
        copy.unlink(missing_ok=True)
        connection.execute("VACUUM INTO ?", (str(copy),))
    for number, script in enumerate(MIGRATIONS[version:], start=version + 1):
        connection.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")


def _check_known(version: int, path: Path) -> None:
    """A database has been through so many migrations. Raises SetupError if there are more than we know."""
    if version > len(MIGRATIONS):
        raise SetupError(
            "open the ledger",
            str(path),
            f"it was written by a newer canarysync (schema {version}; this one knows {len(MIGRATIONS)})",
            "install that version again: pipx install --force 'canarysync>=VERSION'",
        )


def _check_schema(connection: sqlite3.Connection, path: Path) -> None:
    """The schema has to be what the migrations make it: the integrity check does not compare the two."""
    sql = "SELECT CAST(sql AS BLOB) FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY name"
    with closing(sqlite3.Connection(":memory:")) as fresh:
        for script in MIGRATIONS:
            fresh.executescript(script)
        expected = [tuple(row) for row in fresh.execute(sql)]
    if [tuple(row) for row in connection.execute(sql)] != expected:
        raise ruined(path)


def _check_after_unclean_stop(connection: sqlite3.Connection, path: Path) -> None:
    """After a crash or a power cut, look at the whole database; after a clean stop there is no need."""
    row = connection.execute("SELECT value FROM meta WHERE key = 'clean'").fetchone()
    if row is not None and row["value"] == "0":
        with closing(connection.execute("PRAGMA integrity_check")) as cursor:
            verdict = str(cursor.fetchone()[0])
        if verdict != "ok":
            raise ruined(path)
    connection.execute("INSERT OR REPLACE INTO meta VALUES ('clean', '0')")


def trouble(operation: str, path: Path, error: Exception) -> LedgerError:
    """An error of SQLite as ours. SQLite's words name tables and columns, never values."""
    hint = _DAMAGED_HINT if _tells_of_damage(error) else _HINTS.get(_code(error), "canarysync check tells more")
    return LedgerError(f"{operation} the ledger", str(path), str(error), hint)


def _tells_of_damage(error: Exception) -> bool:
    """Our statements are right, and so is our data: what is wrong with them is wrong with the file."""
    return _code(error) in _DAMAGED or isinstance(error, UnicodeDecodeError)


def _code(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF  # the low byte is the primary code
