"""What one pass over one file came to: the pipeline's answer to the daemon."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from canarysync.ledger import Entry


class Outcome(StrEnum):
    """How far one pass came. The first five are ends; FAILED's reason is the entry's code."""

    UPLOADED = "uploaded"
    RECOVERED = "recovered"
    DUPLICATE = "duplicate"
    FAILED = "failed"
    WITHDRAWN = "withdrawn"
    GONE = "gone"
    UNSETTLED = "unsettled"
    TWIN = "twin"
    BLOCKED = "blocked"
    DEFERRED = "deferred"
    IN_DOUBT = "in_doubt"
    ON_HOLD = "on_hold"


FINAL = frozenset({Outcome.UPLOADED, Outcome.RECOVERED, Outcome.DUPLICATE, Outcome.FAILED, Outcome.WITHDRAWN})


@dataclass(frozen=True, slots=True)
class ApiUp:
    """The API answered."""


@dataclass(frozen=True, slots=True)
class ApiDown:
    """The API cannot be used now, by any file; ``pause_s`` is what it asked for."""

    reason: str
    pause_s: float = 0.0


class Step(NamedTuple):
    """How far a file came, and when it is to be looked at again.

    ``wait_s``: seconds after which another pass is due; None when nothing is due by itself. ``api``: what was
    learnt of the API, None when it was not asked. ``held``: only a person can decide. ``entry``: the file's,
    or of a TWIN the one that is waited for. ``parted``: an entry that is no longer this file's; if it is detached, it
    needs passes of its own from now on. ``more``: a file of that name, a new one, is in the drop folder. ``trouble``:
    the reason lies with the system (a full disk, a missing right), and may well be many files'.
    """

    outcome: Outcome
    reason: str = ""
    wait_s: float | None = None
    api: ApiUp | ApiDown | None = None
    held: bool = False
    entry: Entry | None = None
    parted: Entry | None = None
    more: bool = False
    trouble: bool = False
