"""What a ledger does that was lost, or is older than the folder: it takes the folder's word for what was filed, and
holds in doubt what was not."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from datetime import datetime

from canarysync.ledger import DONE, Draft, Past
from canarysync.ledger_sqlite.database import OWNING_SQL
from canarysync.ledger_sqlite.rows import insert, signature_columns, text
from canarysync.model import Signature, State

REASON = "the ledger was lost"

_UNDECIDED_SQL = f"state IN ('{State.INTENDED}', '{State.IN_DOUBT}', '{State.DEFERRED}')"


def is_suspect(c: sqlite3.Connection, draft: Draft) -> bool:
    """Whether the file waited while the ledger was lost, and nothing was found out about it since."""
    sql = "SELECT 1 FROM suspects WHERE route_id = ? AND name = ?"
    return c.execute(sql, (draft.route_id, os.fsencode(draft.name))).fetchone() is not None


def suspect(c: sqlite3.Connection, route_id: str, names: Iterable[str], at: datetime) -> None:
    """See ``Ledger.suspect``. A first look of before does not count any more: it may have been sent since."""
    c.execute(
        f"""UPDATE scores SET state = ?, reason = ?, retry_at = NULL, first_look_at = NULL, held = NULL
            WHERE {_UNDECIDED_SQL} AND entry_id IN (SELECT id FROM entries WHERE route_id = ? AND filed_at IS NULL)""",
        (str(State.IN_DOUBT), REASON, route_id),
    )
    c.executemany("INSERT OR IGNORE INTO suspects VALUES (?, ?)", ((route_id, os.fsencode(name)) for name in names))


def take_in(c: sqlite3.Connection, past: Past, at: datetime) -> None:
    """See ``Ledger.take_in``."""
    known = c.execute("SELECT verdict FROM entries WHERE id = ?", (past.entry_id,)).fetchone()
    if known is not None and known["verdict"] in ("done", "failed"):
        return
    c.execute("DELETE FROM scores WHERE entry_id = ?", (past.entry_id,))
    c.execute("DELETE FROM entries WHERE id = ?", (past.entry_id,))
    _make_way(c, past, at)
    insert(
        c, "entries", id=past.entry_id, route_id=past.route_id, name=os.fsencode(past.name), sha256=past.sha256,
        target=os.fsencode(past.target), verdict="done" if past.state in DONE else "failed",
        code=past.code, status=past.status, created_at=text(past.at), changed_at=text(past.at),
        filed_at=None if past.signature else text(past.at),
        **signature_columns(past.signature or Signature(0, 0, 0, 0)),
    )  # fmt: skip
    if past.identity is not None:
        _take_in_score(c, past)


def _make_way(c: sqlite3.Connection, past: Past, at: datetime) -> None:
    """An older ledger may hold an entry of the same name, or of the same score, whose end it has not seen: it has
    ended since, or ``past`` could not have come about."""
    uploaded = past.identity.fingerprint if past.identity and past.state in DONE else None
    in_the_way = c.execute(
        f"""SELECT e.id, e.verdict FROM entries e LEFT JOIN scores s ON s.entry_id = e.id
            WHERE (e.route_id = ? AND e.name = ? AND e.filed_at IS NULL AND NOT e.detached AND e.id < ?)
               OR (s.fingerprint = ? AND s.{_UNDECIDED_SQL})""",
        (past.route_id, os.fsencode(past.name), past.entry_id, uploaded),
    ).fetchall()
    for row in in_the_way:
        verdict = "withdrawn" if row["verdict"] == "open" else row["verdict"]
        c.execute("UPDATE entries SET verdict = ?, filed_at = ? WHERE id = ?", (verdict, text(at), row["id"]))
        sql = f"UPDATE scores SET state = '{State.WITHDRAWN}' WHERE entry_id = ? AND {_UNDECIDED_SQL}"
        c.execute(sql, (row["id"],))


def _take_in_score(c: sqlite3.Connection, past: Past) -> None:
    """The first receipt of a score makes its entry the owner; the others are duplicates of it."""
    assert past.identity is not None
    state, uuid, owner_id = past.state, past.uuid, None
    if past.state in DONE:
        owner = c.execute(
            f"""SELECT entry_id, uuid FROM scores WHERE uuid = ? OR (fingerprint = ? AND state IN ({OWNING_SQL}))
                ORDER BY uuid = ? DESC""",
            (past.uuid, past.identity.fingerprint, past.uuid),
        ).fetchone()
        state = State.DUPLICATE if owner else State.UPLOADED
        owner_id = owner["entry_id"] if owner else None
        uuid = None if owner and owner["uuid"] == past.uuid else past.uuid
    insert(
        c, "scores", entry_id=past.entry_id, position=0, assessment_id=past.assessment_id, state=str(state),
        fingerprint=past.identity.fingerprint, match_key=past.identity.match_key, near_key=past.identity.near_key,
        attempts=past.attempts, uuid=uuid, proof=past.proof, owner_id=owner_id,
        possible_duplicate=int(past.possible_duplicate),
    )  # fmt: skip
