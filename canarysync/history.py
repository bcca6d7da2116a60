"""A file's or a score's whole life, as the ledger has written it down; beside a running daemon or without one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fnmatch import translate
from pathlib import Path

from canarysync.config import Config
from canarysync.errors import CanarysyncError
from canarysync.instant import for_people
from canarysync.ledger import Entry, Happening
from canarysync.ledger_sqlite import Access, SqliteLedger
from canarysync.quantity import duration_s
from canarysync.state import opened

LAST = 50
"""So many events are told where nobody says which."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to tell of: at most one of the first three; ``route`` and ``since`` (aware UTC) narrow it down.

    ``name``: a file's, perhaps with ``*``, ``?`` and ``[…]``, perhaps with a path before it.
    """

    name: str | None = None
    uuid: str | None = None
    entry_id: str | None = None
    route: str | None = None
    since: datetime | None = None

    @property
    def files(self) -> bool:
        """Whether it is certain files that are wanted."""
        return (self.name, self.uuid, self.entry_id) != (None, None, None)


Told = tuple[Entry, Happening]


@contextmanager
def opened_for(config: Config) -> Iterator[SqliteLedger]:
    """The ledger of ``config``, to be read. Raises CanarysyncError where there is none yet."""
    with opened(config.state, Access.READER) as ledger:
        if ledger is None:
            raise CanarysyncError("read the ledger", str(config.state), "there is none yet: nothing was ever run")
        yield ledger


def lives(ledger: SqliteLedger, wanted: Wanted) -> Iterator[tuple[Entry, list[Happening]]]:
    """The entries that are wanted, the oldest first, each with its life. Raises CanarysyncError if there is none."""
    route_id = _route_id(ledger, wanted)
    found = (entry for entry in _entries(ledger, wanted) if route_id in (None, entry.route_id))
    told = ((entry, _since(ledger.history.of(entry), wanted.since)) for entry in found)
    told = (life for life in told if life[1] or not wanted.since)
    first = next(told, None)
    if first is None:
        what = wanted.name or wanted.uuid or wanted.entry_id or ""
        hint = "the name is that of the file in the drop folder; a file that waits has no history before it is sent"
        raise CanarysyncError("tell the history of", what, "the ledger knows of none" + _within(wanted), hint)
    yield first
    yield from told


def events(ledger: SqliteLedger, wanted: Wanted) -> Iterator[Told]:
    """All events since ``wanted.since``, or the last ones, in order."""
    route_id = _route_id(ledger, wanted)
    if wanted.since is None:
        return iter(ledger.history.last(LAST, lambda entry: route_id in (None, entry.route_id)))
    return (told for told in ledger.history.since(wanted.since) if route_id in (None, told[0].route_id))


def _entries(ledger: SqliteLedger, wanted: Wanted) -> Iterator[Entry]:
    history = ledger.history
    if wanted.uuid is not None:
        return iter(history.with_uuid(wanted.uuid.lower()))
    if wanted.entry_id is not None:
        return (entry for entry in [history.entry(wanted.entry_id)] if entry is not None)
    name = Path(wanted.name or "").name
    exact = history.named(name)
    if exact or not re.search(r"[*?[]", name):
        return iter(exact)
    return history.matching(re.compile(translate(name)).match)


def _since(life: Sequence[Happening], since: datetime | None) -> list[Happening]:
    return [happening for happening in life if since is None or happening.at >= since]


def _route_id(ledger: SqliteLedger, wanted: Wanted) -> str | None:
    """None where all routes are wanted; empty, as no route's id is, where the wanted one was never started."""
    return None if wanted.route is None else ledger.routes().get(wanted.route, "")


def _within(wanted: Wanted) -> str:
    route = f" on route {wanted.route}" if wanted.route else ""
    return route + (f" since {for_people(wanted.since, seconds=True)}" if wanted.since else "")


def since(text: str, now: datetime) -> datetime | None:
    """The time that ``2h``, ``2026-03-10`` or ``2026-03-10T09:14Z`` means (UTC if it names no zone), or None."""
    seconds = duration_s(text)
    try:
        if seconds is not None:
            return now - timedelta(seconds=seconds)
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None
