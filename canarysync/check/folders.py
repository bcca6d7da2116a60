"""Probes of one route's folders: what a run does there, done once with a file of our own, and undone."""

from __future__ import annotations

import errno
import grp
import os
import stat
import uuid
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from canarysync import durable
from canarysync.candidates import MARKER
from canarysync.check.findings import Finding, ok, problem, warning
from canarysync.config import Route
from canarysync.discover import Watch
from canarysync.errors import SetupError
from canarysync.folder import DROP_MODE, FILED_MODE, absence, check_apart, filing_places, route_id_in
from canarysync.ledger_sqlite import Access
from canarysync.lock import Peek, peek
from canarysync.mounts import mount_at
from canarysync.settle import quiet_period_s
from canarysync.state import LOCK_NAME, opened

_NO_RIGHT = "give the service's user the right to write there, or run this as that user"
_REMEDIES = {
    errno.ENOSPC: "make room on it",
    errno.EDQUOT: "make room on it, or raise the quota of the service's user",
    errno.EROFS: "mount it for writing",
}


def route(config_route: Route, state: Path) -> Iterator[Finding]:
    """Everything about one route, in the order in which one would mend it."""
    folders = {"drop": config_route.drop, "done": config_route.done, "failed": config_route.failed}
    for role, folder in folders.items():
        yield from _folder(role, folder, config_route.group)
    for today in filing_places(config_route, datetime.now(UTC))[2:]:
        yield from _folder("done", today, config_route.group)
    if not config_route.drop.is_dir():
        return
    for role in ("done", "failed"):
        if folders[role].is_dir():
            yield from _move(config_route.drop, folders[role], role)
    try:
        check_apart([config_route])
    except SetupError as error:
        yield problem("folders", f"{error.path}: {error.cause}", error.hint)
    yield from _marker(config_route, state)
    yield _watch(config_route)


def _folder(role: str, folder: Path, group: str | None) -> Iterator[Finding]:
    """Create, rename, fsync and delete a file there; whom does the folder let in?"""
    if not os.path.isdir(folder):
        yield problem(role, f"{folder} is not there", f"is it mounted? Else: mkdir -p {folder}, or canarysync init")
        return
    probe = folder / f".canarysync-probe-{uuid.uuid4().hex}"
    try:
        durable.write_new(probe, b"probe", f"{probe.name}.tmp")
        durable.sync_folder(folder)
    except OSError as error:
        text = f"{folder}: a file cannot be created and renamed there ({os.strerror(error.errno or 0)})"
        yield problem(role, text, _REMEDIES.get(error.errno or 0, _NO_RIGHT))
        return
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
    if os.path.lexists(probe):
        yield problem(role, f"{folder}: a file cannot be deleted there", f"see its rights: ls -ld {folder}")
        return
    rights = list(_rights(role, folder, group))
    yield from rights or [ok(role, str(folder))]


def _rights(role: str, folder: Path, group: str | None) -> Iterator[Finding]:
    seen = folder.stat()
    mode, wanted = stat.S_IMODE(seen.st_mode), DROP_MODE if role == "drop" else FILED_MODE
    if role == "drop" and mode & stat.S_ISVTX and os.geteuid() not in (0, seen.st_uid):
        yield problem(role, f"{folder} has the sticky bit: files of others cannot be moved", f"chmod -t {folder}")
    if mode & 0o007:
        yield warning(role, f"{folder} lets everybody in (mode {mode:o}): scores are health data", f"chmod o= {folder}")
    if group is not None:
        yield from _group(role, folder, group, seen, wanted)


def _group(role: str, folder: Path, group: str, seen: os.stat_result, wanted: int) -> Iterator[Finding]:
    remedy = f"chgrp {group} {folder} && chmod {wanted:o} {folder}"
    try:
        gid = grp.getgrnam(group).gr_gid
    except KeyError:
        yield problem(role, f"there is no group {group} on this machine", f"groupadd {group}, or correct `group:`")
        return
    mode = stat.S_IMODE(seen.st_mode)
    if seen.st_gid != gid:
        yield warning(role, f"{folder} is not of the group {group}, as the config says", remedy)
    elif mode & wanted != wanted:
        yield warning(role, f"{folder} has the mode {mode:o}: the group {group} cannot use it ({wanted:o})", remedy)


def _move(drop: Path, filed: Path, role: str) -> Iterator[Finding]:
    """Can a file be moved there at one stroke? By doing it: two mounts of one file system have one device number."""
    name = f".canarysync-probe-{uuid.uuid4().hex}"
    try:
        durable.write_new(drop / name, b"probe", f"{name}.tmp")
        durable.rename_new(drop / name, filed / name)
    except OSError as error:
        if error.errno == errno.EXDEV:
            remedy = "well if meant so; under systemd, ReadWritePaths= should name their common parent"
            yield warning(role, f"{filed} is on another mount than drop/: files are copied, not moved", remedy)
    finally:  # that nothing can be created there has its own finding
        for folder in (drop, filed):
            with suppress(OSError):
                (folder / name).unlink(missing_ok=True)


def _marker(config_route: Route, state: Path) -> Iterator[Finding]:
    """Is it the folder that the ledger knows, and who works with it?"""
    marker, name = config_route.drop / MARKER, config_route.name
    seen = peek(marker) if os.path.lexists(marker) else None
    known, reached = _known_to_ledger(state, seen)
    if name in known and (gone := absence(config_route.drop, known[name])):
        yield problem("marker", gone, "mount the right folder, or correct the config")
        return
    if seen is None:
        yield ok("marker", "none yet: the first start makes it")
        return
    found = route_id_in(seen.first_line)
    other = next((each for each, route_id in known.items() if route_id == found and each != name), None)
    if not found:
        yield problem("marker", f"{marker} holds no route id", "start canarysync: it says how to restore it")
    elif seen.holder and seen.pid != _pid_at_work(state):
        text = f"another canarysync works on this folder: {seen.holder}"
        yield problem("marker", text, "stop one of them: only one may work on a folder")
    elif other is not None:
        yield warning("marker", f"the route was called {other}", "was the folder copied? Then remove .canarysync there")
    elif seen.note and not seen.holder and not reached:
        text = "this folder was worked on with another ledger, or a newer one: what that knew is found out at the start"
        yield warning("marker", text, "well if the state folder was lost; else correct `state:`")
    else:
        yield ok("marker", f"in use by the canarysync at work (process {seen.pid})" if seen.holder else "ours")


def _known_to_ledger(state: Path, marker: Peek | None) -> tuple[dict[str, str], bool]:
    """The ids of the routes by their names, and whether the ledger is as far as the marker was left at."""
    with opened(state, Access.READER) as ledger:
        if ledger is None:
            return {}, False
        return dict(ledger.routes()), ledger.has_reached((marker.note if marker else None) or "")


def _pid_at_work(state: Path) -> int | None:
    try:
        lock = peek(state / LOCK_NAME)
    except OSError:
        return None
    return lock.pid if lock.holder else None


def _watch(config_route: Route) -> Finding:
    """By arming one: that is where a limit of the system shows."""
    mount = mount_at(config_route.drop)
    quiet = f"quiet period {quiet_period_s(config_route.settle_s, mount.network):g} s"
    if mount.network:
        return ok("watch", f"polling, as it is a network mount ({mount.fs_type}); {quiet}")
    try:
        watch = Watch(config_route.drop, lambda name: None)
    except OSError as error:
        remedy = "raise fs.inotify.max_user_instances and max_user_watches (sysctl)"
        return warning("watch", f"no file events here ({error.strerror}): the folder is polled instead", remedy)
    watch.stop()
    return ok("watch", f"events, and a rescan every {config_route.rescan_s:g} s ({mount.fs_type}); {quiet}")
