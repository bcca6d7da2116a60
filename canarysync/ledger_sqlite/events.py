"""The events of the ledger: how they are written, in the transactions of the changes that they tell of, and read."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from itertools import islice
from uuid import UUID

from canarysync.ledger import Entry, Happened, Happening
from canarysync.ledger_sqlite.database import Database
from canarysync.ledger_sqlite.rows import ENTRY_SQL, to_entry

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MS = timedelta(milliseconds=1)
_PAGE = 500
_ONCE_SQL = """INSERT INTO events
               VALUES (?1, 1 + coalesce((SELECT max(n) FROM events WHERE entry_id = ?1), 0), ?2, ?3, ?4)"""
_INSERT_SQL = "INSERT INTO events VALUES (?, ?, ?, ?, ?)"
_ATTEMPTS = ({Happened.INTENDED}, {Happened.SENT_AGAIN})


def record(c: sqlite3.Connection, entry_id: str, at: datetime, what: Happened, detail: object = "") -> None:
    """Add an event; unless it is the last one over again, as of an entry that is held, and looked for now and then.

    Of attempts in a row that end alike the first and the last stay, whose numbers tell how many were between: there is
    one every few minutes for as long as the API is down.
    """
    key, told = _key(entry_id), (str(what), str(detail))
    sql = "SELECT n, what, detail FROM events WHERE entry_id = ? ORDER BY n DESC LIMIT 4"
    last = c.execute(sql, (key,)).fetchall()
    ended = [(row["what"], row["detail"]) for row in last]
    if told in ended[:1]:
        return
    if ended[1::2] == [told, told] and {ended[0][0], ended[2][0]} in _ATTEMPTS:
        between = (key, last[2]["n"], last[1]["n"])
        c.execute("DELETE FROM events WHERE entry_id = ? AND n BETWEEN ? AND ?", between)
    row = (key, last[0]["n"] + 1 if last else 1, (at - _EPOCH) // _MS, *told)
    c.execute(_INSERT_SQL, row)


def record_first(c: sqlite3.Connection, entry_id: str, at: datetime, what: Happened, detail: object) -> None:
    """Add the first event of an entry that was just made."""
    c.execute(_INSERT_SQL, (_key(entry_id), 1, (at - _EPOCH) // _MS, str(what), str(detail)))


def record_once(c: sqlite3.Connection, entry_id: str, at: datetime, what: Happened, detail: object = "") -> None:
    """Add an event that comes once in the life of an entry, whatever was before."""
    c.execute(_ONCE_SQL, (_key(entry_id), (at - _EPOCH) // _MS, str(what), str(detail)))


def _key(entry_id: str) -> bytes:
    return bytes.fromhex(entry_id.replace("-", ""))


class History:
    """What the ledger has written down, page by page: nothing here grows with the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- entries -------------------------------------------------------------------------------------

    def entry(self, entry_id: str) -> Entry | None:
        """The entry of that id."""
        return next(iter(self._entries("e.id = ?", entry_id)), None)

    def with_uuid(self, uuid: str) -> Sequence[Entry]:
        """The entry that owns a score's uuid, and those that share it."""
        owned = "SELECT entry_id FROM scores WHERE uuid = ?"
        shared = f"SELECT entry_id FROM scores WHERE owner_id IN ({owned})"
        return self._entries(f"e.id IN ({owned} UNION {shared})", uuid, uuid)

    def named(self, name: str) -> Sequence[Entry]:
        """All entries of files of that name, in whatever route."""
        return self._entries("e.name = ?", os.fsencode(name))

    def matching(self, matches: Callable[[str], object]) -> Iterator[Entry]:
        """All entries of files whose names match."""
        last = ""
        while rows := self._database.read("SELECT id, name FROM entries WHERE id > ? ORDER BY id LIMIT 5000", last):
            last = rows[-1]["id"]
            for row in rows:
                if matches(os.fsdecode(row["name"])):
                    yield from self._entries("e.id = ?", row["id"])

    def filed(self, route_id: str) -> Iterator[Entry]:
        """A route's entries whose files are in done/ or failed/ as far as the ledger knows."""
        last = ""
        which = "e.route_id = ? AND e.id > ? AND e.filed_at IS NOT NULL AND e.verdict != 'withdrawn'"
        while entries := self._entries(f"{which} AND e.fate IS NOT 'removed'", route_id, last, most=_PAGE):
            last = entries[-1].id
            yield from entries

    def _entries(self, which: str, *values: object, most: int = -1) -> Sequence[Entry]:
        rows = self._database.read(f"{ENTRY_SQL} WHERE {which} ORDER BY e.id LIMIT ?", *values, most)
        return [to_entry(row) for row in rows]

    # --- events --------------------------------------------------------------------------------------

    def of(self, entry: Entry) -> Sequence[Happening]:
        """The whole life of an entry, in order."""
        rows = self._database.read("SELECT * FROM events WHERE entry_id = ? ORDER BY n", _key(entry.id))
        return [_happening(row) for row in rows]

    def since(self, at: datetime) -> Iterator[tuple[Entry, Happening]]:
        """All events from a time on, in order."""
        return self._told("> (?, ?, ?)", "ASC", ((at - _EPOCH) // _MS - 1, b"\xff" * 16, 0))

    def last(self, most: int, wanted: Callable[[Entry], bool]) -> Sequence[tuple[Entry, Happening]]:
        """The last events of the entries that are wanted, in order."""
        backwards = self._told("< (?, ?, ?)", "DESC", (1 << 62, b"", 0))
        return list(islice((told for told in backwards if wanted(told[0])), most))[::-1]

    def _told(self, beyond: str, order: str, place: tuple[object, ...]) -> Iterator[tuple[Entry, Happening]]:
        by = f"ORDER BY at {order}, entry_id {order}, n {order} LIMIT {_PAGE}"
        while rows := self._database.read(f"SELECT * FROM events WHERE (at, entry_id, n) {beyond} {by}", *place):
            place = (rows[-1]["at"], rows[-1]["entry_id"], rows[-1]["n"])
            happenings = [_happening(row) for row in rows]
            ids = {happening.entry_id for happening in happenings}
            entries = {entry.id: entry for entry in self._entries(f"e.id IN ({', '.join('?' * len(ids))})", *ids)}
            yield from ((entries[happening.entry_id], happening) for happening in happenings)


def _happening(row: sqlite3.Row) -> Happening:
    return Happening(str(UUID(bytes=row["entry_id"])), _EPOCH + row["at"] * _MS, Happened(row["what"]), row["detail"])
