"""Probes of this machine: the state folder and its ledger, room on the disks, limits of the system."""

from __future__ import annotations

import os
import resource
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from canarysync.check.findings import Finding, ok, problem, warning
from canarysync.config import Config
from canarysync.ledger_sqlite import ROOM_BYTES as LEDGER_ROOM_BYTES
from canarysync.ledger_sqlite import Access
from canarysync.lock import peek
from canarysync.mounts import mount_at
from canarysync.quantity import told_bytes
from canarysync.room import ROOM_BYTES as FILING_ROOM_BYTES
from canarysync.state import LEDGER_NAME, LOCK_NAME, MODE, opened, user_name

_LITTLE_ROOM_BYTES = 100 << 20
_FEW_INODES = 1000
_INOTIFY = Path("/proc/sys/fs/inotify")


def state(folder: Path) -> Iterator[Finding]:
    """Is the state folder private, local and ours?"""
    nearest = next(part for part in (folder, *folder.parents) if os.path.lexists(part))
    mount = mount_at(nearest)
    if mount.network:
        yield problem("state", f"{folder} is on a network mount ({mount.fs_type})", "set `state:` to a local disk")
        return
    owner = nearest.stat().st_uid
    if nearest == folder and owner != os.geteuid():
        user = user_name(owner)
        yield problem("state", f"{folder} belongs to {user}", f"run this as that user: sudo -u {user} canarysync check")
    elif not os.access(nearest, os.W_OK | os.X_OK):
        yield problem("state", f"{nearest} is not writable by {user_name(os.geteuid())}", "run as the service's user")
    elif nearest == folder and (mode := stat.S_IMODE(folder.stat().st_mode)) != MODE:
        yield warning("state", f"{folder} has the mode {mode:o}; the next start makes it 700", f"chmod 700 {folder}")
    else:
        yield ok("state", f"{folder} ({mount.fs_type}){'' if nearest == folder else ', made at the first start'}")


def running(folder: Path) -> Iterator[Finding]:
    """Who is at work here now?"""
    if os.path.lexists(folder / LOCK_NAME) and (holder := peek(folder / LOCK_NAME).holder):
        yield ok("running", f"canarysync is at work here: {holder}")


def ledger(folder: Path, endpoint: str) -> Iterator[Finding]:
    """Can the ledger be read, and is it about this API?"""
    path = folder / LEDGER_NAME
    with opened(folder, Access.READER) as found:
        bound = found.endpoint() if found else None
    if found is None:
        yield ok("ledger", "none yet: the first start makes it")
        return
    if bound not in (None, endpoint):
        text = f"it tells what the API at {bound} has; the config names {endpoint}"
        yield problem("ledger", text, "correct the config, or give each API a `state` and folders of its own")
    else:
        yield ok("ledger", f"{path.name}, {told_bytes(path.stat().st_size)}")


def room(config: Config) -> Iterator[Finding]:
    """How much is left on every file system in use?"""
    needs = {config.state: LEDGER_ROOM_BYTES}
    for route in config.routes:
        needs |= {route.drop: 0, route.done: FILING_ROOM_BYTES, route.failed: FILING_ROOM_BYTES}
    for folder, need in _by_file_system(needs).items():
        yield _room_on(folder, need)


def _by_file_system(needs: Mapping[Path, int]) -> dict[Path, int]:
    """One of the folders on each file system, with the largest need there. What is not there has its own finding."""
    chosen: dict[int, tuple[Path, int]] = {}
    for folder, need in needs.items():
        there = next((part for part in (folder, *folder.parents) if part.is_dir()), None)
        if there is not None:
            device = there.stat().st_dev
            first, most = chosen.get(device, (there, 0))
            chosen[device] = (first, max(most, need))
    return dict(chosen.values())


def _room_on(folder: Path, need: int) -> Finding:
    seen, mount = os.statvfs(folder), mount_at(folder)
    free, names = seen.f_bavail * seen.f_frsize, seen.f_favail if seen.f_files else None
    text = f"{mount.point} ({mount.fs_type}): {told_bytes(free)} free"
    if not seen.f_blocks:
        return ok("room", f"{mount.point} ({mount.fs_type}) does not tell")
    if free < need or names == 0:
        why = f"{text}, {told_bytes(need)} needed" if free < need else f"{mount.point} has no inodes left"
        return problem("room", f"{why}: nothing is sent", "make room on it")
    if free < _LITTLE_ROOM_BYTES or (names is not None and names < _FEW_INODES):
        return warning("room", text + (f", {names:,} inodes" if names is not None else ""), "make room on it soon")
    return ok("room", text)


def limits(config: Config) -> Iterator[Finding]:
    """Are the system's limits above what a run needs? It needs a little for itself, and some for each part."""
    local = [route for route in config.routes if route.drop.is_dir() and not mount_at(route.drop).network]
    for name, need in (("max_user_instances", len(local)), ("max_user_watches", len(local))):
        most = _number_in(_INOTIFY / name)
        if most is not None and most <= need:
            remedy = f"sysctl fs.inotify.{name}={2 * need + 128} (and in /etc/sysctl.d); until then folders are polled"
            yield warning("inotify", f"fs.inotify.{name} is {most}, and {need} folders are to be watched", remedy)
    most = config.api.most_at_once
    files = 64 + 4 * most + 8 * len(config.routes)
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < files:
        text = f"{soft} here, and a run may need {files} ({most} uploads at once)"
        yield warning("open files", text, f"ulimit -n {files}; for the service: LimitNOFILE={files}")
    else:
        yield ok("open files", f"up to {files} may be needed; the limit here is {soft}")


def _number_in(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None
