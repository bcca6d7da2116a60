"""Whose folder is it? The drop folder's marker: it carries the route's id, and the lock on the route."""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import stat
import threading
import uuid
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from canarysync import dated
from canarysync.candidates import MARKER
from canarysync.config import Route
from canarysync.durable import make_folder, sync_folder
from canarysync.errors import SetupError, from_os
from canarysync.lock import Lock
from canarysync.reading import open_safely
from canarysync.state import user_name

DROP_MODE, FILED_MODE = 0o2770, 0o2750


GONE = "the drop folder is gone (unmounted?)"


class FolderGone(Exception):
    """The drop folder that we know is not there now (an unmounted share?): wait, and conclude nothing. Its argument
    says why that is thought."""


def take(route: Route, known_id: str | None) -> Lock:
    """Lock a route's drop folder, and make sure that it is the one that the ledger knows.

    At a route's first start the folder gets its id, for the caller to remember, and what else is missing.
    Raises FolderGone, HeldError when another canarysync has it, SetupError when it cannot be used at all.
    """
    marker = route.drop / MARKER
    if known_id is None:
        _first_start(route)
    elif not marker.is_file():
        raise FolderGone(absence(route.drop, known_id))
    first_line = json.dumps({"routeId": known_id or str(uuid.uuid4())}).encode()
    try:
        lock = Lock(marker, first_line, create=known_id is None)
    except (FileNotFoundError, NotADirectoryError):
        raise FolderGone(GONE) from None
    except OSError as error:
        if error.errno in (errno.EISDIR, errno.ESPIPE, errno.ELOOP):
            raise SetupError("lock the drop folder", str(marker), "it is no file", "restore or remove it") from None
        raise from_os("lock the drop folder", str(marker), error) from None
    try:
        found = route_id_in(lock.first_line())
        _compare(route, known_id, found)
        if known_id is None and lock.note is None:  # nobody has worked on it yet
            sync_folder(route.drop)
            make_missing(route)
        check_apart([route])
    except BaseException:
        lock.release()
        raise
    return lock


def route_id_in(line: bytes) -> str:
    """The route's id from a marker's first line; empty when there is none."""
    try:
        found = json.loads(line)
        return str(uuid.UUID(found["routeId"]))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""


def absence(drop: Path, known_id: str) -> str:
    """Why the drop folder of a known route is not to be had; empty when it is there, and the one that we know."""
    try:
        if not stat.S_ISDIR(drop.stat().st_mode):
            return GONE
    except (FileNotFoundError, NotADirectoryError):
        return GONE
    except OSError as error:  # no rights, a stale handle, a server that is down: that is not "gone"
        return f"the drop folder cannot be looked at: {error.strerror}"
    found = marker_id(drop)
    if found == known_id:
        return ""
    if found:
        return "the drop folder's marker carries another route's id"
    return f"the drop folder's marker is missing. Is it mounted, and the right one? Then: {_restoring(drop, known_id)}"


def _restoring(drop: Path, route_id: str) -> str:
    """The command that makes a marker. It holds no note, so that the ledger will be taken for an older one."""
    return f"echo '{json.dumps({'routeId': route_id})}' > {drop / MARKER}"


class Claims:
    """The folders of the routes at work. Two may be one and the same under two names (a bind mount, a link), which no
    path tells. Safe to call from many threads: each route enters what it finds, and none waits for another's share."""

    def __init__(self) -> None:
        self._seen: dict[tuple[int, int], Path] = {}
        self._changing = threading.Lock()

    def enter(self, route: Route) -> None:
        """Claim a route's folders, as they are now. Raises SetupError where one is claimed already, under another name.
        Folders that are not there now are not looked at."""
        found = [(there, folder) for folder in _folders(route) if (there := _identity(folder))]
        self.leave(route)
        with self._changing:
            for there, folder in found:
                other = self._seen.setdefault(there, folder)
                if other is not folder:
                    cause, hint = (
                        f"it is the same folder as {other}",
                        "give each a folder of its own: see links and mounts",
                    )
                    raise SetupError("use the folder", str(folder), cause, hint)

    def leave(self, route: Route) -> None:
        """Give a route's folders up."""
        with self._changing:
            self._seen = {there: folder for there, folder in self._seen.items() if folder not in _folders(route)}


def check_apart(routes: Sequence[Route]) -> None:
    """Whether the folders of all these are really different ones. Raises SetupError."""
    claims = Claims()
    for route in routes:
        claims.enter(route)


def filing_places(route: Route, at: datetime) -> tuple[Path, ...]:
    """Into which folders files go at a time: done/, failed/, and the dated folder in done/ if it is there already."""
    places = (route.done, route.failed)
    if route.dated and os.path.lexists(place := route.done / dated.folder_at(route.dated, at)):
        return *places, place
    return places


def _folders(route: Route) -> tuple[Path, Path, Path]:
    return route.drop, route.done, route.failed


def _identity(folder: Path) -> tuple[int, int] | None:
    try:
        there = folder.stat()
    except OSError:
        return None
    return there.st_dev, there.st_ino


def marker_id(drop: Path) -> str:
    """The route's id that a drop folder carries; empty when it carries none."""
    try:
        fd = open_safely(drop / MARKER)  # it stands where others may write: a pipe there would never answer
        try:
            return route_id_in(os.read(fd, 4096).partition(b"\n")[0])
        finally:
            os.close(fd)
    except OSError:
        return ""


def _compare(route: Route, known_id: str | None, found: str) -> None:
    if not found:
        hint = _restoring(route.drop, known_id or str(uuid.uuid4()))
        raise SetupError("read the drop folder's marker", str(route.drop / MARKER), "it holds no route id", hint)
    if known_id is not None and found != known_id:
        raise SetupError(
            "recognise the drop folder",
            str(route.drop),
            "its marker carries another route's id: another folder was mounted or moved here, or the state folder is "
            "not this route's",
            "mount the right folder; or, if it is meant to be another one, give the route another name",
        )


def _first_start(route: Route) -> None:
    """Before a route is known: its folder has to exist; only in an empty one are the sub-folders made."""
    if route.drop.is_dir():
        return
    home = route.drop.parent
    if home.is_dir() and not any(home.iterdir()):
        make_folders(route)
        return
    raise SetupError(
        "find the drop folder",
        str(route.drop),
        "it does not exist",
        f"if this is the right place, create it: canarysync init, or mkdir -p {route.drop}",
    )


def make_folders(route: Route) -> None:
    """Create drop/, done/ and failed/ with the rights of a shared drop box, and the route's group."""
    _make(route, route.drop, DROP_MODE)
    make_missing(route)


def make_missing(route: Route) -> None:
    """Create done/ and failed/ where they are missing, beside a drop folder that is known to be ours."""
    for folder in (route.done, route.failed):
        if not folder.is_dir():
            _make(route, folder, FILED_MODE)


def by_hand(route: Route, user: str, group: str) -> str:
    """The command by which root makes all folders of a route. In the sandbox of our systemd units, we cannot."""
    install = f"sudo install -d -o {user} -g {group}"
    drop, done, failed = (shlex.quote(str(folder)) for folder in (route.drop, route.done, route.failed))
    return f"{install} -m {DROP_MODE:o} {drop} && {install} -m {FILED_MODE:o} {done} {failed}"


def _make(route: Route, folder: Path, mode: int) -> None:
    try:
        make(folder, mode, route.group)
    except SetupError as error:
        user = user_name(os.geteuid())
        raise SetupError(error.operation, error.path, error.cause, by_hand(route, user, route.group or user)) from None


def make(folder: Path, mode: int, group: str | None = None) -> None:
    """Create one folder, durably, with exactly these rights."""
    try:
        make_folder(folder)
        _give_rights(folder, mode, group)
    except (OSError, LookupError) as error:
        why = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else "no such group"
        raise SetupError("create a folder", str(folder), why, "create it by hand, or correct the config") from None


def _give_rights(folder: Path, mode: int, group: str | None) -> None:
    """To a new folder; one that cannot have them goes again, so that no later start takes it for a good one."""
    try:
        if group is not None:
            shutil.chown(folder, group=group)
        folder.chmod(mode)
    except (OSError, LookupError):
        folder.rmdir()
        raise
