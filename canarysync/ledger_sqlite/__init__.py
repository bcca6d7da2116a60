"""The ledger on SQLite, in plain SQL."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Self

from canarysync.errors import LedgerError, SetupError, UuidOwned
from canarysync.ledger import FAILED, LEGAL, Claimed, Counts, Draft, Entry, Filed, Happened, Hold, Past, Taken
from canarysync.ledger_sqlite import recovery
from canarysync.ledger_sqlite.database import NEW_ID_SQL, ROOM_BYTES, Access, Database, Notes
from canarysync.ledger_sqlite.events import History, record, record_first, record_once
from canarysync.ledger_sqlite.rows import (
    ENTRY_SQL,
    IllegalChange,
    decided,
    insert_entry,
    insert_entry_after,
    insert_score,
    intended,
    moment_text,
    move,
    select,
    signature_columns,
    text,
    to_entry,
    update_entry,
    uploaded,
)
from canarysync.model import Code, Held, Moment, Proof, Signature, State

__all__ = ["ROOM_BYTES", "Access", "History", "SqliteLedger"]


_OWNER_SQL = f"{ENTRY_SQL} WHERE s.fingerprint = ? AND s.owning"
_OPEN_SQL = f"{ENTRY_SQL} WHERE e.route_id = ? AND e.name = ? AND e.filed_at IS NULL AND NOT e.detached"
_ANY_OPEN_SQL = "SELECT id FROM entries WHERE route_id = ? AND name = ? AND filed_at IS NULL AND NOT detached"
_FILED_SQL = "UPDATE entries SET filed_at = ? WHERE id = ? AND filed_at IS NULL"

_BEFORE_SQL = """
    SELECT (SELECT max(id) FROM entries),
           (SELECT entry_id FROM scores WHERE fingerprint = ?1 AND owning),
           EXISTS (SELECT 1 FROM suspects WHERE (route_id = ?2 AND name = ?3) OR fingerprint = ?1)
"""
"""All that is to be known before an entry is made: the newest one, the owner of its score, and whether the file, or one
with its score, waited while the ledger was lost, and nothing was found out since."""

_SINCE_SQL = " UNION ALL ".join(
    f"""SELECT verdict, code, count(*) AS n FROM entries
        WHERE route_id = ?1 AND verdict = '{verdict}' AND {fate} AND filed_at >= ?2 GROUP BY 1, 2"""
    for verdict in ("done", "failed", "withdrawn")
    for fate in ("fate IS NULL", "fate = 'removed'", "fate = 'kept'")
)
"""One range of the index on what was filed for each verdict and fate."""

_FAILURES_SQL = """
    SELECT id, target, code FROM entries WHERE route_id = ?1 AND verdict = 'failed' AND filed_at IS NOT NULL UNION ALL
    SELECT id, target, code FROM entries WHERE route_id = ?1 AND verdict = 'failed' AND filed_at IS NULL ORDER BY id
"""
"""In two parts, as there is an index for each."""


class SqliteLedger:
    """See ``ledger.Ledger``, whose promises this class keeps with SQLite."""

    def __init__(self, path: Path, access: Access = Access.OWNER) -> None:
        """Open the database at ``path``. The owner has locked its folder; it creates what is not there yet."""
        self._database = Database(path, access)
        self.history = History(self._database)
        self._used: set[str] = set()  # names of routes that this process has asked for
        self._renewed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._database.close()

    def gather(self) -> AbstractContextManager[Notes]:
        return self._database.gather()

    def check_version(self) -> None:
        """Raise HeldError where the owner has yet to bring the schema up to date, SetupError if it is a newer one's."""
        self._database.check_version()

    # --- routes --------------------------------------------------------------------------------------

    def route_id(self, name: str) -> str | None:
        self._used.add(name)
        return self.routes().get(name)

    def routes(self) -> Mapping[str, str]:
        return {str(row["name"]): str(row["id"]) for row in self._database.read("SELECT name, id FROM routes")}

    def register_route(self, name: str, route_id: str) -> None:
        for other in (other for other, known in self.routes().items() if known == route_id and other != name):
            if other in self._used:
                raise SetupError(
                    "recognise the drop folder",
                    name,
                    f"its marker is a copy of that of the route {other}",
                    "was the folder copied? Remove .canarysync from the copy",
                )
        sql = """INSERT INTO routes VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET id = excluded.id
                                                 ON CONFLICT (id) DO UPDATE SET name = excluded.name"""
        self._database.write(lambda c: c.execute(sql, (name, route_id)))

    def forget_route(self, name: str) -> None:
        self._used.discard(name)

    def hold(self, route_id: str, hold: Hold) -> None:
        values = (route_id, text(hold.at), hold.by, hold.reason)
        self._database.write(lambda c: c.execute("INSERT OR REPLACE INTO holds VALUES (?, ?, ?, ?)", values))

    def release(self, route_id: str) -> None:
        self._database.write(lambda c: c.execute("DELETE FROM holds WHERE route_id = ?", (route_id,)))

    def hold_on(self, route_id: str) -> Hold | None:
        rows = self._database.read("SELECT at, held_by, reason FROM holds WHERE route_id = ?", route_id)
        return Hold(datetime.fromisoformat(rows[0]["at"]), rows[0]["held_by"], rows[0]["reason"]) if rows else None

    # --- reading -------------------------------------------------------------------------------------

    def open_entries(self, route_id: str) -> Sequence[Entry]:
        riding = self._database.riding()
        rows = self._database.read(f"{ENTRY_SQL} WHERE e.route_id = ? AND e.filed_at IS NULL ORDER BY e.id", route_id)
        return [to_entry(row) for row in rows if row["id"] not in riding]

    def open_entry(self, route_id: str, name: str) -> Entry | None:
        which = (route_id, os.fsencode(name))
        if not self._database.read(_ANY_OPEN_SQL, *which):  # as for every new file, at a third of the cost
            return None
        riding = self._database.riding()
        rows = self._database.read(_OPEN_SQL, *which)
        return to_entry(rows[0]) if rows and rows[0]["id"] not in riding else None

    def entry(self, entry_id: str) -> Entry:
        return to_entry(self._database.read(f"{ENTRY_SQL} WHERE e.id = ?", entry_id)[0])

    def sends_alike(self, entry: Entry) -> bool:
        assert entry.identity is not None
        sql = """SELECT 1 FROM entries e JOIN scores s ON s.entry_id = e.id
                 WHERE e.filed_at IS NULL AND s.state = ? AND s.near_key = ? AND e.id != ? LIMIT 1"""
        return bool(self._database.read(sql, str(State.INTENDED), entry.identity.near_key, entry.id))

    def owned_uuids(self, uuids: Collection[str], besides: Entry) -> frozenset[str]:
        owned: set[str] = set()
        wanted = list(uuids)
        for start in range(0, len(wanted), 500):  # SQLite takes a limited number of parameters
            part = wanted[start : start + 500]
            marks = ", ".join("?" * len(part))
            sql = f"SELECT uuid FROM scores WHERE uuid IN ({marks}) AND entry_id != ?"
            owned.update(row["uuid"] for row in self._database.read(sql, *part, besides.id))
        return frozenset(owned)

    def counts(self, route_id: str, since: datetime | None = None) -> Counts:
        if since is None:
            rows = self._database.read("SELECT verdict, code, n FROM sums WHERE route_id = ?", route_id)
        else:
            rows = self._database.read(_SINCE_SQL, route_id, text(since))
        filed: Counter[str] = Counter()
        codes: Counter[str] = Counter()
        for verdict, code, n in rows:
            filed[verdict] += n
            if code and n:
                codes[code] += n
        return Counts(
            done=filed["done"],
            failed=filed["failed"],
            withdrawn=filed["withdrawn"],
            codes=dict(codes),
        )

    def failures(self, route_id: str) -> Mapping[str, str]:
        rows = self._database.read(_FAILURES_SQL, route_id)
        return {os.fsdecode(row["target"]): row["code"] for row in rows}

    def owner(self, fingerprint: str) -> Entry | None:
        rows = self._database.read(_OWNER_SQL, fingerprint)
        return to_entry(rows[0]) if rows else None

    # --- the steps -----------------------------------------------------------------------------------

    def intend(self, draft: Draft, at: datetime) -> Claimed | Taken:
        assert draft.identity is not None
        asked = (draft.identity.fingerprint, draft.route_id, os.fsencode(draft.name))

        def change(c: sqlite3.Connection) -> Claimed | Taken:
            newest, owner_id, suspect = c.execute(_BEFORE_SQL, asked).fetchone()
            if owner_id is not None:
                return Taken(select(c, owner_id))
            if suspect:
                return Claimed(self._intend_suspect(c, draft, at))
            entry_id = insert_entry_after(c, newest or "", draft, at)
            insert_score(c, entry_id, draft, State.INTENDED, attempts=1)
            record_first(c, entry_id, at, Happened.INTENDED, 1)
            return Claimed(intended(entry_id, draft, at))

        return self._database.write(change, needs_room=True)

    def _intend_suspect(self, c: sqlite3.Connection, draft: Draft, at: datetime) -> Entry:
        entry_id = insert_entry(c, draft, at)
        insert_score(c, entry_id, draft, State.IN_DOUBT, reason=recovery.REASON)
        record(c, entry_id, at, Happened.IN_DOUBT, recovery.REASON)
        return select(c, entry_id)

    def intend_again(self, entry: Entry, at: datetime, *, resent: bool) -> Entry:
        def change(c: sqlite3.Connection) -> Entry:
            move(
                c, entry, State.INTENDED, at, attempts=entry.attempts + 1, resent=int(entry.resent or resent),
                retry_at=None, first_look=None, reason="", held=None, resolution=None,
            )  # fmt: skip
            record(c, entry.id, at, Happened.SENT_AGAIN if resent else Happened.INTENDED, entry.attempts + 1)
            return select(c, entry.id)

        return self._database.write(change, needs_room=True)

    def defer(self, entry: Entry, reason: str, retry_at: datetime, at: datetime, *, forbidden: bool = False) -> Entry:
        def change(c: sqlite3.Connection) -> Entry:
            count = entry.forbidden + forbidden
            move(c, entry, State.DEFERRED, at, reason=reason, retry_at=text(retry_at), forbidden=count)
            record(c, entry.id, at, Happened.DEFERRED, reason)
            return select(c, entry.id)

        return self._database.write(change)

    def doubt(
        self,
        entry: Entry,
        reason: str,
        retry_at: datetime,
        at: datetime,
        *,
        first_look: Moment | None = None,
        status: int | None = None,
        held: Held | None = None,
    ) -> Entry:
        look = moment_text(first_look) if first_look else None

        def change(c: sqlite3.Connection) -> Entry:
            move(c, entry, State.IN_DOUBT, at, reason=reason, retry_at=text(retry_at), first_look=look, held=held)
            record(c, entry.id, at, Happened.HELD if held else Happened.IN_DOUBT, reason)
            return update_entry(c, entry.id, status=status)

        return self._database.write(change)

    def upload(self, entry: Entry, uuid: str, proof: Proof, target: str, at: datetime) -> Entry:
        def change(c: sqlite3.Connection) -> Entry:
            outcome = decided(State.UPLOADED, target)
            values = {"uuid": uuid, "proof": str(proof), "retry_at": None, "reason": "", "held": None}
            try:
                known = move(c, entry, State.UPLOADED, at, outcome, **values)
            except sqlite3.IntegrityError as error:
                if error.sqlite_errorcode != sqlite3.SQLITE_CONSTRAINT_UNIQUE:
                    raise
                raise UuidOwned("record the proof", cause="the API named a uuid that another entry owns") from None
            record_once(c, entry.id, at, Happened.UPLOADED, proof)
            return uploaded(known, uuid, proof, target, at)

        return self._database.write(change)

    def duplicate(self, draft: Draft, owner: Entry, target: str, at: datetime) -> Entry:
        def change(c: sqlite3.Connection) -> Entry:
            entry_id = insert_entry(c, draft, at)
            insert_score(c, entry_id, draft, State.DUPLICATE, owner_id=owner.id, proof=owner.proof)
            record(c, entry_id, at, Happened.DUPLICATE, owner.id)
            return update_entry(c, entry_id, **decided(State.DUPLICATE, target))

        return self._database.write(change)

    def share(self, entry: Entry, uuid: str, target: str, at: datetime) -> Entry:
        def change(c: sqlite3.Connection) -> Entry:
            owner = c.execute("SELECT entry_id FROM scores WHERE uuid = ?", (uuid,)).fetchone()
            proof = str(Proof.PERSON)
            outcome = decided(State.UPLOADED, target)
            move(
                c, entry, State.UPLOADED, at, outcome, owner_id=owner["entry_id"], proof=proof, retry_at=None, held=None
            )
            record_once(c, entry.id, at, Happened.UPLOADED, proof)
            return select(c, entry.id)

        return self._database.write(change)

    def resolve(self, entry: Entry, resolution: str, at: datetime) -> None:
        def change(c: sqlite3.Connection) -> None:
            sql = "UPDATE scores SET resolution = ? WHERE entry_id = ? AND state = ?"
            if not c.execute(sql, (resolution, entry.id, str(State.IN_DOUBT))).rowcount:
                raise LedgerError("resolve an entry", cause="it is no longer in doubt")
            record(c, entry.id, at, Happened.DECIDED, resolution)

        self._database.write(change)

    def replace(self, entry: Entry, at: datetime) -> None:
        def change(c: sqlite3.Connection) -> None:
            if c.execute("SELECT 1 FROM entries WHERE id = ? AND filed_at IS NULL", (entry.id,)).fetchone():
                raise LedgerError("give up a score", cause="its file is just being filed")
            move(c, entry, State.REPLACED, at)
            record(c, entry.id, at, Happened.REPLACED)

        self._database.write(change)

    def fail(
        self, subject: Draft | Entry, state: State, code: Code, status: int | None, target: str, at: datetime
    ) -> Entry:
        outcome = decided(state, target, code, status)

        def change(c: sqlite3.Connection) -> Entry:
            if isinstance(subject, Draft):
                if state not in LEGAL[None] & FAILED:
                    raise IllegalChange("make an entry", cause=f"in {state}")
                entry = update_entry(c, insert_entry(c, subject, at), **outcome)
            else:
                move(c, subject, state, at, outcome, retry_at=None)
                entry = select(c, subject.id)
            record_once(c, entry.id, at, Happened(state), status if state is State.REFUSED and status else code)
            return entry

        return self._database.write(change)

    def withdraw(self, entry: Entry, at: datetime) -> None:
        def change(c: sqlite3.Connection) -> None:
            move(c, entry, State.WITHDRAWN, at, {"verdict": "withdrawn", "filed_at": text(at)}, retry_at=None)
            record_once(c, entry.id, at, Happened.WITHDRAWN)

        self._database.write(change)

    def rebind(self, entry: Entry, sha256: str, signature: Signature) -> Entry:
        values = {"sha256": sha256, **signature_columns(signature)}
        return self._database.write(lambda c: update_entry(c, entry.id, **values))

    def detach(self, entry: Entry, at: datetime) -> Entry:
        def change(c: sqlite3.Connection) -> Entry:
            record(c, entry.id, at, Happened.DETACHED)
            return update_entry(c, entry.id, detached=1)

        return self._database.write(change)

    def retarget(self, entry: Entry, target: str) -> Entry:
        return self._database.write(lambda c: update_entry(c, entry.id, target=os.fsencode(target)))

    def twins_checked(self, entry: Entry, *, possible_duplicate: bool) -> Entry:
        def change(c: sqlite3.Connection) -> Entry:
            sql = "UPDATE scores SET resent = 0, possible_duplicate = ? WHERE entry_id = ?"
            c.execute(sql, (int(possible_duplicate), entry.id))
            return select(c, entry.id)

        return self._database.write(change)

    def filed(self, entry: Entry, at: datetime) -> None:
        def change(c: sqlite3.Connection) -> None:
            if c.execute(_FILED_SQL, (text(at), entry.id)).rowcount:
                record_once(c, entry.id, at, Happened.FILED)

        self._database.ride(entry.id, change)

    # --- retention -----------------------------------------------------------------------------------

    def expired(self, route_id: str, where: Filed, before: datetime, after: Entry | None, most: int) -> Sequence[Entry]:
        sql = f"""{ENTRY_SQL} WHERE e.route_id = ? AND e.verdict = ? AND e.fate IS NULL
                  AND e.filed_at < ? AND (e.filed_at, e.id) > (?, ?) ORDER BY e.filed_at, e.id LIMIT ?"""
        behind = (text(after.filed_at), after.id) if after is not None and after.filed_at else ("", "")
        return [to_entry(row) for row in self._database.read(sql, route_id, where, text(before), *behind, most)]

    def let_go(self, removed: Mapping[str, str], kept: Mapping[str, str], at: datetime) -> None:
        def change(c: sqlite3.Connection) -> None:
            for fate, details in ((Happened.REMOVED, removed), (Happened.KEPT, kept)):
                for entry_id, detail in details.items():
                    c.execute("UPDATE entries SET fate = ? WHERE id = ?", (fate, entry_id))
                    record(c, entry_id, at, fate, detail)

        self._database.write(change)

    # --- a ledger that was lost ----------------------------------------------------------------------

    def check_sound(self) -> None:
        self._database.check_sound()

    def bookmark(self) -> str:
        ledger_id, commits = self._came_to()
        return f"{ledger_id}/{commits}"

    def has_reached(self, bookmark: str) -> bool:
        ledger_id, commits = self._came_to()
        noted_id, _, noted = bookmark.partition("/")
        return noted_id == ledger_id and noted.isdecimal() and int(noted) <= commits

    def _came_to(self) -> tuple[str, int]:
        meta = {row["key"]: row["value"] for row in self._database.read("SELECT key, value FROM meta")}
        return meta["id"], int(meta["commits"])

    def endpoint(self) -> str | None:
        """The API that the ledger is about; None before it was bound to one."""
        known = self._database.read("SELECT value FROM meta WHERE key = 'endpoint'")
        return str(known[0]["value"]) if known else None

    def bind(self, endpoint: str) -> None:
        known = self.endpoint()
        if known is None:
            self._database.write(lambda c: c.execute("INSERT INTO meta VALUES ('endpoint', ?)", (endpoint,)))
        elif known != endpoint:
            raise SetupError(
                "use the ledger",
                str(self._database.path),
                f"it tells what the API at {known} has; the config names {endpoint}",
                "correct the config, or give each API a `state` and folders of its own",
            )

    def set_copy_aside(self, at: datetime) -> None:
        if self._renewed:
            return
        path = self._database.path
        self._database.copy_to(path.with_name(f"{path.name}.older-{at:%Y%m%dT%H%M%S%fZ}"))
        self._database.write(lambda c: c.execute(f"UPDATE meta SET value = {NEW_ID_SQL} WHERE key = 'id'"))
        self._renewed = True

    def take_in(self, pasts: Sequence[Past], at: datetime) -> None:
        def change(c: sqlite3.Connection) -> None:
            for past in pasts:
                recovery.take_in(c, past, at)

        self._database.write(change)

    def suspect(self, route_id: str, waiting: Mapping[str, str | None], at: datetime) -> None:
        self._database.write(lambda c: recovery.suspect(c, route_id, waiting, at))

    def flush(self) -> None:
        self._database.flush()
