"""A person decides on a score in doubt. The decision is noted in the ledger, also beside a running daemon; the next
pass over the file carries it out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from canarysync.config import Config
from canarysync.display import shown
from canarysync.errors import CanarysyncError
from canarysync.instant import for_people
from canarysync.ledger import Entry, Ledger
from canarysync.ledger_sqlite import Access
from canarysync.model import State
from canarysync.state import opened

_TOLD_MOST = 20


@dataclass(frozen=True, slots=True)
class Noted:
    """A decision of a person, and ``when`` it will be carried out, in words."""

    entry: Entry
    resolution: str
    when: str


def resolve(config: Config, name: str, resolution: str, route: str | None = None) -> Noted:
    """Note ``resolution`` (the uuid that the score has at the API, or ``SEND_AGAIN``) for the file ``name``, which may
    be a path, or the id of an entry; its route may have left the config.

    Raises CanarysyncError, and then nothing is noted.
    """
    with opened(config.state, Access.BESIDE) as ledger:
        doubts = list(_doubts(ledger, route)) if ledger is not None else []
        wanted = Path(name).name
        found = [doubt for doubt in doubts if wanted in (doubt[0].name, doubt[0].id)]
        if not found or ledger is None:
            cause, hint = "no score of that name is in doubt", "canarysync status shows what waits, and why"
            raise CanarysyncError("resolve", name, cause, hint, details=_told("in doubt are", doubts))
        if len(found) > 1:
            cause, hint = "several scores in doubt are called so", "name the one that you mean by its id"
            raise CanarysyncError("resolve", name, cause, hint, details=_told("in doubt are", found))
        [(entry, of_route)] = found
        if entry.state is State.INTENDED:
            cause = "it is being sent, or was when canarysync was stopped"
            raise CanarysyncError("resolve", name, cause, "start canarysync first: what it finds out may settle it")
        ledger.resolve(entry, resolution, datetime.now(UTC))
        return Noted(entry, resolution, _when(config, ledger, of_route, entry))


def _when(config: Config, ledger: Ledger, route: str, entry: Entry) -> str:
    if route not in {each.name for each in config.routes}:
        return f"when canarysync starts next; its route {route} is not in the config"
    if ledger.hold_on(entry.route_id):
        return f"when its route {route}, which is on hold, is released"
    return "at the next rescan, or by the next run-once"


def _doubts(ledger: Ledger, route: str | None) -> Iterator[tuple[Entry, str]]:
    """All entries that may be at the API, with their route's name."""
    for name, route_id in ledger.routes().items():
        entries = ledger.open_entries(route_id) if route in (None, name) else ()
        yield from ((entry, name) for entry in entries if entry.state in (State.INTENDED, State.IN_DOUBT))


def _told(what: str, doubts: Sequence[tuple[Entry, str]]) -> list[str]:
    """A line for each score that could be meant: its id, since when, its route and its name."""
    lines = [
        f"{entry.id}  {for_people(entry.created_at)}  {shown(name)}  {shown(entry.name)}"
        for entry, name in doubts[:_TOLD_MOST]
    ]
    more = [f"… and {len(doubts) - _TOLD_MOST:,} more"] if len(doubts) > _TOLD_MOST else []
    return [f"{what}:", *lines, *more] if lines else []
