"""What stands where, from the folders, the ledger and the pulse; beside a running daemon or without one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

from canarysync import pulse
from canarysync.census import Census, Counting
from canarysync.config import Config
from canarysync.durable import has_room
from canarysync.errors import Exit
from canarysync.ledger import Hold
from canarysync.ledger_sqlite import ROOM_BYTES, Access, SqliteLedger
from canarysync.lock import peek
from canarysync.pulse import Pulse, RoutePulse
from canarysync.state import LOCK_NAME, opened

_SCAN_GRACE_S = 60.0


@dataclass(frozen=True, slots=True)
class Process:
    """The canarysync that works with this state folder: ``holder`` says who it is, and is empty when none does. The
    rest is from the last pulse, which is its own if ``fresh``. ``silent``: it is a daemon's, and too old."""

    holder: str = ""
    since: datetime | None = None
    pid: int | None = None
    fresh: bool = False
    version: str = ""
    once: bool = False
    heard_at: datetime | None = None
    silent: bool = False


@dataclass(frozen=True, slots=True)
class ApiStatus:
    """The API as the canarysync at work finds it. ``down`` says why it cannot be used; ``in_flight`` requests are under
    way, of up to ``limit`` uploads, which finds itself if ``auto``. All empty where none runs."""

    url: str
    down: str = ""
    down_since: datetime | None = None
    again_at: datetime | None = None
    token_until: datetime | None = None
    in_flight: int | None = None
    limit: int | None = None
    auto: bool | None = None


@dataclass(frozen=True, slots=True)
class RouteStatus:
    """One route. ``folder`` is empty for one that left files behind when it left the config. ``watch`` is from the last
    pulse that knew the route, its troubles only if canarysync runs; ``overdue``: it runs, and has not finished a scan
    of the folder for too long. ``hold`` tells who stopped the route."""

    name: str
    folder: str
    files: Census
    watch: RoutePulse | None = None
    overdue: bool = False
    hold: Hold | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """Everything, ``at`` one time."""

    at: datetime
    process: Process
    api: ApiStatus
    routes: Sequence[RouteStatus]


def gather(config: Config, now: datetime) -> Status:
    """The status of everything. Raises LedgerError when the ledger is there and cannot be read."""
    with opened(config.state, Access.READER) as ledger:
        last = pulse.read(config.state)
        process = _process(config.state, last, now)
        live = last if process.fresh else None
        counting = Counting(ledger, now, bool(process.holder), _idle(process, live), _full(config.state))
        routes = [
            _watched(RouteStatus(r.name, str(r.drop), counting.census(r), hold=_hold(ledger, r.name)), last, live, now)
            for r in config.routes
        ]
        routes += _left_behind(ledger, counting, {route.name for route in config.routes})
    return Status(now, process, _api(config.api.url, live), routes)


def exit_code(status: Status, max_age_s: float | None = None) -> Exit:
    """75 while anything waits, else 1 where a person is needed, else 0. With ``max_age_s``, for monitoring: what waits
    for less long is well, and what waits for longer, or a scan that is longer ago, needs a person."""
    person = status.process.silent or any(_needs_a_person(route) for route in status.routes)
    if max_age_s is not None:
        person = person or any(too_old(route, status.at, max_age_s) for route in status.routes)
    elif any(_waits(route) for route in status.routes):
        return Exit.TRY_AGAIN
    return Exit.NEEDS_A_PERSON if person else Exit.OK


def too_old(route: RouteStatus, now: datetime, max_age_s: float) -> str:
    """What is older than that: its oldest file that waits, or its last scan; empty when neither is."""
    limit, oldest_at = now - timedelta(seconds=max_age_s), route.files.oldest_at
    scanned_at = route.watch.scanned_at if route.watch else None
    if route.folder and (scanned_at is None or scanned_at < limit):
        return "was not looked at for too long"
    return "a file waits for too long" if oldest_at is not None and oldest_at < limit else ""


def trouble(route: RouteStatus) -> str:
    """Why the canarysync at work cannot watch a folder that is there; empty when nothing keeps it."""
    return route.watch.trouble if route.watch and not route.files.gone else ""


def _needs_a_person(route: RouteStatus) -> bool:
    files = route.files
    return bool(route.hold or route.overdue or trouble(route) or files.held or files.to_mend or files.obstacle)


def _waits(route: RouteStatus) -> bool:
    files, gone = route.files, bool(route.folder and route.files.gone)
    waiting = files.waiting or files.in_doubt > files.held
    return bool(gone or files.unfiled or (waiting and not route.hold))  # to wait is of no use for what is on hold


def _hold(ledger: SqliteLedger | None, route: str) -> Hold | None:
    route_id = ledger.route_id(route) if ledger else None
    return ledger.hold_on(route_id) if ledger and route_id else None


def _process(state: Path, last: Pulse | None, now: datetime) -> Process:
    try:
        lock = peek(state / LOCK_NAME)
    except OSError:  # never started
        return Process()
    try:
        since = datetime.fromisoformat(lock.since) if lock.holder else None
    except ValueError:
        since = None
    if last is None:
        return Process(lock.holder, since, lock.pid)
    # In a container, one that was started after it may have the same pid.
    fresh = bool(lock.holder) and last.pid == lock.pid and (since is None or last.at >= since)
    silent = fresh and not last.once and _is_silent(last, now)
    return Process(lock.holder, since, lock.pid, fresh, last.version, last.once, last.at, silent)


def _is_silent(last: Pulse, now: datetime) -> bool:
    """Whether a daemon's loop hangs: it writes a pulse after each scan at the latest."""
    longest_s = max((route.rescan_s for route in last.routes.values()), default=0.0)
    return (now - last.at).total_seconds() > 2 * longest_s + _SCAN_GRACE_S


def _idle(process: Process, live: Pulse | None) -> str:
    if not process.holder:
        return "until canarysync runs"
    return "until the API can be used" if live and live.api_down else "its turn will come"


def _full(state: Path) -> str:
    full = state.is_dir() and not has_room(state, ROOM_BYTES)
    return f"no room for the ledger in {state}" if full else ""


def _api(url: str, live: Pulse | None) -> ApiStatus:
    if live is None:
        return ApiStatus(url)
    down = live.api_down, live.api_down_since, live.api_again_at
    return ApiStatus(url, *down, live.token_until, live.in_flight, live.limit, live.auto)


def _watched(route: RouteStatus, last: Pulse | None, live: Pulse | None, now: datetime) -> RouteStatus:
    watch = last.routes.get(route.name) if last else None
    if watch is not None and live is None:  # what troubled one that is gone is over with it
        watch = replace(watch, trouble="", troubles={})
    return replace(route, watch=watch, overdue=_is_overdue(live, watch, now))


def _is_overdue(live: Pulse | None, watch: RoutePulse | None, now: datetime) -> bool:
    """Whether a daemon has missed a scan, and is not only too busy for one, or without its folder."""
    if live is None or live.once or watch is None or watch.crowded or watch.scanned_at is None:
        return False
    return (now - watch.scanned_at).total_seconds() > 2 * watch.rescan_s + _SCAN_GRACE_S


def _left_behind(ledger: SqliteLedger | None, counting: Counting, configured: set[str]) -> Iterator[RouteStatus]:
    """What routes that are no longer in the config have left unfinished."""
    for name, route_id in sorted(ledger.routes().items()) if ledger else ():
        files = counting.left_behind(route_id) if name not in configured else None
        if files and (files.waiting or files.in_doubt or files.unfiled):
            yield RouteStatus(name, "", files)
