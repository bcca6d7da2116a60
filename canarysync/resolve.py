"""A person decides on a score in doubt. The decision is noted in the ledger, also beside a running daemon; the next
pass over the file carries it out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from canarysync.config import Config
from canarysync.errors import CanarysyncError
from canarysync.ledger import Entry, Ledger
from canarysync.ledger_sqlite import Access
from canarysync.model import State
from canarysync.status import opened


def resolve(config: Config, name: str, resolution: str, route: str | None = None) -> Entry:
    """Note ``resolution`` (the uuid that the score has at the API, or ``SEND_AGAIN``) for the file ``name``; return its
    entry. ``name`` may be a path, or the id of an entry. Raises CanarysyncError, and nothing is noted."""
    with opened(config.state, Access.BESIDE) as ledger:
        if ledger is None:
            raise _not_found(name)
        wanted = Path(name).name
        found = [entry for entry in _undecided(config, ledger, route) if wanted in (entry.name, entry.id)]
        if any(entry.state is State.INTENDED for entry in found):
            cause = "it is being sent, or was when canarysync was stopped"
            raise CanarysyncError("resolve", name, cause, "start canarysync first: what it finds out may settle it")
        if not found:
            raise _not_found(name)
        if len(found) > 1:
            cause = "several scores in doubt came under this name: " + ", ".join(entry.id for entry in found)
            raise CanarysyncError("resolve", name, cause, "name one by its id; canarysync status --json tells more")
        ledger.resolve(found[0], resolution)
        return found[0]


def _undecided(config: Config, ledger: Ledger, route: str | None) -> Iterator[Entry]:
    ids = ledger.routes()
    for name in (each.name for each in config.routes if route in (None, each.name)):
        entries = ledger.open_entries(ids[name]) if name in ids else ()
        yield from (entry for entry in entries if entry.state in (State.INTENDED, State.IN_DOUBT))


def _not_found(name: str) -> CanarysyncError:
    return CanarysyncError("resolve", name, "no score of that name is in doubt", "canarysync status shows what is")
