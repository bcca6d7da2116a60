"""done/ with the dated folders in it: made when a file is about to go there, and walked for what they hold.

Only real folders count: no link is followed, and hidden ones are somebody else's. ``done`` itself is never made here:
where it is missing, it may only be away.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from canarysync.durable import sync_folder

_NOT_OURS = "lost+found"  # made by the file system, at the root of a mount, and for root alone


def names(folder: Path, *, deep: bool) -> Iterator[str]:
    """Of all that is in ``folder``, and, if it is to be ``deep``, in the folders in it, but for the folders: paths
    relative to ``folder``, one by one. Raises OSError for a folder that cannot be listed."""
    found = _walk(folder, deep=deep)
    return (prefix + each.name for prefix, each in found if not each.is_dir(follow_symlinks=False))


def folders(done: Path) -> Iterator[str]:
    """``done`` itself, as an empty path, and the folders in it, relative to ``done``. Raises OSError as ``names``."""
    yield ""
    yield from (prefix + found.name for prefix, found in _walk(done, deep=True) if _is_entered(found))


def _walk(top: Path, *, deep: bool) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Everything below ``top``, each with the path of its folder (empty, or with a slash at its end)."""
    left = [""]
    while left:
        prefix = left.pop()
        try:
            listing = os.scandir(top / prefix)
        except FileNotFoundError:
            if not prefix:
                raise
            continue  # somebody, or retention, took it away since
        with listing:
            for found in listing:
                yield prefix, found
                if deep and _is_entered(found):
                    left.append(f"{prefix}{found.name}/")


def _is_entered(found: os.DirEntry[str]) -> bool:
    return found.is_dir(follow_symlinks=False) and found.name != _NOT_OURS and not found.name.startswith(".")


def is_folder(path: str | Path) -> bool:
    """Whether this is a real folder, and no link to one. Raises OSError where that cannot be told now."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return False


class DatedFolders:
    """The folders in one ``done``: there, and durable, before anything goes into them. Safe to call from many threads:
    each makes sure for itself of what it does not know to be durable."""

    def __init__(self, done: str) -> None:
        self._done = done
        self._durable: set[str] = set()

    def make(self, folder: str) -> None:
        """Make what is missing of ``folder``, which is ``done`` or in it, with its rights. Raises OSError."""
        if folder == self._done:
            return
        if not is_folder(folder):
            self._durable.discard(folder)  # before it is there again: nobody is to take that for the old one
        elif folder in self._durable:
            return
        above = self._done
        for part in folder.removeprefix(f"{self._done}/").split("/"):
            _make(f"{above}/{part}", self._done)
            sync_folder(above)  # also where it was there: whoever made it may have died before this
            above = f"{above}/{part}"
        self._durable.add(folder)


def _make(folder: str, like: str) -> None:
    wanted = os.stat(like)
    try:
        os.mkdir(folder, stat.S_IMODE(wanted.st_mode) & 0o777)
    except FileExistsError:
        if not is_folder(folder):
            name = os.path.basename(folder)
            raise NotADirectoryError(errno.ENOTDIR, f"{name} is no folder, remove it", name) from None
        return
    # A parent with the set-group-ID bit has given it the group and that bit, and our umask may have taken some away.
    # Where we may not mend that (the sandbox of the units forbids the bit), it is good enough as it is.
    made = os.lstat(folder)
    with suppress(OSError):
        if made.st_gid != wanted.st_gid:
            os.chown(folder, -1, wanted.st_gid)
        if made.st_mode != wanted.st_mode:
            os.chmod(folder, stat.S_IMODE(wanted.st_mode))


def remove_empty(folder: Path, besides: Collection[Path]) -> None:
    """Remove ``folder``, and what is above it, as far as they are empty, up to one that is to stay: ``besides``."""
    with suppress(OSError):
        while folder not in besides:
            folder.rmdir()
            folder = folder.parent
