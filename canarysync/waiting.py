"""Why does a file wait of which the ledger does not know? It is looked at, here and now, as the pipeline would."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from canarysync import reading
from canarysync.candidates import syntax_of
from canarysync.ledger import Entry
from canarysync.model import Kind, Rejection, State, Syntax
from canarysync.parse import parse
from canarysync.reading import Content, NotRead
from canarysync.validate import validate

UNREADABLE = "cannot be read by this user"
UNSETTLED = "is being written, or will be rejected: it is judged once it is quiet"

_STANDS = {
    State.INTENDED: "is being sent, or was when canarysync was stopped",
    State.IN_DOUBT: "is in doubt",
    State.DEFERRED: "waits too",
}


def reason(path: Path, most_bytes: int, owner_of: Callable[[str], Entry | None], *, otherwise: str) -> str:
    """Why the file at ``path`` waits; ``otherwise`` when nothing about itself keeps it. ``owner_of`` tells which entry
    has the score of a fingerprint. Never tells a value from it."""
    found = reading.read(path, most_bytes)
    if isinstance(found, NotRead):
        return _not_read(found, otherwise)
    twin = _twin(path.name, found, owner_of)
    if twin is None:
        return UNSETTLED
    return twin or (f"{otherwise}, once it is quiet" if syntax_of(path.name) is Syntax.YAML else otherwise)


def _not_read(found: NotRead, otherwise: str) -> str:
    if found.kind is Kind.UNREADABLE:
        return UNREADABLE
    return UNSETTLED if found.changing or found.kind is not Kind.MISSING else otherwise


def _twin(name: str, found: Content, owner_of: Callable[[str], Entry | None]) -> str | None:
    """Which other file says the same score; empty when none does, None for no valid score."""
    document = parse(found.data, syntax_of(name))
    score = document if isinstance(document, Rejection) else validate(document)
    if isinstance(score, Rejection):
        return None
    owner = owner_of(score.identity.fingerprint)
    if owner is None or owner.state not in _STANDS:
        return ""
    return f"the same score as {owner.name}, which {'is held for a person' if owner.held else _STANDS[owner.state]}"
