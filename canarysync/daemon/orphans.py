"""The unfinished files of routes that have left the config."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from datetime import datetime
from itertools import islice

from canarysync.errors import LedgerError, told
from canarysync.ledger import Ledger
from canarysync.recovery import part_with_orphans
from canarysync.report import LEDGER, Reporter

AT_ONCE = 20
"""So many are parted with in one turn of the loop: each is a write, which waits for the disk."""

AGAIN_S = 5.0
"""How soon it is tried again when the ledger could not be written (a full disk), or a person was faster."""


class Orphans:
    """They are parted with after each change of the config, a few in a turn; or ``all_in_one``."""

    def __init__(self, ledger: Ledger, now: Callable[[], datetime], reporter: Reporter, *, all_in_one: bool) -> None:
        self._ledger = ledger
        self._now = now
        self._reporter = reporter
        self._most = None if all_in_one else AT_ONCE
        self._parting: Iterator[None] | None = None
        self.due_s: float | None = 0.0  # monotonic; None when no more are left

    def changed(self) -> None:
        """There is another config."""
        self._parting, self.due_s = None, 0.0

    def turn(self, now_s: float, configured: Collection[str]) -> None:
        """Part with those of routes that are not ``configured``, if that is due."""
        if self.due_s is None or now_s < self.due_s:
            return
        if self._parting is None:
            self._parting = part_with_orphans(self._ledger, configured, self._now())
        try:
            parted = sum(1 for _ in islice(self._parting, self._most))
        except LedgerError as error:
            self._reporter.standing(LEDGER, told(error))
            self._parting, self.due_s = None, now_s + AGAIN_S
            return
        if parted != self._most:
            self._parting, self.due_s = None, None
