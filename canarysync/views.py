"""How results look: on a terminal, in a pipe, as JSON. Values in, text out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from canarysync.candidates import ERROR_SUFFIX, RECEIPT_SUFFIX
from canarysync.check import Finding, Grade
from canarysync.display import shown
from canarysync.errors import CanarysyncError, ConfigError
from canarysync.ledger import Entry
from canarysync.model import SEND_AGAIN, Problem, Rejection
from canarysync.report import Event, Summary
from canarysync.status import RouteStatus
from canarysync.step import FINAL, Outcome

_SIDECARS = (RECEIPT_SUFFIX, ERROR_SUFFIX)
_COLOURS = {Grade.OK: "green", Grade.WARNING: "yellow", Grade.PROBLEM: "red"}


def as_json(value: Any) -> str:
    """JSON for other programs; undecodable bytes of names stay escaped."""
    return json.dumps(value, ensure_ascii=True, indent=2, default=str)


def error_lines(error: CanarysyncError) -> Iterator[str]:
    """A known error as prose: what, where, why, what to do."""
    if isinstance(error, ConfigError):
        for problem in error.problems:
            yield problem_line(error.path, problem)
    else:
        where = f" {shown(error.path)}" if error.path else ""
        yield f"canarysync: cannot {error.operation}{where}: {shown(error.cause, 2000)}"
    if error.hint:
        yield f"  what to do: {shown(error.hint, 2000)}"


def problem_line(file: str, problem: Problem) -> str:
    """``file:line:column: message`` as compilers write it, so that editors can jump there."""
    place = f":{problem.line}:{problem.column}" if problem.line is not None else ""
    pointer = f" (at {shown(problem.path)})" if problem.path else ""
    lines = [f"{shown(file)}{place}: {shown(problem.message, 2000)}{pointer}"]
    if problem.expected:
        lines.append(f"    expected: {shown(problem.expected, 2000)}")
    if problem.hint:
        lines.append(f"    hint: {shown(problem.hint, 2000)}")
    return "\n".join(lines)


def verdict_lines(file: str, rejection: Rejection | None) -> Iterator[str]:
    """What ``validate`` says of one file."""
    if rejection is None:
        yield f"{shown(file)}: valid"
        return
    if not rejection.problems:
        yield f"{shown(file)}: {rejection.message}"
    for problem in rejection.problems:
        yield problem_line(file, problem)


def verdict_json(file: str, rejection: Rejection | None) -> dict[str, Any]:
    """The same for programs."""
    if rejection is None:
        return {"file": file, "valid": True}
    problems = [asdict(problem) for problem in rejection.problems]
    return {"file": file, "valid": False, "code": str(rejection.code), "message": rejection.message} | {
        "problems": problems
    }


def finding_line(finding: Finding) -> str:
    """One line of ``check``, its remedy below it."""
    grade = click.style(f"{finding.grade:<8}", fg=_COLOURS[finding.grade])
    line = f"{grade} {finding.subject:<20} {shown(finding.text, 500)}"
    return line + (f"\n{'':<29} → {shown(finding.remedy, 500)}" if finding.remedy else "")


def summary_line(summary: Summary) -> str:
    """``12 uploaded, 1 failed (1 syntax), 2 waiting (2 deferred)``; what did not happen is left out."""
    parts = [f"{summary.outcomes[outcome]} {outcome}" for outcome in Outcome if summary.outcomes[outcome]]
    parts = [part + _codes(summary.codes) if part.endswith("failed") else part for part in parts]
    if summary.left:
        parts.append(f"{summary.left.total()} waiting{_codes(summary.left)}")
    if summary.held:
        parts.append(f"{summary.held} held for a person")
    if summary.skipped:
        parts.append(f"{summary.skipped.total()} left alone{_codes(summary.skipped)}")
    parts += [f"the folder of {name} is gone" for name in summary.gone]
    return ", ".join(parts) or "nothing to do"


def summary_json(summary: Summary) -> dict[str, Any]:
    """The same for programs."""
    return {
        "outcomes": {str(outcome): count for outcome, count in summary.outcomes.items()},
        "failedByCode": dict(summary.codes),
        "waiting": dict(summary.left),
        "held": summary.held,
        "skipped": dict(summary.skipped),
        "foldersGone": summary.gone,
        "exitCode": int(summary.exit_code()),
    }


def _codes(counts: dict[str, int]) -> str:
    told = ", ".join(f"{count} {code.replace('_', ' ')}" for code, count in sorted(counts.items()))
    return f" ({told})" if told else ""


def status_lines(routes: Sequence[RouteStatus]) -> Iterator[str]:
    """``status`` for people."""
    for route in routes:
        yield click.style(route.name, bold=True) + f"  {shown(route.folder)}"
        if route.gone:
            yield click.style(f"  {shown(route.gone, 1000)}", fg="red")
        if route.obstacle:
            yield click.style(f"  nothing is sent: {shown(route.obstacle)}", fg="red")
        seen = route.waiting + route.in_doubt + route.done + route.failed
        yield (
            f"  seen {seen} = {route.waiting} waiting + {route.in_doubt} in doubt + {route.done} done"
            f" + {route.failed} failed{_codes(route.failed_by_code)}"
        )
        if route.withdrawn:
            yield f"  {route.withdrawn} taken back before they were sent"
        if route.held:
            how = "canarysync resolve FILE --uploaded UUID, or --send-again"
            yield click.style(f"  {route.held} held for a person: look at the API, then {how}", fg="yellow")
        if route.skipped:
            yield f"  {sum(route.skipped.values())} left alone{_codes(route.skipped)}"
        for told in route.unfiled:
            yield f"  · {shown(str(told['file']))}: {told['state']}, but not moved yet"
        for name in route.unreadable:
            yield f"  · {shown(name)}: waits, since we may not read it"
        for told in (*route.deferred, *route.doubts):
            again = f", again at {told['again_at']}" if told["again_at"] else ""
            yield f"  · {shown(str(told['file']))}: {told['why']} (attempts: {told['attempts']}{again})"


def resolved_line(entry: Entry, resolution: str) -> str:
    """What ``resolve`` has noted, and what will come of it."""
    if resolution != SEND_AGAIN:
        what = f"it is at the API, under the uuid {resolution}. It will be filed"
    elif entry.detached:
        what = "it is not at the API. Its file is gone: drop it again to send it. This entry ends"
    else:
        what = "it is not at the API. It will be sent again"
    return f"Noted for {shown(entry.name)}: {what} at the next rescan, or by the next run-once."


@contextmanager
def progress(wanted: bool) -> Iterator[Callable[[Event], None]]:
    """A progress bar on stderr while it is a terminal; an observer for the daemon either way."""
    if not wanted or sys.stderr is None or not sys.stderr.isatty():
        yield lambda event: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("files"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("files", total=0)
        seen: set[tuple[str, str]] = set()

        def observe(event: Event) -> None:
            seen.add((event.route, event.name))
            ended = event.step.outcome in FINAL
            bar.update(task, total=len(seen), advance=1 if ended else 0)

        yield observe


def tree(folder: Path, names: Sequence[str]) -> str:
    """A folder's sub-folders and files, much as tree(1) draws them; a sidecar stands in the line of its file."""
    lines = [f"{folder.name}/"]
    for name in names:
        last = name == names[-1]
        lines.append(f"{'└──' if last else '├──'} {name}/")
        files = sorted(entry.name for entry in (folder / name).iterdir() if not entry.name.startswith("."))
        told = [shown(file) + _sidecars_of(file, files) for file in files if not file.endswith(_SIDECARS)]
        bar = "    " if last else "│   "
        lines += [f"{bar}{'└──' if line == told[-1] else '├──'} {line}" for line in told]
    return "\n".join(lines)


def _sidecars_of(file: str, files: Sequence[str]) -> str:
    return "".join(f"  + {suffix}" for suffix in _SIDECARS if file + suffix in files)
