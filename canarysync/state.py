"""The state folder: private, local, and one canarysync's at a time."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

from canarysync.durable import make_folder, rename_new, sync_folder
from canarysync.errors import SetupError, from_os
from canarysync.ledger_sqlite import Access, SqliteLedger
from canarysync.lock import Lock
from canarysync.mounts import mount_at

LEDGER_NAME = "ledger.sqlite3"
LOCK_NAME = "lock"
MODE = 0o700


def take(state: Path) -> Lock:
    """Create or check the state folder, and lock it. Raises SetupError with the command that mends it, HeldError."""
    try:
        make_folder(state, MODE)
        _check_owner(state)
        _check_mount(state)
        state.chmod(MODE)
        return Lock(state / LOCK_NAME, b"canarysync state folder")
    except (PermissionError, FileNotFoundError, NotADirectoryError, FileExistsError) as error:
        raise SetupError(
            "prepare the state folder",
            str(state),
            os.strerror(error.errno or 0),
            f"sudo install -d -m 700 -o {user_name(os.geteuid())} {state}",
        ) from None
    except OSError as error:  # a full disk, an I/O error: that may pass
        raise from_os("prepare the state folder", str(state), error) from None


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


def set_aside(state: Path, at: datetime) -> Path:
    """Put a damaged ledger out of the way, with all that belongs to it, and keep it. Returns its new place."""
    aside = state / f"{LEDGER_NAME}.damaged-{at:%Y%m%dT%H%M%S%fZ}"
    for suffix in ("-wal", "-shm", ""):
        with suppress(FileNotFoundError):
            rename_new(state / f"{LEDGER_NAME}{suffix}", aside.with_name(f"{aside.name}{suffix}"))
    sync_folder(state)
    return aside


def _check_owner(state: Path) -> None:
    """A state folder of another user means that someone ran this once with sudo, or forgot to."""
    owner = state.stat().st_uid
    if owner != os.geteuid():
        raise SetupError(
            "use the state folder",
            str(state),
            f"it belongs to {user_name(owner)}, and this runs as {user_name(os.geteuid())}",
            f"run it as {user_name(owner)} (sudo -u {user_name(owner)} canarysync …), "
            f"or give it over: sudo chown -R {user_name(os.geteuid())} {state}",
        )


def _check_mount(state: Path) -> None:
    """SQLite's WAL needs shared memory, which no network mount has (sqlite.org/wal.html)."""
    mount = mount_at(state)
    if mount.network:
        raise SetupError(
            "use the state folder",
            str(state),
            f"it is on a network mount ({mount.fs_type}), where the ledger is not safe",
            "set `state:` to a folder on a local disk",
        )


def user_name(uid: int) -> str:
    """What a user is called; the number, if nobody is."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
