"""Writes that survive a power cut, and moves that never overwrite: the only place that knows how."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

_log = logging.getLogger(__name__)
_RENAME_NOREPLACE = 1
_AT_FDCWD = -100
_NOT_SUPPORTED = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EPERM})
_said_unsynced: set[str] = set()


def is_there(path: str | Path) -> bool:
    """Whether something has this name. Raises OSError where that cannot be told now (EIO, ESTALE): that is no "no"."""
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def sync_folder(folder: str | Path) -> None:
    """Make the names in ``folder`` durable. Some network and FUSE mounts refuse this: said once, then accepted.

    Threads that come while another one is at it share the next fsync. Raises OSError, in each of them.
    """
    there = os.stat(folder)  # the folder, not its path: another may have been mounted there since
    _folder_syncs.share((there.st_dev, there.st_ino), lambda: _sync_folder(folder))


class _Round:
    """One fsync for all that came before it began. ``failed`` until it has succeeded."""

    __slots__ = ("failed", "over")

    def __init__(self) -> None:
        self.over = threading.Event()
        self.failed: OSError | None = OSError(errno.EIO, "the fsync broke off")


class _SharedSyncs:
    """Many threads make the same folder durable. What one did before an fsync began is covered by it, so that all who
    come while one is under way need only one more between them; who comes alone waits for nobody."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._under_way: dict[object, _Round] = {}
        self._next: dict[object, _Round] = {}  # not begun yet

    def share(self, key: object, sync: Callable[[], None]) -> None:
        """Return once a ``sync`` of ``key`` that began after this call has ended. Raises OSError if that one failed."""
        with self._changing:
            mine, before = self._next.get(key), self._under_way.get(key)
            first = mine is None
            if mine is None:
                mine = self._next[key] = _Round()
        if first:
            self._lead(key, mine, before, sync)
            return
        mine.over.wait()
        if mine.failed is not None:
            raise OSError(*mine.failed.args)

    def _lead(self, key: object, mine: _Round, before: _Round | None, sync: Callable[[], None]) -> None:
        """Make the call for all that join until it begins."""
        if before is not None:
            before.over.wait()
        with self._changing:
            self._under_way[key] = self._next.pop(key)  # who comes from now on is not covered
        try:
            sync()
            mine.failed = None
        except OSError as error:
            mine.failed = error
            raise
        finally:
            with self._changing:
                del self._under_way[key]
            mine.over.set()


_folder_syncs = _SharedSyncs()


def _sync_folder(folder: str | Path) -> None:
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


def has_room(folder: str | Path, room_bytes: int) -> bool:
    """Whether the file system of ``folder`` has so much left for us, and a name. Where it does not tell, yes."""
    seen = os.statvfs(folder)
    return not (seen.f_blocks > 0 and seen.f_bavail * seen.f_frsize < room_bytes) and not (
        seen.f_files > 0 and seen.f_favail == 0
    )


def write_new(path: str | Path, content: bytes, temporary: str, mode: int = 0o640) -> None:
    """Create ``path`` with all of ``content`` or not at all; by way of the name ``temporary`` beside it.

    The folder is not synced. Raises FileExistsError when ``path`` is there already.
    """
    write_new_from(path, lambda fd: write_all(fd, content), temporary, mode)


def write_new_from(path: str | Path, fill: Callable[[int], None], temporary: str, mode: int = 0o640) -> None:
    """Like ``write_new``, with ``fill`` writing the content to a file descriptor."""
    passing = _beside(path, temporary)
    fd = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        try:
            fill(fd)
            os.fsync(fd)
        finally:
            os.close(fd)
        rename_new(passing, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(passing)
        raise


def _beside(path: str | Path, name: str) -> str:
    return os.path.join(os.path.dirname(path), name)


def replace(path: str | Path, content: bytes, temporary: str, mode: int = 0o640) -> None:
    """Put ``content`` in the place of ``path``, all of it or nothing. The folder is not synced."""
    passing = _beside(path, temporary)
    with suppress(FileNotFoundError):
        os.unlink(passing)
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


def rename_new(source: str | Path, target: str | Path, spare: str | Path | None = None) -> None:
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


def rename_at_once(source: str | Path, target: str | Path) -> bool:
    """rename(2) that fails with FileExistsError instead of replacing ``target``; False, with nothing done, where one
    call cannot do that, between these folders or on this file system."""
    try:
        _renameat2(source, target)
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED | {errno.EXDEV}:
            raise
        return False
    return True


def _renameat2(source: str | Path, target: str | Path) -> None:
    call = getattr(_libc, "renameat2", None)
    if call is None:  # musl before 1.2.5, glibc before 2.28
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    if call(_AT_FDCWD, os.fsencode(source), _AT_FDCWD, os.fsencode(target), _RENAME_NOREPLACE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), str(source), None, str(target))


_libc = ctypes.CDLL(None, use_errno=True)
