"""What the ledger's tests share: the backends, drafts, and entries in every state."""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar
from uuid import UUID

from canarysync.ledger import Claimed, Draft, Entry, Ledger
from canarysync.ledger_sqlite import SqliteLedger
from canarysync.model import Code, Identity, Proof, Signature, State
from tests.support import ASSESSMENT

T = TypeVar("T")

BACKENDS: Mapping[str, Callable[[Path], Ledger]] = {"sqlite": lambda folder: SqliteLedger(folder / "ledger.sqlite3")}

ROUTE = "5e0cbd1c-9a5e-4c0e-8d0f-2f6a3f2f7a10"
T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)
SIGNATURE = Signature(size_bytes=170, mtime_ns=1_767_268_800_123_456_789, inode=77, device=2049)

_numbers = itertools.count(1_000_001)
"""Numbers that no test writes down: whichever test runs first, a score without a number is no other one's."""


def at(seconds: float) -> datetime:
    return T0 + timedelta(seconds=seconds)


def uuid_of(number: int) -> str:
    return str(UUID(int=number))


def identity(number: int) -> Identity:
    """Each ``number`` is another score."""
    return Identity(*(hashlib.sha256(f"{kind} {number}".encode()).hexdigest() for kind in ("exact", "match", "near")))


def draft(
    name: str = "visit.json",
    number: int | None = None,
    *,
    route_id: str = ROUTE,
    signature: Signature = SIGNATURE,
) -> Draft:
    """A file with a score of its own, or with score ``number``."""
    number = next(_numbers) if number is None else number
    sha256 = hashlib.sha256(f"bytes of {number}".encode()).hexdigest()
    return Draft(route_id, name, sha256, signature, ASSESSMENT, identity(number))


def unread(name: str = "visit.json") -> Draft:
    """A file that was never read, or holds no score."""
    return Draft(ROUTE, name, None, SIGNATURE)


def claim(ledger: Ledger, new: Draft, when: datetime = T0) -> Entry:
    claimed = ledger.intend(new, when)
    assert isinstance(claimed, Claimed)
    return claimed.entry


def change(ledger: Ledger, entry: Entry, state: State) -> Entry:
    """The one method that leads an existing entry to ``state``."""
    match state:
        case State.INTENDED:
            return ledger.intend_again(entry, at(1), resent=False)
        case State.IN_DOUBT:
            return ledger.doubt(entry, "reset", at(9), at(1))
        case State.DEFERRED:
            return ledger.defer(entry, "HTTP 429", at(9), at(1))
        case State.UPLOADED:
            return ledger.upload(entry, uuid_of(next(_numbers)), Proof.RESPONSE, entry.name, at(1))
        case State.WITHDRAWN:
            ledger.withdraw(entry, at(1))
            return ledger.entry(entry.id)
        case State.REPLACED:
            ledger.filed(entry, at(1))
            ledger.replace(entry, at(1))
            return ledger.entry(entry.id)
        case State.REJECTED | State.REFUSED | State.GAVE_UP:
            code = {State.REJECTED: Code.INVALID, State.REFUSED: Code.REFUSED, State.GAVE_UP: Code.GAVE_UP}[state]
            return ledger.fail(entry, state, code, None, entry.name, at(1))
        case State.DUPLICATE:
            raise AssertionError("an existing entry cannot become a duplicate: no method leads there")


def entry_in(ledger: Ledger, state: State, name: str = "visit.json", number: int | None = None) -> Entry:
    """A new entry in ``state``."""
    if state is State.REJECTED:
        return ledger.fail(draft(name, number), state, Code.INVALID, None, name, T0)
    if state is State.DUPLICATE:
        owner = change(ledger, claim(ledger, draft("owner.json", number)), State.UPLOADED)
        return ledger.duplicate(draft(name, number), owner, name, T0)
    entry = claim(ledger, draft(name, number))
    steps = {
        State.INTENDED: (),
        State.WITHDRAWN: (State.DEFERRED, State.WITHDRAWN),
        State.REPLACED: (State.UPLOADED, State.REPLACED),
    }.get(state, (state,))
    for step in steps:
        entry = change(ledger, entry, step)
    return entry


def at_once(jobs: Sequence[Callable[[], T]]) -> list[T | Exception]:
    """Run all jobs in threads that start together; what each returned or raised."""
    start = threading.Barrier(len(jobs))

    def run(job: Callable[[], T]) -> T | Exception:
        start.wait()
        try:
            return job()
        except Exception as error:  # for the test to look at
            return error

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))
