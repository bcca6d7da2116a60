"""What the log says of a reload."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping

from canarysync.errors import CanarysyncError, ConfigError
from canarysync.logs import event

_log = logging.getLogger(__name__)


def tell_refusal(error: CanarysyncError) -> None:
    """The config cannot be taken: all that is wrong with it, a line each."""
    event(_log, logging.ERROR, "the reload was refused: the old configuration stays in force", path=error.path)
    if not isinstance(error, ConfigError):
        event(_log, logging.ERROR, f"cannot {error.operation}", why=error.cause, what_to_do=error.hint)
        return
    for problem in error.problems:
        event(
            _log, logging.ERROR, problem.message, at=problem.path, line=problem.line, column=problem.column,
            expected=problem.expected, hint=problem.hint,
        )  # fmt: skip


def tell_change(before: Mapping[str, object], after: Mapping[str, object]) -> None:
    """The config was taken: the routes by name, as they were ``before`` and ``after``; the same object is unchanged."""
    both = before.keys() & after.keys()
    event(
        _log, logging.INFO, "configuration reloaded", routes=len(after),
        added=_listed(after.keys() - both), removed=_listed(before.keys() - both),
        changed=_listed(name for name in both if before[name] is not after[name]),
    )  # fmt: skip


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
