"""What stands where, from the folders and the ledger; beside a running daemon or without one."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from canarysync.candidates import Matcher
from canarysync.config import Config, Route
from canarysync.discover import Scan
from canarysync.errors import Exit, SetupError
from canarysync.folder import GONE, absence
from canarysync.ledger import DECIDED, DONE, FAILED, Counts, Entry, Hold
from canarysync.ledger_sqlite import Access, SqliteLedger
from canarysync.model import State
from canarysync.room import no_place
from canarysync.state import LEDGER_NAME

_LISTED_MOST = 20
_PROBED_MOST = 1000


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """One route. ``gone`` says why its drop folder is not to be had, ``obstacle`` why nothing is sent; empty when all
    is well. ``hold`` tells who stopped the route.

    ``waiting`` counts the files in drop/ that are not in doubt; the lists are cut short.

    ``unreadable`` are those of the first waiting ones that this user may not read; ``unfiled`` those whose outcome
    is known (and counted), and that could not be moved yet.
    """

    name: str
    folder: str
    gone: str = ""
    obstacle: str = ""
    hold: dict[str, str] | None = None
    waiting: int = 0
    unreadable: list[str] = field(default_factory=list)
    deferred: list[dict[str, object]] = field(default_factory=list)
    in_doubt: int = 0
    held: int = 0
    doubts: list[dict[str, object]] = field(default_factory=list)
    unfiled: list[dict[str, object]] = field(default_factory=list)
    done: int = 0
    failed: int = 0
    withdrawn: int = 0
    failed_by_code: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)


def gather(config: Config) -> list[RouteStatus]:
    """The status of every route. Raises LedgerError when the ledger is there and cannot be read."""
    with opened(config.state, Access.READER) as ledger:
        return [_route_status(route, ledger) for route in config.routes]


@contextmanager
def opened(state: Path, access: Access) -> Iterator[SqliteLedger | None]:
    """The ledger in a state folder, beside whoever owns it; None where there was no start yet. Raises SetupError."""
    path = state / LEDGER_NAME
    try:
        os.stat(path)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise SetupError(
            "read the ledger", str(path), error.strerror or "", "run this as the service's user (sudo -u USER)"
        ) from None
    with SqliteLedger(path, access) as ledger:
        ledger.check_version()
        yield ledger


def exit_code(routes: list[RouteStatus]) -> Exit:
    """75 while anything waits, else 1 where a person is needed, else 0."""
    if any(r.gone or r.unfiled or (not r.hold and (r.waiting or r.in_doubt > r.held)) for r in routes):
        return Exit.TRY_AGAIN  # which is of no use for what is on hold
    return Exit.NEEDS_A_PERSON if any(r.held or r.failed or r.hold for r in routes) else Exit.OK


def _route_status(route: Route, ledger: SqliteLedger | None) -> RouteStatus:
    route_id = ledger.route_id(route.name) if ledger else None
    entries = list(ledger.open_entries(route_id)) if ledger and route_id else []
    counts = ledger.counts(route_id) if ledger and route_id else Counts({}, 0, 0, 0, {})
    names, skipped, present = _look(route.drop, Matcher(route.match))
    gone = absence(route.drop, route_id) if route_id else "" if present else GONE
    doubts = [e for e in entries if e.state in (State.IN_DOUBT, State.INTENDED)]
    # What is decided but not filed counts where it is going: its outcome stands.
    done = counts.done + sum(e.state in DONE for e in entries)
    failed = counts.failed + sum(e.state in FAILED for e in entries)
    claimed = {e.name for e in entries if e.state is not State.DEFERRED and not e.detached}
    waiting = names - claimed
    return RouteStatus(
        name=route.name,
        folder=str(route.drop),
        gone=gone,
        obstacle="" if gone else no_place(route.drop, (route.done, route.failed)),
        hold=_hold_told(ledger.hold_on(route_id)) if ledger and route_id else None,
        waiting=len(waiting),
        unreadable=[name for name in sorted(waiting)[:_PROBED_MOST] if not os.access(route.drop / name, os.R_OK)],
        deferred=[_told(e) for e in entries if e.state is State.DEFERRED][:_LISTED_MOST],
        in_doubt=len(doubts),
        held=sum(e.held is not None and e.resolution is None for e in doubts),
        doubts=[_told(e) for e in doubts][:_LISTED_MOST],
        unfiled=[_told(e) for e in entries if e.state in DECIDED][:_LISTED_MOST],
        done=done,
        failed=failed,
        withdrawn=counts.withdrawn,
        failed_by_code=dict(counts.codes),
        skipped=dict(skipped),
    )


def _look(drop: Path, matcher: Matcher) -> tuple[set[str], Counter[str], bool]:
    scan = Scan(drop, matcher)
    try:
        return set(scan), scan.skipped, True
    except OSError:
        return set(), Counter(), False


def _hold_told(hold: Hold | None) -> dict[str, str] | None:
    return {"since": hold.at.isoformat(timespec="seconds"), "by": hold.by, "reason": hold.reason} if hold else None


def _told(entry: Entry) -> dict[str, object]:
    return {
        "file": entry.name,
        "entryId": entry.id,
        "state": str(entry.state),
        "why": "a person has decided" if entry.resolution else entry.reason or "interrupted",
        "held": entry.held is not None and entry.resolution is None,
        "attempts": entry.attempts,
        "since": entry.created_at.isoformat(timespec="seconds"),
        "again_at": entry.retry_at.isoformat(timespec="seconds") if entry.retry_at else None,
    }
