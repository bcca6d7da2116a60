"""One safe look at a file, one safe read: no link is followed, no FIFO waited on, no half-changed file believed."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass, field
from pathlib import Path

from canarysync.model import Kind, Signature
from canarysync.passes import OnDisk, Pass

CHUNK_BYTES = 1 << 20

NO_FSYNC = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.EROFS})
"""So a file system says that it cannot fsync a file, or need not."""


@dataclass(frozen=True, slots=True)
class Content:
    """A regular file that did not change while it was read."""

    data: bytes = field(repr=False)
    sha256: str
    signature: Signature


@dataclass(frozen=True, slots=True)
class NotRead:
    """A file that was not read. ``kind`` FILE means that it is too large, or changed under our eyes (``changing``)."""

    kind: Kind
    signature: Signature | None = None
    changing: bool = False


Look = tuple[Kind, Signature | None]


def look(path: str | Path, *, by_open: bool = False) -> Look:
    """What stands at ``path``. ``by_open`` asks through an open file, since network mounts cache what lstat says."""
    try:
        seen = os.lstat(path)
        if by_open and stat.S_ISREG(seen.st_mode):
            fd = open_safely(path)
            try:
                seen = os.fstat(fd)
            finally:
                os.close(fd)
    except OSError as error:
        return _kind_of(error), None
    return _kind_with(seen.st_mode), _signature(seen)


def read(path: str | Path, most_bytes: int, looked: Look | None = None) -> Content | NotRead:
    """Read a regular file of at most ``most_bytes`` without following links or waiting on a FIFO. ``looked``: what was
    there just now, if somebody has looked."""
    kind, signature = looked or look(path)
    if kind is not Kind.FILE:
        return NotRead(kind, signature)
    try:
        fd = open_safely(path)
        try:
            return read_open(fd, most_bytes)
        finally:
            os.close(fd)
    except OSError as error:
        return NotRead(_kind_of(error))


def read_open(fd: int, most_bytes: int) -> Content | NotRead:
    """The same for a file that is open. Raises OSError."""
    before = os.fstat(fd)
    kind = _kind_with(before.st_mode)
    if kind is not Kind.FILE or before.st_size > most_bytes:
        return NotRead(kind, _signature(before))
    data = _read_up_to(fd, before.st_size + 1)  # a byte more than there should be: is that all?
    after = _signature(os.fstat(fd))
    if after != _signature(before) or len(data) != after.size_bytes:
        return NotRead(Kind.FILE, after, changing=True)
    return Content(data, hashlib.sha256(data).hexdigest(), after)


def _read_up_to(fd: int, size_bytes: int) -> bytes:
    """What is there; a byte less than ``size_bytes`` is taken for all of it."""
    data = os.read(fd, size_bytes)
    while len(data) < size_bytes - 1 and (part := os.read(fd, size_bytes - len(data))):
        data += part
    return data


def open_safely(path: str | Path) -> int:
    """A file descriptor to read from. Raises OSError: ELOOP for a link."""
    return os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY)


def _kind_with(mode: int) -> Kind:
    if stat.S_ISREG(mode):
        return Kind.FILE
    return Kind.MISSING if stat.S_ISDIR(mode) else Kind.UNSAFE


def _kind_of(error: OSError) -> Kind:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return Kind.MISSING
    return Kind.UNSAFE if error.errno == errno.ELOOP else Kind.UNREADABLE


def _signature(seen: os.stat_result) -> Signature:
    return Signature(seen.st_size, seen.st_mtime_ns, seen.st_ino, seen.st_dev)


def sync(path: str | Path) -> Pass[bool]:
    """See to it that the file itself is on disk: what is sent has to be what a power cut leaves. False where it is not
    there."""
    try:
        fd = open_safely(path)
    except FileNotFoundError:
        return False
    try:
        yield OnDisk(files=(fd,))
    except OSError as error:
        if error.errno not in NO_FSYNC:
            raise
    finally:
        os.close(fd)
    return True
