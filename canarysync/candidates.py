"""Which names in a drop folder are score files? Pure: names in, a verdict out. Contents play no part."""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum
from fnmatch import translate

from canarysync.model import Syntax

MARKER = ".canarysync"
"""The drop folder's own file (folder.py): no file of anybody's, so it is not counted."""

PASSAGE = ".canarysync-passage"
"""The folder in a drop folder through which files leave it where one call cannot move them (moving.py)."""

RECEIPT_SUFFIX = ".receipt.json"
ERROR_SUFFIX = ".error.json"

_PASSING = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".download", ".swp", "~")


class Skipped(StrEnum):
    """Why a name is left alone; counted and shown by ``status``, but for what is our own."""

    OURS = ""
    HIDDEN = "hidden files"
    PASSING = "temporary files"
    SIDECAR = "sidecars"
    NO_PATTERN = "files that no pattern matches"


class Matcher:
    """The ``match`` patterns of a route (fnmatch, case ignored) after the names that are always skipped."""

    def __init__(self, patterns: Sequence[str]) -> None:
        self._matches = re.compile("|".join(translate(pattern.lower()) for pattern in patterns)).match

    def skipped(self, name: str) -> Skipped | None:
        """Why ``name`` is no candidate; None when it is one."""
        if name.startswith((".", "~$")):
            if name in (MARKER, PASSAGE):
                return Skipped.OURS
            return Skipped.HIDDEN if name.startswith(".") else Skipped.PASSING
        folded = name.lower()
        if folded.endswith(_PASSING):
            return Skipped.PASSING
        if folded.endswith((RECEIPT_SUFFIX, ERROR_SUFFIX)):
            return Skipped.SIDECAR
        return None if self._matches(folded) else Skipped.NO_PATTERN


def syntax_of(name: str) -> Syntax:
    """How a candidate is read. Patterns end in .json, .yaml or .yml (config.py holds them to it)."""
    return Syntax.JSON if name.lower().endswith(".json") else Syntax.YAML
