"""How ``check`` looks. Values in, text out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import click

from canarysync.check import Finding, Grade
from canarysync.display import shown, wrapped

_COLOURS = {Grade.OK: "green", Grade.WARNING: "yellow", Grade.PROBLEM: "red"}
_GRADE, _SUBJECT = 9, 12


def finding_lines(findings: Iterable[Finding], width: int | None) -> Iterator[str]:
    """A line for each finding as it comes, its remedy below it; a heading for each route; the sum in the end."""
    heading, counts = "", dict.fromkeys(Grade, 0)
    for finding in findings:
        if finding.route != heading:
            heading = finding.route
            yield "\n" + click.style(shown(heading), bold=True)
        counts[finding.grade] += 1
        yield _line(finding, width)
        if finding.remedy:
            first = " " * (_GRADE + _SUBJECT) + "→ "
            yield wrapped(shown(finding.remedy, 1000), first, " " * len(first), width)
    yield "\n" + _sum(counts)


def _line(finding: Finding, width: int | None) -> str:
    first = f"{finding.grade:<{_GRADE}}{finding.subject:<{_SUBJECT}}"
    line = wrapped(shown(finding.text, 1000), first, " " * len(first), width)
    return click.style(finding.grade, fg=_COLOURS[finding.grade]) + line[len(finding.grade) :]


def _sum(counts: dict[Grade, int]) -> str:
    bad, doubtful = counts[Grade.PROBLEM], counts[Grade.WARNING]
    if not bad and not doubtful:
        return click.style("all well", fg="green")
    told = [f"{n} {what}{'' if n == 1 else 's'}" for n, what in ((bad, "problem"), (doubtful, "warning")) if n]
    return click.style(", ".join(told), fg="red" if bad else "yellow")
