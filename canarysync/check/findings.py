"""What a probe found, and how it is told."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from canarysync.deadlines import in_time
from canarysync.errors import CanarysyncError


class Grade(StrEnum):
    """How a probe ended."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the check, with what to do about it. ``route`` is empty where it concerns all of them."""

    grade: Grade
    subject: str
    text: str
    remedy: str = ""
    route: str = ""


Probe = Callable[[], Iterator[Finding]]


def ok(subject: str, text: str) -> Finding:
    """All is well."""
    return Finding(Grade.OK, subject, text)


def warning(subject: str, text: str, remedy: str) -> Finding:
    """A run will do, but somebody should look into this."""
    return Finding(Grade.WARNING, subject, text, remedy)


def problem(subject: str, text: str, remedy: str) -> Finding:
    """A run will not do."""
    return Finding(Grade.PROBLEM, subject, text, remedy)


def guarded(subject: str, probe: Probe, most_s: float) -> list[Finding]:
    """What ``probe`` finds; that it failed, or took longer than ``most_s``, is a finding too, and stops no other."""
    try:
        return in_time(lambda: list(probe()), most_s)
    except TimeoutError:
        return [problem(subject, f"no answer within {most_s:g} s", "does a share hang, or a disk?")]
    except CanarysyncError as error:
        return [problem(subject, f"cannot {error.operation} {error.path}: {error.cause}", error.hint)]
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return [problem(subject, f"{where}{error.strerror or type(error).__name__}", "run as the service's user")]
