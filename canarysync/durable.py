"""Writes that survive a power cut, and moves that never overwrite: the only place that knows how."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import json
import logging
import os
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from canarysync.display import shown
from canarysync.errors import HeldError
from canarysync.instant import for_people, for_programs

_log = logging.getLogger(__name__)
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100
_NOT_SUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
_PEEKS_S = 1.0
_said_unsynced: set[str] = set()


def is_there(path: Path) -> bool:
    """Whether something has this name. Raises OSError where that cannot be told now (EIO, ESTALE): that is no "no"."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def sync_folder(folder: Path) -> None:
    """Make the names in ``folder`` durable. Some network and FUSE mounts refuse this: said once, then accepted."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
            raise
        if str(folder) not in _said_unsynced:
            _said_unsynced.add(str(folder))
            _log.warning("the folder %s cannot be fsynced: a power cut may undo the last moves", folder)
    finally:
        os.close(fd)


def make_folder(folder: Path, mode: int = 0o755) -> None:
    """Create a folder, and what is missing above it, so that a power cut leaves it there. It may be there already."""
    if not folder.parent.is_dir():
        make_folder(folder.parent)
    folder.mkdir(mode, exist_ok=True)
    with suppress(PermissionError):  # a parent that we may pass through, and not read
        sync_folder(folder.parent)


def has_room(folder: Path, room_bytes: int) -> bool:
    """Whether the file system of ``folder`` has so much left for us, and a name. Where it does not tell, yes."""
    seen = os.statvfs(folder)
    return not (seen.f_blocks > 0 and seen.f_bavail * seen.f_frsize < room_bytes) and not (
        seen.f_files > 0 and seen.f_favail == 0
    )


def write_new(path: Path, content: bytes, temporary: str, mode: int = 0o640) -> None:
    """Create ``path`` with all of ``content`` or not at all; by way of the name ``temporary`` beside it.

    The folder is not synced. Raises FileExistsError when ``path`` is there already.
    """
    write_new_from(path, lambda fd: write_all(fd, content), temporary, mode)


def write_new_from(path: Path, fill: Callable[[int], None], temporary: str, mode: int = 0o640) -> None:
    """Like ``write_new``, with ``fill`` writing the content to a file descriptor."""
    passing = path.with_name(temporary)
    fd = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        try:
            fill(fd)
            os.fsync(fd)
        finally:
            os.close(fd)
        rename_new(passing, path)
    except BaseException:
        passing.unlink(missing_ok=True)
        raise


def replace(path: Path, content: bytes, temporary: str, mode: int = 0o640) -> None:
    """Put ``content`` in the place of ``path``, all of it or nothing. The folder is not synced."""
    passing = path.with_name(temporary)
    passing.unlink(missing_ok=True)
    fd = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(fd, content)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(passing, path)


def write_all(fd: int, content: bytes) -> None:
    """write(2) until everything is written."""
    view = memoryview(content)
    while view:
        view = view[os.write(fd, view) :]


def rename_new(source: Path, target: Path, spare: Path | None = None) -> None:
    """Rename a file that only we know of; FileExistsError instead of replacing ``target``.

    Where the kernel or the file system cannot do that in one call (NFS, CIFS, some FUSE), link and unlink. Where there
    are no hard links either, it gets the name ``spare``, which has to be one that nobody else uses; without one, look
    first: that will do in folders into which only we write.
    """
    if rename_at_once(source, target):
        return
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:
            raise
        if spare is None and is_there(target):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target)) from None
        os.rename(source, spare or target)
    else:
        os.unlink(source)


def rename_at_once(source: Path, target: Path) -> bool:
    """rename(2) that fails with FileExistsError instead of replacing ``target``; False, with nothing done, where one
    call cannot do that, between these folders or on this file system."""
    try:
        _renameat2(source, target)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED | {errno.EXDEV}:
            raise
        return False
    return True


def _renameat2(source: Path, target: Path) -> None:
    call = getattr(_libc, "renameat2", None)
    if call is None:  # musl before 1.2.5, glibc before 2.28
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(source), None, str(target))


_libc = ctypes.CDLL(None, use_errno=True)


class Lock:
    """An flock(2) on a file whose second line says who holds it. The first line belongs to the caller.

    ``note`` is what the caller, or a holder before it, left beside its name: None where nobody ever did, empty where
    it cannot be read.
    """

    def __init__(self, path: Path, first_line: bytes, *, create: bool = True) -> None:
        """Take the lock on ``path``, or raise HeldError naming the holder. A new file gets ``first_line``."""
        self.path = path
        self._fd = os.open(path, os.O_RDWR | (os.O_CREAT if create else 0) | os.O_CLOEXEC | os.O_NOFOLLOW, 0o660)
        try:
            self._take()
            self.note: str | None = None
            self._line = self.first_line()
            if self._line:
                note = _second_line_of(self._fd).get("note", "")
                self.note = note if note is None else str(note)
            else:
                self._line = first_line.rstrip(b"\n")
            self._since = for_programs(datetime.now(UTC))
            self._sign(self.note)
        except BaseException:
            os.close(self._fd)
            raise

    def _take(self) -> None:
        until_s = time.monotonic() + _PEEKS_S
        while not _locked(self._fd, fcntl.LOCK_EX):
            if _locked(self._fd, fcntl.LOCK_SH) and time.monotonic() < until_s:
                continue  # nobody works with it: someone is having a look (``peek``), for some microseconds
            self._refuse()

    def _refuse(self) -> NoReturn:
        raise HeldError(
            "take the lock",
            str(self.path),
            f"held by {_holder_in(_second_line_of(self._fd))}",
            "only one canarysync may work on a folder; stop the other one, or leave the work to it",
        )

    def first_line(self) -> bytes:
        """The caller's line, without its end; empty when it was never written to the end."""
        return _first_line_of(self._fd)

    def same_file(self) -> bool:
        """Whether the path still leads to the file that is locked."""
        try:
            there, here = os.stat(self.path, follow_symlinks=False), os.fstat(self._fd)
        except OSError:  # nothing is there; or the lock was let go
            return False
        return (there.st_ino, there.st_dev) == (here.st_ino, here.st_dev)

    def leave_note(self, note: str) -> None:
        """Keep ``note`` (one short line) with the lock, durably, for whoever takes it next."""
        if note != self.note:
            self._sign(note)
            self.note = note

    def _sign(self, note: str | None) -> None:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": self._since, "note": note}
        # Both lines in one write, far shorter than a sector; the first one is what it was, or should have been.
        content = self._line + b"\n" + json.dumps(holder).encode() + b"\n"
        os.pwrite(self._fd, content, 0)
        os.ftruncate(self._fd, len(content))
        os.fsync(self._fd)

    def release(self) -> None:
        """Let go; the file stays."""
        os.close(self._fd)
        self._fd = -1  # the number may soon be another file's


@dataclass(frozen=True, slots=True)
class Peek:
    """A Lock's file as somebody else sees it. ``holder`` says in words who works with it, and is empty when nobody
    does; ``pid`` and ``since`` are of the last one that did. ``note`` is that of ``Lock``."""

    first_line: bytes
    holder: str
    pid: int | None
    since: str
    note: str | None


def peek(path: Path) -> Peek:
    """Look at a Lock without taking it: it is shared for an instant, which nobody who takes it notices. Raises
    OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        first_line, signed = _first_line_of(fd), _second_line_of(fd)
        held = not _locked(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)
    pid, note = signed.get("pid"), signed.get("note", "")
    return Peek(
        first_line,
        _holder_in(signed) if held else "",
        pid if isinstance(pid, int) else None,
        str(signed.get("since", "")),
        note if note is None else str(note),
    )


def _locked(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _first_line_of(fd: int) -> bytes:
    line, end, _ = os.pread(fd, 4096, 0).partition(b"\n")
    return line if end else b""


def _second_line_of(fd: int) -> dict[str, Any]:
    """What the holder wrote; empty where that is nothing, or torn."""
    try:
        found = json.loads(os.pread(fd, 4096, 0).split(b"\n")[1])
    except (IndexError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _holder_in(signed: Mapping[str, Any]) -> str:
    try:
        since = for_people(datetime.fromisoformat(signed["since"]))
        return f"process {int(signed['pid'])} on {shown(str(signed['host']), 64)} since {since}"
    except (ValueError, KeyError, TypeError, OverflowError):
        return "another process"
