"""How `history` and `verify` look: on a terminal, in a pipe, as JSON. Values in, text out."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import click

from canarysync.display import shown
from canarysync.history import Wanted, events, lives
from canarysync.instant import for_people, for_programs
from canarysync.ledger import FAILED, Entry, Happened, Happening
from canarysync.ledger_sqlite import SqliteLedger
from canarysync.model import SEND_AGAIN, Proof
from canarysync.verify import Tally, Verdict

_PROOFS = {
    Proof.RESPONSE: "as the API answered",
    Proof.READ_BACK: "as a look at the API found",
    Proof.PERSON: "as a person said",
}
_WORDS = {
    Happened.INTENDED: "intended, attempt {detail}",
    Happened.SENT_AGAIN: "sent again, attempt {detail}",
    Happened.DEFERRED: "deferred: {detail}",
    Happened.IN_DOUBT: "in doubt: {detail}",
    Happened.HELD: "{detail}",
    Happened.DUPLICATE: "duplicate of entry {detail}",
    Happened.REPLACED: "given up for a new one: a person said that the API no longer has its score",
    Happened.REJECTED: "rejected: {detail}",
    Happened.REFUSED: "refused by the API: HTTP {detail}",
    Happened.GAVE_UP: "given up: the API did not take it within give_up_after",
    Happened.WITHDRAWN: "withdrawn: nothing is left to send",
    Happened.DETACHED: "its file was changed or taken away: it goes on without",
    Happened.FILED: "filed as {place}",
    Happened.TAKEN_IN: "taken in from the sidecar of {place}",
}


# --- history -----------------------------------------------------------------------------------------


def history_lines(ledger: SqliteLedger, wanted: Wanted) -> Iterator[str]:
    """``history`` for people."""
    routes = {route_id: name for name, route_id in ledger.routes().items()}
    if wanted.files:
        for entry, life in lives(ledger, wanted):
            yield from life_lines(entry, life, routes)
        return
    for told in events(ledger, wanted):
        yield event_line(*told)


def history_json(ledger: SqliteLedger, wanted: Wanted) -> Iterator[str]:
    """The same for programs: an array of events, a line for each, that is never in memory as a whole."""
    routes = {route_id: name for name, route_id in ledger.routes().items()}
    of_files = ((entry, happening) for entry, life in lives(ledger, wanted) for happening in life)
    start = "["
    for entry, happening in of_files if wanted.files else events(ledger, wanted):
        yield start + json.dumps(event_json(entry, happening, routes))
        start = ","
    yield "[]" if start == "[" else "]"


def life_lines(entry: Entry, life: Sequence[Happening], routes: Mapping[str, str]) -> Iterator[str]:
    """An entry's head line, then its life."""
    state = f"{entry.state.replace('_', ' ')}{', removed' if entry.removed else ''}"
    yield click.style(shown(entry.name), bold=True) + f"  {state}  (route {routes.get(entry.route_id, '?')})"
    yield f"  entry       {entry.id}"
    if entry.assessment_id:
        yield f"  assessment  {entry.assessment_id}"
    if entry.uuid:
        yield f"  uuid        {entry.uuid}"
    if entry.possible_duplicate:
        yield "  the API has, or may have, a second score like it"
    for happening in life:
        yield f"  {for_people(happening.at, seconds=True)}  {words(entry, happening)}"
    if not life:
        yield f"  {for_people(entry.created_at, seconds=True)}  it is older than the history that this ledger keeps"


def event_line(entry: Entry, happening: Happening) -> str:
    """One event among those of other files."""
    return f"{for_people(happening.at, seconds=True)}  {shown(entry.name)}  {words(entry, happening)}"


def event_json(entry: Entry, happening: Happening, routes: Mapping[str, str]) -> dict[str, Any]:
    """The same for programs."""
    return {
        "at": for_programs(happening.at),
        "event": str(happening.what),
        "detail": happening.detail,
        "file": entry.name,
        "route": routes.get(entry.route_id),
        "entryId": entry.id,
        "uuid": entry.uuid,
    }


def words(entry: Entry, happening: Happening) -> str:
    """An event in words."""
    detail = happening.detail
    match happening.what:
        case Happened.UPLOADED:
            return f"uploaded, {_PROOFS[Proof(detail)]}"
        case Happened.DECIDED:
            said = "send it again" if detail == SEND_AGAIN else f"it is at the API, under the uuid {detail}"
            return f"a person decided: {said}"
        case Happened.REMOVED | Happened.KEPT as what:
            return f"{what} by retention" + (f": {shown(detail)}" if detail else "")
    return _WORDS[happening.what].format(detail=shown(detail, 500), place=_place(entry))


def _place(entry: Entry) -> str:
    folder = "failed" if entry.state in FAILED else "done"  # where the file of a score that was replaced stays
    return f"{folder}/{shown(entry.target or entry.name)}"


# --- verify ------------------------------------------------------------------------------------------

_MEANT = {
    Verdict.MISSING: "missing: there is a receipt, and no file",
    Verdict.ALTERED: "altered: the file's hash is not that of its sidecar",
    Verdict.NO_SIDECAR: "no sidecar: nothing says where this file comes from",
    Verdict.NOT_OURS: "not ours: the sidecar cannot be read as one, or is another API's",
    Verdict.UNKNOWN: "unknown: the ledger does not know the sidecar, or has another uuid or hash",
    Verdict.NOT_AT_API: "not at the API: it has no score of this uuid",
    Verdict.ALTERED_AT_API: "altered at the API: it has another score under this uuid",
    Verdict.NOT_SEEN: "not seen: it cannot be looked at now",
}


def tally_lines(tally: Tally) -> Iterator[str]:
    """A route's counts, and what is not fine of it."""
    yield click.style(tally.route, bold=True) + f"  {shown(str(tally.folder), 1000)}"
    if tally.trouble:
        yield click.style(f"  {shown(tally.trouble, 1000)}", fg="red")
        if not tally.counts:
            return
    seen = tally.counts.total() - tally.counts[Verdict.GONE]
    bad = [f" + {tally.counts[verdict]:,} {_words(verdict)}" for verdict in _MEANT if tally.counts[verdict]]
    yield f"  looked at {seen:,} = {tally.counts[Verdict.FINE]:,} fine{''.join(bad)}"
    if gone := tally.counts[Verdict.GONE]:
        doubt = "is done/ mounted?" if tally.all_gone else "archived?"
        yield f"  besides, {gone:,} of the ledger's done files are gone with their receipts: {doubt}"
    for finding in tally.findings:
        yield f"  · {finding.folder}/{shown(finding.file)}: {_MEANT[finding.verdict]}"
    if more := tally.bad - len(tally.findings):
        yield f"  … and {more:,} more; --audit FILE lists them all"


def tally_json(tally: Tally) -> dict[str, Any]:
    """The same for programs."""
    return {
        "route": tally.route,
        "trouble": tally.trouble,
        "counts": {str(verdict): tally.counts[verdict] for verdict in Verdict},
        "findings": [finding.as_json() for finding in tally.findings],
    }


def _words(verdict: Verdict) -> str:
    return verdict.replace("_at_api", " at the API").replace("_", " ")


@contextmanager
def bar(total: Callable[[], int | None]) -> Iterator[Callable[[], None]]:
    """A progress bar on stderr while it is a terminal; what advances it either way. ``total`` may not be known."""
    if sys.stderr is None or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("sidecars"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as shown_bar:
        task = shown_bar.add_task("sidecars", total=total())
        yield lambda: shown_bar.advance(task)
