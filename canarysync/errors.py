"""Errors carry data (operation, path, cause, hint); prose is made of them once, at the edge (cli/)."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum

from canarysync.model import Problem


class Exit(IntEnum):
    """The exit codes of every command. TRY_AGAIN wins over NEEDS_A_PERSON; the rest follow sysexits.h."""

    OK = 0
    NEEDS_A_PERSON = 1
    USAGE = 2
    DEFECT = 70
    TRY_AGAIN = 75
    CONFIG = 78
    INTERRUPTED = 130


class CanarysyncError(Exception):
    """A trouble that canarysync knows: what was being done, to what, why it failed, what to do.

    ``details`` are more lines about the cause, fit for a terminal.
    """

    exit_code = Exit.NEEDS_A_PERSON

    def __init__(
        self, operation: str, path: str = "", cause: str = "", hint: str = "", details: Sequence[str] = ()
    ) -> None:
        super().__init__(operation, path, cause, hint)
        self.operation = operation
        self.path = path
        self.cause = cause
        self.hint = hint
        self.details = details


class ConfigError(CanarysyncError):
    """The configuration cannot be used. ``problems`` holds every one found, each with its line."""

    exit_code = Exit.CONFIG

    def __init__(self, path: str, problems: Sequence[Problem], hint: str = "") -> None:
        super().__init__("read the configuration", path, hint=hint)
        self.problems = tuple(problems)


class SetupError(CanarysyncError):
    """A folder, a secret or the state folder is not as it has to be before anything can start."""

    exit_code = Exit.CONFIG


class LedgerDamaged(SetupError):
    """The ledger's file is no database, or does not pass its integrity check."""


class IoTrouble(CanarysyncError):
    """The system could not do something that it may well do at the next try (a full disk, an I/O error)."""

    exit_code = Exit.TRY_AGAIN


class HeldError(CanarysyncError):
    """Another canarysync holds this route (or this ledger) now."""

    exit_code = Exit.TRY_AGAIN


class LedgerError(CanarysyncError):
    """The ledger could not record something, so nothing that depends on it may be done."""

    exit_code = Exit.TRY_AGAIN


def told(error: CanarysyncError) -> str:
    """The error in one line of words, for a log or a state; its hint is another matter."""
    return f"cannot {' '.join(filter(None, (error.operation, error.path)))}: {error.cause}"


def from_os(operation: str, path: str, error: OSError) -> CanarysyncError:
    """An OSError at the start of something, told as ours: rights and missing folders are for a person to mend."""
    cause, where = error.strerror or type(error).__name__, str(error.filename or path)
    if isinstance(error, PermissionError | FileNotFoundError | NotADirectoryError):
        return SetupError(operation, where, cause, "canarysync check tells more")
    return IoTrouble(operation, where, cause, "try again; canarysync check tells more")


def no_thread(error: RuntimeError) -> IoTrouble:
    """Python could not start a thread, for want of memory or because of a limit on tasks: it may well at another
    time."""
    hint = "raise the limit on processes and threads (ulimit -u, TasksMax) or on memory (ulimit -v, MemoryMax)"
    return IoTrouble("start working", cause=str(error), hint=hint)


class UuidOwned(CanarysyncError):
    """The API named a uuid that another entry already owns."""
