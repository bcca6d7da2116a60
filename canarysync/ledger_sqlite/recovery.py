"""What a ledger does that was lost, or is older than the folder: it takes the folder's word for what was filed, and
holds in doubt what was not."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from datetime import datetime

from canarysync.ledger import DONE, OWNING, Happened, Past
from canarysync.ledger_sqlite.events import record
from canarysync.ledger_sqlite.rows import insert, signature_columns, text
from canarysync.model import Identity, Signature, State

REASON = "the ledger was lost"

_UNDECIDED_SQL = f"state IN ('{State.INTENDED}', '{State.IN_DOUBT}', '{State.DEFERRED}')"
_COUNT_SQL = """INSERT INTO sums VALUES (?, ?, ?, 1)
                ON CONFLICT (route_id, verdict, code) DO UPDATE SET n = n + 1"""


def suspect(c: sqlite3.Connection, route_id: str, waiting: Mapping[str, str | None], at: datetime) -> None:
    """See ``Ledger.suspect``. A first look of before does not count any more: it may have been sent since."""
    undecided = c.execute(
        f"""UPDATE scores SET state = ?, reason = ?, retry_at = NULL, first_look = NULL, held = NULL
            WHERE {_UNDECIDED_SQL} AND entry_id IN (SELECT id FROM entries WHERE route_id = ? AND filed_at IS NULL)
            RETURNING entry_id""",
        (str(State.IN_DOUBT), REASON, route_id),
    ).fetchall()
    for row in undecided:
        record(c, row["entry_id"], at, Happened.IN_DOUBT, REASON)
    rows = ((route_id, os.fsencode(name), fingerprint) for name, fingerprint in waiting.items())
    c.executemany("INSERT OR REPLACE INTO suspects VALUES (?, ?, ?)", rows)


def take_in(c: sqlite3.Connection, past: Past, at: datetime) -> None:
    """See ``Ledger.take_in``."""
    known = c.execute("SELECT verdict FROM entries WHERE id = ?", (past.entry_id,)).fetchone()
    if known is not None and known["verdict"] in ("done", "failed"):
        return
    c.execute("DELETE FROM scores WHERE entry_id = ?", (past.entry_id,))
    c.execute("DELETE FROM entries WHERE id = ?", (past.entry_id,))
    name = os.fsencode(past.name)
    _make_way(c, past, name, at)
    # Of several receipts that claim the file in drop/, the newest has it.
    unfiled = past.signature if past.signature and not _is_open(c, past.route_id, name) else None
    verdict = "done" if past.state in DONE else "failed"
    insert(
        c, "entries", id=past.entry_id, route_id=past.route_id, name=name, sha256=past.sha256,
        target=os.fsencode(past.target), verdict=verdict, code=past.code, status=past.status,
        created_at=text(past.at), changed_at=text(past.at), filed_at=None if unfiled else text(past.at),
        **signature_columns(unfiled or Signature(0, 0, 0, 0)),
    )  # fmt: skip
    if unfiled is None:
        c.execute(_COUNT_SQL, (past.route_id, verdict, past.code or ""))
    if past.identity is not None:
        _take_in_score(c, past, past.identity)
    record(c, past.entry_id, at, Happened.TAKEN_IN)


def _make_way(c: sqlite3.Connection, past: Past, name: bytes, at: datetime) -> None:
    """An older ledger may hold entries whose end it has not seen. One of the same name, from before ``past``, has its
    file no longer: if its outcome is known it is filed, if not, it goes on without. One of the same score, if ``past``
    is a receipt, is settled by that; but not while its request may be under way, on another route."""
    of_the_name = "route_id = ? AND name = ? AND filed_at IS NULL AND NOT detached AND id < ?"
    which = (past.route_id, name, past.entry_id)
    c.execute(f"UPDATE entries SET filed_at = ? WHERE {of_the_name} AND verdict != 'open'", (text(at), *which))
    c.execute(f"UPDATE entries SET detached = 1 WHERE {of_the_name}", which)
    if past.state not in DONE or past.identity is None:
        return
    settled = c.execute(
        f"""SELECT e.id FROM entries e JOIN scores s ON s.entry_id = e.id
            WHERE s.fingerprint = ? AND s.owning AND s.{_UNDECIDED_SQL}
              AND (e.route_id = ? OR s.state != '{State.INTENDED}')""",
        (past.identity.fingerprint, past.route_id),
    ).fetchall()
    for row in settled:
        c.execute("UPDATE entries SET verdict = 'withdrawn', filed_at = ? WHERE id = ?", (text(at), row["id"]))
        c.execute(f"UPDATE scores SET state = '{State.WITHDRAWN}', owning = 0 WHERE entry_id = ?", (row["id"],))
        record(c, row["id"], at, Happened.WITHDRAWN)


def _is_open(c: sqlite3.Connection, route_id: str, name: bytes) -> bool:
    sql = "SELECT 1 FROM entries WHERE route_id = ? AND name = ? AND filed_at IS NULL AND NOT detached"
    return c.execute(sql, (route_id, name)).fetchone() is not None


def _take_in_score(c: sqlite3.Connection, past: Past, identity: Identity) -> None:
    """The first receipt of a score makes its entry the owner of that; the first one of a uuid, of this."""
    state, owner_id = past.state, None
    if past.state in DONE:
        sql = "SELECT 1 FROM scores WHERE fingerprint = ? AND owning"
        state = State.DUPLICATE if c.execute(sql, (identity.fingerprint,)).fetchone() else State.UPLOADED
        owner = c.execute("SELECT entry_id FROM scores WHERE uuid = ?", (past.uuid,)).fetchone()
        owner_id = owner["entry_id"] if owner else None
    insert(
        c, "scores", entry_id=past.entry_id, position=0, assessment_id=past.assessment_id, state=str(state),
        owning=int(state in OWNING),
        fingerprint=identity.fingerprint, match_key=identity.match_key, near_key=identity.near_key,
        attempts=past.attempts, uuid=None if owner_id else past.uuid, proof=past.proof, owner_id=owner_id,
        possible_duplicate=int(past.possible_duplicate),
    )  # fmt: skip
