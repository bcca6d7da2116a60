"""Rows of the ledger as ``Entry`` values, and the few statements that change them."""

from __future__ import annotations

import os
import secrets
import sqlite3
from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from canarysync.errors import CanarysyncError, Exit, LedgerError
from canarysync.instant import for_programs
from canarysync.ledger import DONE, LEGAL, Draft, Entry
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


class IllegalChange(CanarysyncError):
    """A defect: the program asked for a change of state that LEGAL does not know."""

    exit_code = Exit.DEFECT


def insert_entry(c: sqlite3.Connection, draft: Draft, at: datetime) -> str:
    entry_id = new_id(at, newest=c.execute("SELECT max(id) FROM entries").fetchone()[0] or "")
    name = os.fsencode(draft.name)
    insert(
        c, "entries", id=entry_id, route_id=draft.route_id, name=name, sha256=draft.sha256,
        created_at=text(at), changed_at=text(at), **signature_columns(draft.signature),
    )  # fmt: skip
    # Whatever comes of this file: no later one of its name was there when the ledger was lost.
    c.execute("DELETE FROM suspects WHERE route_id = ? AND name = ?", (draft.route_id, name))
    return entry_id


def insert(c: sqlite3.Connection, table: str, **values: object) -> None:
    c.execute(f"INSERT INTO {table} ({', '.join(values)}) VALUES ({_marks(values)})", tuple(values.values()))


def insert_score(c: sqlite3.Connection, entry_id: str, draft: Draft, state: State, **columns: object) -> None:
    assert draft.identity is not None
    insert(
        c, "scores", entry_id=entry_id, position=0, assessment_id=draft.assessment_id, state=str(state),
        fingerprint=draft.identity.fingerprint, match_key=draft.identity.match_key, near_key=draft.identity.near_key,
        **columns,
    )  # fmt: skip


def move(c: sqlite3.Connection, entry: Entry, state: State, at: datetime, **columns: object) -> None:
    """Change an entry's state along LEGAL, checked against what the database holds now."""
    current = select(c, entry.id)
    if current.resolution != entry.resolution:
        raise LedgerError("change an entry", cause="a person has decided on it meanwhile")
    if state not in LEGAL.get(current.state, frozenset()):
        raise IllegalChange("change an entry", cause=f"from {current.state} to {state}")
    changes = ", ".join(f"{column} = ?" for column in ("state", *columns))
    c.execute(f"UPDATE scores SET {changes} WHERE entry_id = ?", (str(state), *columns.values(), entry.id))
    c.execute("UPDATE entries SET changed_at = ? WHERE id = ?", (text(at), entry.id))


def decide(
    c: sqlite3.Connection,
    entry_id: str,
    state: State,
    target: str,
    code: Code | None = None,
    status: int | None = None,
) -> Entry:
    return update_entry(
        c, entry_id, verdict="done" if state in DONE else "failed", code=code, status=status,
        target=os.fsencode(target),
    )  # fmt: skip


def update_entry(c: sqlite3.Connection, entry_id: str, **columns: object) -> Entry:
    changes = ", ".join(f"{column} = ?" for column in columns)
    c.execute(f"UPDATE entries SET {changes} WHERE id = ?", (*columns.values(), entry_id))
    return select(c, entry_id)


def select(c: sqlite3.Connection, entry_id: str) -> Entry:
    return to_entry(c.execute(f"{ENTRY_SQL} WHERE e.id = ?", (entry_id,)).fetchone())


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
    made = str(UUID(int=stamp << 80 | 7 << 76 | secrets.randbits(12) << 64 | 2 << 62 | secrets.randbits(62)))
    return made if made > newest else str(UUID(int=UUID(newest).int + 1))


text = for_programs
"""A time as the database keeps it."""


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
