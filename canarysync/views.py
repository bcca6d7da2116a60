"""How results look: on a terminal, in a pipe, as JSON. Values in, text out."""

from __future__ import annotations

import json
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import is_dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import Any

import click

from canarysync.candidates import ERROR_SUFFIX, RECEIPT_SUFFIX
from canarysync.config import Route
from canarysync.display import counted, shown
from canarysync.encode import members
from canarysync.errors import CanarysyncError, ConfigError
from canarysync.instant import for_people, for_programs
from canarysync.ledger import Hold
from canarysync.model import SEND_AGAIN, Problem, Rejection
from canarysync.report import Event, Summary
from canarysync.requeue import Failed, Fate
from canarysync.resolve import Noted
from canarysync.step import FINAL, Outcome

_LISTED_MOST = 20
_AGAIN = "send again"
_SIDECARS = (RECEIPT_SUFFIX, ERROR_SUFFIX)


def as_json(value: Any) -> str:
    """JSON for other programs: keys in camelCase, times in UTC; undecodable bytes of names stay escaped."""
    return json.dumps(value, ensure_ascii=True, indent=2, default=_plain)


def _plain(value: object) -> str | dict[str, Any]:
    if isinstance(value, datetime):
        return for_programs(value)
    return members(value) if is_dataclass(value) and not isinstance(value, type) else str(value)


def width() -> int | None:
    """How many columns the terminal has that we print on; None where stdout is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def error_lines(error: CanarysyncError) -> Iterator[str]:
    """A known error as prose: what, where, why, what to do."""
    if isinstance(error, ConfigError):
        for problem in error.problems:
            yield problem_line(error.path, problem)
    else:
        where = f" {shown(error.path)}" if error.path else ""
        yield f"canarysync: cannot {error.operation}{where}: {shown(error.cause, 2000)}"
        yield from (f"  {line}" for line in error.details)
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


def verdicts_lines(verdicts: Sequence[tuple[str, Rejection | None]], left_alone: int) -> Iterator[str]:
    """What ``validate`` says, with the sum in the end where one file is not all."""
    for verdict in verdicts:
        yield from verdict_lines(*verdict)
    if len(verdicts) + left_alone != 1:
        bad = Counter(str(rejection.code) for _, rejection in verdicts if rejection)
        told = f"{len(verdicts):,} files: {len(verdicts) - bad.total():,} valid, {bad.total():,} not{_codes(bad)}"
        yield told + (f"; {left_alone:,} sidecars left alone" if left_alone else "")


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
    return {"file": file, "valid": False, **members(rejection)}


def summary_line(summary: Summary) -> str:
    """``12 uploaded, 1 failed (1 syntax), 2 waiting (2 deferred)``; what did not happen is left out."""
    parts = [f"{summary.outcomes[outcome]:,} {outcome}" for outcome in Outcome if summary.outcomes[outcome]]
    parts = [part + _codes(summary.codes) if part.endswith("failed") else part for part in parts]
    if summary.left:
        parts.append(f"{summary.left.total():,} waiting{_codes(summary.left)}")
    if summary.held:
        parts.append(f"{summary.held:,} held for a person")
    if summary.skipped:
        parts.append(f"{summary.skipped.total():,} left alone{_codes(summary.skipped)}")
    parts += [f"the folder of {name} is gone" for name in summary.gone]
    parts += [f"the route {name} is on hold" for name in summary.on_hold]
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
        "routesOnHold": summary.on_hold,
        "exitCode": int(summary.exit_code()),
    }


def _codes(counts: dict[str, int]) -> str:
    return f" ({counted(counts)})" if counts else ""


def requeued_lines(found: Sequence[Failed], dry_run: bool) -> Iterator[str]:
    """What ``requeue`` has done, or would do: for each route the first files, and the sums in the end."""
    for route, group in groupby(found, lambda failed: failed.route):
        if route:
            yield click.style(route, bold=True)
        of_route = list(group)
        for fate in Fate:
            lines = [_requeued_line(failed) for failed in of_route if failed.fate is fate]
            yield from lines[:_LISTED_MOST]
            if len(lines) > _LISTED_MOST:
                yield f"  … and {len(lines) - _LISTED_MOST:,} more"
    yield _requeued_sums(found, dry_run)


def _requeued_line(failed: Failed) -> str:
    if not failed.file:
        return f"  {shown(failed.why, 1000)}"
    if failed.fate is Fate.UNKNOWN:
        return f"  no match   {shown(failed.file)}"
    if failed.fate is Fate.LEFT:
        return f"  left       {shown(failed.file)}: {shown(failed.why)}"
    if failed.fate is Fate.GONE:
        return f"  gone       {shown(failed.file)}: it has left failed/, its sidecar goes too"
    renamed = f" → {shown(failed.name)}" if failed.name != failed.file else ""
    return f"  {failed.code or _AGAIN:<10} {shown(failed.file)}{renamed}"


def _requeued_sums(found: Sequence[Failed], dry_run: bool) -> str:
    codes = Counter(str(failed.code or _AGAIN) for failed in found if failed.fate is Fate.BACK)
    left = sum(failed.fate is Fate.LEFT and bool(failed.file) for failed in found)
    if not found:
        return "No failed file fits."
    told = f"{codes.total():,} {'would go' if dry_run else 'went'} back into drop/{_codes(codes)}"
    return told + (f", {left:,} left" if left else "") + (". Nothing was done yet." if dry_run else "")


def requeued_json(found: Sequence[Failed], dry_run: bool) -> dict[str, Any]:
    """The same for programs."""
    return {
        "dryRun": dry_run,
        "failedByCode": Counter(str(failed.code or _AGAIN) for failed in found if failed.fate is Fate.BACK),
        "files": [
            {"route": f.route, "file": f.file, "name": f.name, "code": f.code, "failedAt": f.at}
            | {"fate": f.fate, "why": f.why}
            for f in found
        ],
    }


def held_lines(route: str, before: Hold | None) -> Iterator[str]:
    """What ``hold`` has done."""
    yield f"The route {route} is on hold" + (", as it was before." if before else ".")
    yield "Its files stay in drop/; only what is being sent at this moment still ends."
    yield f"To let it go on: canarysync release {route}"


def released_lines(route: Route, before: Hold | None) -> Iterator[str]:
    """What ``release`` has done."""
    if before is None:
        yield f"The route {route.name} was not on hold."
        return
    yield f"The route {route.name} is released. It was on hold since {for_people(before.at)}."
    yield f"It goes on at its next rescan (within {route.rescan_s:g} s), or with the next run-once."


def resolved_lines(noted: Noted) -> Iterator[str]:
    """What ``resolve`` has noted, and what will come of it."""
    if noted.resolution != SEND_AGAIN:
        what, then = f"it is at the API, under the uuid\n  {noted.resolution}", "It will be filed"
    elif noted.entry.detached:
        what, then = "it is not at the API", "Its file is gone: drop it again to send it. This entry ends"
    else:
        what, then = "it is not at the API", "It will be sent again"
    yield f"Noted for {shown(noted.entry.name)}: {what}"
    yield f"{then} {noted.when}."


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
