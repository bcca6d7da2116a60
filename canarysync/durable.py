"""Writes that survive a power cut, and moves that never overwrite: the only place that knows how."""

from __future__ import annotations

import ctypes
import errno
import logging
import os
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from math import inf
from pathlib import Path

_log = logging.getLogger(__name__)

TOGETHER_FROM = 8
"""So many neighbours at least are synced together."""

_SYNCED_AS_A_WHOLE = frozenset({0xEF53})  # ext4, where this was tried, as ext2 and ext3
_UNWRITTEN_MOST_BYTES = 64 << 20  # a disk that is not quick writes it in a second
_TELLS_OF_ERRORS = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2])) >= (5, 8)  # syncfs does since
_MEMINFO = Path("/proc/meminfo")
_UNWRITTEN = re.compile(rb"^(?:Dirty|Writeback):\s*(\d+) kB$", re.MULTILINE)
_apart: set[int] = set()  # devices that told of an error once: of their files each is synced for itself

_SYNC_FILE_RANGE_WAIT_BEFORE = 1
_SYNC_FILE_RANGE_WRITE = 2
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
    Raises OSError.
    """
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
    with new_file(path, temporary, mode) as fd:
        write_all(fd, content)
        os.fsync(fd)


@contextmanager
def new_file(path: str | Path, temporary: str, mode: int = 0o640) -> Iterator[int]:
    """Like ``write_new``, for who writes the content to the file descriptor, and fsyncs it, within the block."""
    passing = _beside(path, temporary)
    fd = os.open(passing, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        try:
            yield fd
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


def sync_files(fds: Collection[int]) -> dict[int, OSError]:
    """Make open files durable, neighbours on one file system together. Returns those that are not, and why."""
    failed: dict[int, OSError] = {}
    for device, neighbours in _by_device(fds).items():
        if _pays_together(device, neighbours):
            failed |= _sync_together(device, neighbours)
        else:
            failed |= _sync_each(neighbours)
    return failed


def _by_device(fds: Collection[int]) -> dict[int, list[int]]:
    found: dict[int, list[int]] = {}
    for fd in fds:
        try:
            device = os.fstat(fd).st_dev
        except OSError:  # its fsync tells of that
            device = 0
        found.setdefault(device, []).append(fd)
    return found


def _sync_each(fds: Sequence[int]) -> dict[int, OSError]:
    """The disk may begin with all of them before the first is waited for: neighbours are then written together."""
    failed: dict[int, OSError] = {}
    if len(fds) > 1:
        for fd in fds:
            _begin_writing(fd)
    for fd in fds:
        try:
            os.fsync(fd)
        except OSError as error:
            failed[fd] = error
    return failed


def _begin_writing(fd: int) -> None:
    """Have the kernel begin to write what is new in an open file, and do not wait for it (sync_file_range(2)): the
    fsync that follows is the sooner done. Where that cannot be, nothing happens."""
    call = getattr(_libc, "sync_file_range", None)
    if call is not None:
        call(fd, ctypes.c_int64(0), ctypes.c_int64(0), _SYNC_FILE_RANGE_WRITE)


# --- one file system at once -------------------------------------------------------------------------


def _pays_together(device: int, fds: Sequence[int]) -> bool:
    """Whether to sync all that is new on their file system instead of these files alone: it takes a third of the time,
    as the disk empties its cache once, and not for each; if others have not left much there to be written."""
    return (
        len(fds) >= TOGETHER_FROM
        and _TELLS_OF_ERRORS
        and hasattr(_libc, "sync_file_range")
        and device not in _apart
        and _file_system(fds[0]) in _SYNCED_AS_A_WHOLE
        and _unwritten_bytes() <= _UNWRITTEN_MOST_BYTES
    )


def _sync_together(device: int, fds: Sequence[int]) -> dict[int, OSError]:
    """With one syncfs(2); the fsync behind it empties the disk's cache in any case. An error may be any file's: then it
    is that of all, and from now on each has its own. One that others were told of before these files were opened, only
    the files themselves tell."""
    try:
        if _libc.syncfs(fds[0]) != 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        os.fsync(fds[0])
    except OSError as error:
        _apart.add(device)
        return {fd: OSError(*error.args) for fd in fds}
    failed: dict[int, OSError] = {}
    for fd in fds:
        try:
            _wait_until_written(fd)
        except OSError as error:
            failed[fd] = error
    if failed:
        _apart.add(device)
    return failed


def _wait_until_written(fd: int) -> None:
    """For what is being written of an open file: nothing, behind a syncfs. Raises OSError if some of it ever could not
    be, as fsync does, but does not empty the disk's cache."""
    zero = ctypes.c_int64(0)
    if _libc.sync_file_range(fd, zero, zero, _SYNC_FILE_RANGE_WAIT_BEFORE) != 0:
        code = ctypes.get_errno()
        if code not in _NOT_SUPPORTED:
            raise OSError(code, os.strerror(code))
        os.fsync(fd)


def _file_system(fd: int) -> int:
    """Its magic number (statfs(2)); 0 where it is not known."""
    told = (ctypes.c_long * 64)()  # more than struct statfs has anywhere, which begins with it
    return int(told[0]) if _libc.fstatfs(fd, told) == 0 else 0


def _unwritten_bytes() -> float:
    """How much all programs have written that is on no disk yet; infinite where that is not known."""
    try:
        with _MEMINFO.open("rb") as told:
            return sum(int(kilobytes) << 10 for kilobytes in _UNWRITTEN.findall(told.read()))
    except OSError:
        return inf


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
