"""What a section of the benchmarks found, and how it looks: Markdown, on the terminal and in the results."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from canarysync import mounts


@dataclass(frozen=True, slots=True)
class Check:
    """One line of "Done when": a figure, and what it has to be."""

    what: str
    measured: str
    wanted: str
    kept: bool


@dataclass(frozen=True, slots=True)
class Section:
    """``columns`` and ``rows`` of its table, and what is to be known to read it."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    checks: list[Check] = field(default_factory=list)
    notes: tuple[str, ...] = ()


def at_least(what: str, measured: float, bound: float, unit: str) -> Check:
    """NaN, which is what was not found, is not enough."""
    return Check(what, figure(measured, unit), f"≥ {bound:g} {unit}", measured >= bound)


def at_most(what: str, measured: float, bound: float, unit: str) -> Check:
    return Check(what, figure(measured, unit), f"≤ {bound:g} {unit}", measured <= bound)


def figure(value: float, unit: str = "") -> str:
    """Three digits, or all that stand before the point; a dash for NaN, where there is nothing to tell."""
    if math.isnan(value):
        return "-"
    digits = 0 if value == 0 else max(2 - math.floor(math.log10(abs(value))), 0)
    return f"{value:,.{digits}f} {unit}".rstrip()


def percentile(values: Sequence[float], share: float) -> float:
    """The value that ``share`` of them do not exceed (nearest rank); NaN of nothing."""
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)] if values else math.nan


def markdown(section: Section) -> str:
    notes = "".join(f"{note}\n" for note in section.notes)
    return "\n".join([f"## {section.title}", "", _table(section.columns, section.rows), *([notes] if notes else [])])


def done_when(sections: Iterable[Section]) -> str:
    """All checks of ``sections``."""
    checks = [check for section in sections for check in section.checks]
    rows = [(check.what, check.measured, check.wanted, "ok" if check.kept else "MISSED") for check in checks]
    return "\n".join(["## Done when", "", _table(("what", "measured", "wanted", ""), rows)])


def machine(folder: Path) -> str:
    """Where it was measured, in general words."""
    cores = len(os.sched_getaffinity(0))
    kind = mounts.mount_at(folder).fs_type
    return f"{cores} cores, {platform.machine()}, Linux, Python {platform.python_version()}, files on {kind}"


def _table(columns: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell; the first one to the left, figures to the right."""
    widths = [max(len(row[at]) for row in (columns, *rows)) for at in range(len(columns))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines = [_line(row, widths) for row in (columns, tuple(rule), *rows)]
    return "\n".join(lines) + "\n"


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    first, *others = [cell.ljust(width) if at == 0 else cell.rjust(width) for at, (cell, width) in _cells(row, widths)]
    return f"| {' | '.join((first, *others))} |"


def _cells(row: tuple[str, ...], widths: list[int]) -> Iterable[tuple[int, tuple[str, int]]]:
    return enumerate(zip(row, widths, strict=True))
