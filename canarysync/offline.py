"""Reading score files by hand, for ``validate``: no configuration, no ledger, nothing is moved."""

from __future__ import annotations

from pathlib import Path

from canarysync import reading
from canarysync.candidates import ERROR_SUFFIX, RECEIPT_SUFFIX, syntax_of
from canarysync.model import Code, Kind, Rejection
from canarysync.parse import parse
from canarysync.reading import NotRead
from canarysync.sidecar import message_for
from canarysync.validate import validate

_MOST_BYTES = 16 << 20  # the most that a route's max_size may say


def is_sidecar(path: Path) -> bool:
    """Whether a file is one of ours, and no score file, by its name."""
    return path.name.endswith((RECEIPT_SUFFIX, ERROR_SUFFIX))


def verdict(path: Path) -> Rejection | None:
    """What is wrong with a file; None when nothing is."""
    found = reading.read(path, _MOST_BYTES)
    if isinstance(found, NotRead):
        if found.kind is Kind.MISSING:
            return Rejection(Code.UNREADABLE, "There is no such file.")
        code = {Kind.FILE: Code.TOO_LARGE, Kind.UNSAFE: Code.UNSAFE}.get(found.kind, Code.UNREADABLE)
        return Rejection(code, message_for(code, None))
    document = parse(found.data, syntax_of(path.name))
    score = document if isinstance(document, Rejection) else validate(document)
    return score if isinstance(score, Rejection) else None
