"""The steps of a pass, counted, so that something may happen at one of them."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from canarysync import durable
from canarysync.ledger_sqlite import SqliteLedger
from tests.system.faults import CALLS, Crash


@dataclass
class Steps:
    """At the ``left``-th step of one ``kind`` from now on something ``happens``. The kinds: the "ledger" is called, its
    change is "recorded"; the "API" gets a request, or is about to answer; the "system" is called."""

    kind: str = ""
    left: int = 0
    happens: Callable[[], None] | None = None
    dead: bool = False
    fired: bool = False

    def step(self, kind: str) -> None:
        """One more step. After a crash there is none: whatever would be tried is a crash again."""
        if self.dead:
            raise Crash
        self.left -= kind == self.kind
        if self.happens is not None and self.left == 0:
            happens, self.happens, self.fired = self.happens, None, True
            happens()

    def wrap(self, call: Callable[..., Any]) -> Callable[..., Any]:
        """``call`` as a step."""

        def stepped(*arguments: Any, **options: Any) -> Any:
            self.step("system")
            return call(*arguments, **options)

        return stepped

    def watch_the_system(self, patch: pytest.MonkeyPatch, limit: Callable[[pytest.MonkeyPatch], None]) -> None:
        """Count what filing asks of the system; ``limit`` is what kind of file system it is (faults.LIMITS)."""
        limit(patch)
        for name in CALLS:
            patch.setattr(os, name, self.wrap(getattr(os, name)))
        rename = getattr(durable._libc, "renameat2", None)
        if rename is not None:
            patch.setattr(durable, "_libc", SimpleNamespace(renameat2=self.wrap(rename)))


class SteppedLedger:
    """A ledger each of whose calls is two steps: before anything, and once it is on disk."""

    def __init__(self, ledger: SqliteLedger, steps: Steps) -> None:
        self._ledger = ledger
        self._steps = steps

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._ledger, name)

        def stepped(*arguments: Any, **options: Any) -> Any:
            self._steps.step("ledger")
            result = method(*arguments, **options)
            self._steps.step("recorded")
            return result

        return stepped
