"""What both readers share: the limits, places in a text, and the list of problems found."""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property

from canarysync.model import Path, Position, Problem

MAX_DEPTH = 100
"""How many objects and arrays may stand inside one another. RFC 8259 §9 lets a reader set such limits."""

MAX_NUMBER_CHARS = 1_000
"""The longest number literal that is read (RFC 8259 §9)."""

MAX_PROBLEMS = 100
"""How many problems of one file are listed."""

MAX_POINTER_CHARS = 1_000
"""A longer pointer is left out of a problem: 100 of them, each as long as the file, would be too much."""

_LINE_BREAK = re.compile(r"\r\n?|\n")


def pointer(path: Path) -> str:
    """``path`` as a JSON Pointer (RFC 6901 §3): ``("a/b", 0)`` is ``/a~1b/0``, ``()`` is the empty string."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in path)


class Lines:
    """Turns offsets in a text (characters, from 0) into lines and columns. CR, LF and CRLF end a line."""

    def __init__(self, text: str) -> None:
        self._text = text

    @cached_property
    def _starts(self) -> list[int]:
        return [0, *(found.end() for found in _LINE_BREAK.finditer(self._text))]

    def position(self, offset: int) -> Position:
        line = bisect_right(self._starts, offset)
        return Position(line, offset - self._starts[line - 1] + 1)


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with a piece of text, wherever it stands."""

    message: str
    hint: str = ""
    expected: str = ""


@dataclass(frozen=True, slots=True)
class Faults:
    """The outcome of reading a text that cannot be used: every problem that could be known."""

    problems: tuple[Problem, ...]


class GaveUp(Exception):
    """Reading cannot go on; why is already among the problems."""


@dataclass(slots=True)
class Findings:
    """The problems found so far in one text; only the first ``MAX_PROBLEMS`` are kept."""

    lines: Lines
    _kept: list[Problem] = field(default_factory=list)
    total: int = 0

    def add(self, offset: int, fault: Fault, path: Path = ()) -> None:
        self.total += 1
        if self.total > MAX_PROBLEMS:
            return
        place = self.lines.position(offset)
        where = pointer(path)
        self._kept.append(
            Problem(
                message=fault.message,
                path=where if len(where) <= MAX_POINTER_CHARS else "",
                line=place.line,
                column=place.column,
                expected=fault.expected,
                hint=fault.hint,
            )
        )

    def __bool__(self) -> bool:
        return self.total > 0

    def faults(self) -> Faults:
        """All problems in file order; when there are too many to list, the last one says how many were left out."""
        # What is wrong with a whole (a key given twice, a comma too many) is known after what is wrong within it.
        kept = sorted(self._kept, key=lambda problem: (problem.line, problem.column))
        if self.total <= MAX_PROBLEMS:
            return Faults(tuple(kept))
        listed = kept[: MAX_PROBLEMS - 1]
        rest = self.total - len(listed)
        return Faults((*listed, Problem(f"{rest} further problems were found; they are not listed.")))


def too_deep() -> Fault:
    return Fault(
        f"Objects and arrays are nested more than {MAX_DEPTH} levels deep.",
        "A score file needs only a few levels: check what wrote this one.",
        f"at most {MAX_DEPTH} levels",
    )


def duplicate_key(first: Position) -> Fault:
    return Fault(
        "This key is given more than once in the same object.",
        f"It is already given on line {first.line}, column {first.column}: keep one of the two.",
        "each key once",
    )
