"""Rows of the ledger as ``Entry`` values, and the few statements that change them."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from functools import cache

from canarysync.errors import CanarysyncError, Exit, LedgerError
from canarysync.instant import for_programs
from canarysync.ledger import DONE, LEGAL, OWNING, Draft, Entry
from canarysync.model import Code, Held, Identity, Moment, Proof, Signature, State

ENTRY_SQL = """
    SELECT e.*, s.assessment_id, s.fingerprint, s.match_key, s.near_key, s.state, s.attempts, s.reason,
           s.retry_at, s.first_look, s.forbidden, s.held, s.resolution, s.resent, s.possible_duplicate, s.proof,
           s.owner_id,
           coalesce(s.uuid, o.uuid) AS uuid
    FROM entries e
    LEFT JOIN scores s ON s.entry_id = e.id AND s.position = 0
    LEFT JOIN scores o ON o.entry_id = s.owner_id AND o.position = 0
"""
_SELECT_SQL = f"{ENTRY_SQL} WHERE e.id = ?"
_NEW_ENTRY_SQL = """
    INSERT INTO entries (
        id, route_id, name, sha256, size_bytes, mtime_ns, inode, device, created_at, changed_at
    ) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)
"""
_NEW_SCORE_SQL = """
    INSERT INTO scores (
        entry_id, position, assessment_id, fingerprint, match_key, near_key, state, owning, attempts, reason, owner_id,
        proof
    ) VALUES (?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""

NOTHING: Mapping[str, object] = {}


class IllegalChange(CanarysyncError):
    """A defect: the program asked for a change of state that LEGAL does not know."""

    exit_code = Exit.DEFECT


def insert_entry(c: sqlite3.Connection, draft: Draft, at: datetime) -> str:
    # Whatever comes of this file: no later one of its name was there when the ledger was lost.
    c.execute("DELETE FROM suspects WHERE route_id = ? AND name = ?", (draft.route_id, os.fsencode(draft.name)))
    return insert_entry_after(c, c.execute("SELECT max(id) FROM entries").fetchone()[0] or "", draft, at)


def insert_entry_after(c: sqlite3.Connection, newest: str, draft: Draft, at: datetime) -> str:
    """For a file that no lost ledger may have known. ``newest`` is the id of the last entry, if there is one."""
    entry_id = new_id(at, newest)
    seen = signature_columns(draft.signature).values()
    c.execute(_NEW_ENTRY_SQL, (entry_id, draft.route_id, os.fsencode(draft.name), draft.sha256, *seen, text(at)))
    return entry_id


def insert(c: sqlite3.Connection, table: str, **values: object) -> None:
    c.execute(_insert_sql(table, tuple(values)), tuple(values.values()))


@cache
def _insert_sql(table: str, columns: tuple[str, ...]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({_marks(columns)})"


def insert_score(
    c: sqlite3.Connection,
    entry_id: str,
    draft: Draft,
    state: State,
    *,
    attempts: int = 0,
    reason: str = "",
    owner_id: str | None = None,
    proof: Proof | None = None,
) -> None:
    assert draft.identity is not None
    fingerprint, match_key, near_key = draft.identity.fingerprint, draft.identity.match_key, draft.identity.near_key
    identified = (entry_id, draft.assessment_id, fingerprint, match_key, near_key)
    c.execute(_NEW_SCORE_SQL, (*identified, str(state), int(state in OWNING), attempts, reason, owner_id, proof))


def intended(entry_id: str, draft: Draft, at: datetime) -> Entry:
    """What is read back of an entry just made, with its first attempt."""
    when = read_back(at)
    return Entry(
        entry_id, draft.route_id, draft.name, draft.sha256, draft.signature, State.INTENDED, when, when,
        attempts=1, assessment_id=draft.assessment_id, identity=draft.identity,
    )  # fmt: skip


def uploaded(known: Entry, uuid: str, proof: Proof, target: str, at: datetime) -> Entry:
    """What is read back of an entry whose proof was just recorded."""
    return Entry(
        known.id, known.route_id, known.name, known.sha256, known.signature, State.UPLOADED, known.created_at,
        read_back(at), target, known.detached, attempts=known.attempts, forbidden=known.forbidden,
        assessment_id=known.assessment_id, identity=known.identity, uuid=uuid, proof=proof, first_look=known.first_look,
        resolution=known.resolution, resent=known.resent, possible_duplicate=known.possible_duplicate,
    )  # fmt: skip


def move(
    c: sqlite3.Connection,
    entry: Entry,
    state: State,
    at: datetime,
    file: Mapping[str, object] = NOTHING,
    **score: object,
) -> Entry:
    """Change an entry's state along LEGAL, checked against what the database holds now; with it columns of its file and
    its score. Returns the entry as it was until now: that which the caller has in hand may be out of date."""
    score = {"state": str(state), **score}
    if state not in OWNING:
        score["owning"] = 0
    if state not in LEGAL.get(entry.state, frozenset()) or not _update_score(c, entry, score):
        entry = _look_again(c, entry, state)
        _update_score(c, entry, score)
    _update_file(c, entry.id, {"changed_at": text(at), **file})
    return entry


def _update_score(c: sqlite3.Connection, entry: Entry, columns: Mapping[str, object]) -> bool:
    """Whether it could be done since the entry is no further than we know: each attempt counts."""
    known = (entry.id, str(entry.state), entry.attempts, entry.resolution)
    return c.execute(_score_sql(tuple(columns)), (*columns.values(), *known)).rowcount > 0


@cache
def _score_sql(columns: tuple[str, ...]) -> str:
    known = "entry_id = ? AND position = 0 AND state = ? AND attempts = ? AND resolution IS ?"
    return f"UPDATE scores SET {_changes(columns)} WHERE {known}"


def _look_again(c: sqlite3.Connection, entry: Entry, state: State) -> Entry:
    current = select(c, entry.id)
    if current.resolution != entry.resolution:
        raise LedgerError("change an entry", cause="a person has decided on it meanwhile")
    if state not in LEGAL.get(current.state, frozenset()):
        raise IllegalChange("change an entry", cause=f"from {current.state} to {state}")
    return current


def decided(state: State, target: str, code: Code | None = None, status: int | None = None) -> dict[str, object]:
    """The columns that an outcome has in the row of the file."""
    verdict = "done" if state in DONE else "failed"
    return {"verdict": verdict, "code": code, "status": status, "target": os.fsencode(target)}


def update_entry(c: sqlite3.Connection, entry_id: str, **columns: object) -> Entry:
    _update_file(c, entry_id, columns)
    return select(c, entry_id)


def _update_file(c: sqlite3.Connection, entry_id: str, columns: Mapping[str, object]) -> None:
    c.execute(_file_sql(tuple(columns)), (*columns.values(), entry_id))


@cache
def _file_sql(columns: tuple[str, ...]) -> str:
    return f"UPDATE entries SET {_changes(columns)} WHERE id = ?"


def _changes(columns: tuple[str, ...]) -> str:
    return ", ".join(f"{column} = ?" for column in columns)


def select(c: sqlite3.Connection, entry_id: str) -> Entry:
    return to_entry(c.execute(_SELECT_SQL, (entry_id,)).fetchone())


def to_entry(row: sqlite3.Row) -> Entry:
    scored = row["fingerprint"] is not None
    return Entry(
        id=row["id"],
        route_id=row["route_id"],
        name=os.fsdecode(row["name"]),
        sha256=row["sha256"],
        signature=Signature(row["size_bytes"], int(row["mtime_ns"]), _unsigned(row["inode"]), _unsigned(row["device"])),
        state=State(row["state"]) if scored else State.REJECTED,
        created_at=_time(row["created_at"]),
        changed_at=_time(row["changed_at"]),
        target=os.fsdecode(row["target"]) if row["target"] is not None else None,
        detached=bool(row["detached"]),
        reason=row["reason"] or "",
        retry_at=_time(row["retry_at"]) if row["retry_at"] else None,
        attempts=row["attempts"] or 0,
        code=Code(row["code"]) if row["code"] else None,
        status=row["status"],
        assessment_id=row["assessment_id"],
        identity=Identity(row["fingerprint"], row["match_key"], row["near_key"]) if scored else None,
        uuid=row["uuid"],
        proof=Proof(row["proof"]) if row["proof"] else None,
        first_look=_moment(row["first_look"]) if row["first_look"] else None,
        forbidden=row["forbidden"] or 0,
        held=Held(row["held"]) if row["held"] else None,
        resolution=row["resolution"],
        resent=bool(row["resent"]),
        possible_duplicate=bool(row["possible_duplicate"]),
        filed_at=_time(row["filed_at"]) if row["filed_at"] else None,
        removed=row["fate"] == "removed",
    )


def signature_columns(signature: Signature) -> dict[str, int | str]:
    # st_ino and st_dev are unsigned 64-bit; SQLite's integers are signed.
    return {
        "size_bytes": signature.size_bytes, "mtime_ns": str(signature.mtime_ns),
        "inode": _signed(signature.inode), "device": _signed(signature.device),
    }  # fmt: skip


def _signed(number: int) -> int:
    return number - (1 << 64) if number >= 1 << 63 else number


def _unsigned(number: int) -> int:
    return number % (1 << 64)


def new_id(at: datetime, newest: str = "") -> str:
    """A UUID version 7 (RFC 9562 §5.7): it sorts by time, so that new rows stand together; and after ``newest``,
    whatever the clock does (§6.2)."""
    stamp = int(at.timestamp() * 1000) & ((1 << 48) - 1)
    chance = secrets.randbits(74)
    made = _spelled(stamp << 80 | 7 << 76 | chance >> 62 << 64 | 2 << 62 | chance & ((1 << 62) - 1))
    return made if made > newest else _spelled(int(newest.replace("-", ""), 16) + 1)


def _spelled(number: int) -> str:
    """A UUID, as ``str(UUID(int=number))`` has it, without the object."""
    digits = f"{number:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


text = for_programs
"""A time as the database keeps it."""


def read_back(at: datetime) -> datetime:
    """A time as it comes back from the database."""
    return at.astimezone(UTC).replace(microsecond=at.microsecond // 1000 * 1000)


def _time(stored: str) -> datetime:
    return datetime.fromisoformat(stored)


def moment_text(moment: Moment) -> str:
    """What the clocks said as the database keeps it."""
    return f"{text(moment.at)} {moment.boot} {moment.boot_s}"


def _moment(stored: str) -> Moment:
    at, boot, boot_s = stored.split(" ")
    return Moment(_time(at), boot, float(boot_s))


def _marks(values: Collection[str]) -> str:
    return ", ".join("?" * len(values))
