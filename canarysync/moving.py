"""The move of one file out of the drop folder, where people go on writing meanwhile.

One call moves it where the system has such a call. Where it takes two (NFS, or another file system), the file first
goes through the *passage*, a folder in the drop folder that only we look into: what is there is ours alone, so that
nobody can put another version in its place between the two calls.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
import uuid
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from canarysync import durable
from canarysync.candidates import PASSAGE
from canarysync.model import Kind, Signature
from canarysync.reading import CHUNK_BYTES, Content, look, open_safely, read

_FITS_ANYWHERE_BYTES = 128
"""No file system for files that people name takes fewer bytes in a name: of a shorter one nothing has to be asked."""


@dataclass(frozen=True, slots=True)
class Move:
    """One file on its way out of the drop folder. ``source`` is None when it is no longer there, and ``sha256``
    for a file that was never read.

    ``drop``, ``source`` and ``folder`` are absolute paths, in str: each is named many times.
    ``present`` says whether the drop folder is there: while it is not, a missing file means nothing.
    ``sidecar`` gives the sidecar's bytes, once it is known whether the file is missing. ``content`` is what was
    read, while the process that read it lives. ``again``: an earlier try may have come some way; what it left is looked
    for. Without one, the moves tell whether a name is in use.
    """

    entry_id: str
    drop: str
    source: str | None
    folder: str
    target: str
    suffix: str
    signature: Signature
    sha256: str | None
    sidecar: Callable[[bool], bytes]
    content: bytes | None = field(default=None, repr=False)
    present: Callable[[], bool] = lambda: True
    again: bool = True

    @property
    def place(self) -> str:
        """Where the file will be."""
        return f"{self.folder}/{self.target}"

    @property
    def sidecar_place(self) -> str:
        return f"{self.folder}/{self.target}{self.suffix}"

    @property
    def temporary(self) -> str:
        """The name of what is being written for it."""
        return temporary_name(self.entry_id)


def temporary_name(entry_id: str) -> str:
    """The name in done/ or failed/ of what is being written for an entry."""
    return f".canarysync-{entry_id}.tmp"


# --- the move --------------------------------------------------------------------------------------


def find(move: Move) -> str | None:
    """Where the file is: in the passage, if an earlier move came so far, else under its name; None if it is gone.

    A stranger that a crash left in the passage goes back under its name.
    """
    if move.source is None:
        return None
    passage = _passage(move.source) if move.again else None
    if passage is not None and durable.is_there(passage):
        if is_the_file(move, passage):
            return passage
        put_back(passage, move.source, move.entry_id)
    return move.source if _may_be_the_file(move, move.source) else None


def _may_be_the_file(move: Move, path: str) -> bool:
    """Like ``is_the_file``, for what is about to be moved: that will be asked of what was moved, in any case, and a
    stranger goes back then. So what looks the same in a stat need not be read now, too; and where it is, its folder is
    the one that we know."""
    return look(path) == (Kind.FILE, move.signature) or (move.present() and is_the_file(move, path))


def move_out(move: Move, place: str, target: str) -> bool:
    """Move the file from where it was found to ``target``; False, with the drop folder as it was, when it turned out
    not to be what we know.

    Raises FileExistsError when ``target`` is there, and OSError: then it is to be found again, perhaps in the passage.
    """
    if place == move.source:
        try:
            if durable.rename_at_once(place, target):
                if is_the_file(move, target):
                    return True
                put_back(target, place, move.entry_id)
                return False
        except FileNotFoundError:
            return False
    return _move_by_passage(move, place, target)


def _move_by_passage(move: Move, place: str, target: str) -> bool:
    taken = _take(move, place) if place == move.source else place
    if taken is None:
        return False
    try:
        _bring(move, taken, target)
    except _Stranger:
        put_back(taken, f"{move.drop}/{os.path.basename(taken)}", move.entry_id)
        return False
    durable.sync_folder(os.path.dirname(taken))
    return True


def _take(move: Move, source: str) -> str | None:
    """Bring the source into the passage, and look at it there; None, with all as it was, if it is not the file."""
    _check_kind(source, move.folder)
    if _passage(source) is None and move.present():
        with suppress(FileExistsError):  # another worker
            os.mkdir(f"{move.drop}/{PASSAGE}", 0o700)
    taken = _passage(source)
    if taken is None:
        if not move.present():
            return None
        raise NotADirectoryError(errno.ENOTDIR, f"{PASSAGE} is no folder, remove it", source)
    try:
        os.rename(source, taken)
    except FileNotFoundError:
        return None
    if is_the_file(move, taken):
        return taken
    put_back(taken, source, move.entry_id)
    return None


def _check_kind(source: str, folder: str) -> None:
    """Not everything can be copied to another file system."""
    with suppress(FileNotFoundError):
        there = os.lstat(source)
        if there.st_dev != os.stat(folder).st_dev and not (stat.S_ISREG(there.st_mode) or stat.S_ISLNK(there.st_mode)):
            raise OSError(errno.EXDEV, "only files and links can be moved to another file system", source)


def _passage(source: str) -> str | None:
    """Where the file is on its way out; None where there is no passage."""
    drop, _, name = source.rpartition("/")
    passage = f"{drop}/{PASSAGE}"
    return f"{passage}/{name}" if _is_folder(passage) else None


def _is_folder(path: str) -> bool:
    """A link in the place of the passage could lead anywhere: into the drop folder, or to what is none of ours."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return stat.S_ISDIR(os.lstat(path).st_mode)
    return False


def _bring(move: Move, taken: str, target: str) -> None:
    try:
        durable.rename_new(taken, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(move, taken, target)
        durable.sync_folder(move.folder)
        os.unlink(taken)


def _copy(move: Move, taken: str, target: str) -> None:
    """The move to another file system, but for the removal."""
    if os.path.islink(taken):
        os.symlink(os.readlink(taken), target)
    else:
        with durable.new_file(target, move.temporary) as fd:
            _copy_bytes(move, taken, fd)
            os.fsync(fd)


class _Stranger(Exception):
    """What is being copied is not the file of the entry."""


def _copy_bytes(move: Move, path: str, fd: int) -> None:
    digest = hashlib.sha256()
    source = open_safely(path)
    try:
        while part := os.read(source, CHUNK_BYTES):
            digest.update(part)
            durable.write_all(fd, part)
        seen = os.fstat(source)
    finally:
        os.close(source)
    if move.sha256 not in (None, digest.hexdigest()):
        raise _Stranger
    os.fchmod(fd, seen.st_mode & 0o777)  # no set-ID bits: the sandbox of the units forbids them
    os.utime(fd, ns=(seen.st_atime_ns, seen.st_mtime_ns))


# --- what a crash left -----------------------------------------------------------------------------


def put_back(stranger: str, source: str, tag: str) -> None:
    """A file slipped in under the name before our rename: it goes back, as a new file of its own.

    It gets another name, with ``tag`` (unique), where its own is in use by now.
    """
    drop, name = os.path.split(source)
    spare = f"{drop}/{_tagged_name(drop, name, '', tag)}"
    try:
        durable.rename_new(stranger, source, spare)
    except FileExistsError:
        if os.path.samestat(os.lstat(stranger), os.lstat(source)):  # a crash came between link and unlink
            os.unlink(stranger)
        else:
            durable.rename_new(stranger, spare, spare)


def drop_leftovers(move: Move) -> None:
    """The file is at its target. Where it has another name still (a crash came between two calls, a power cut left
    both names), that goes."""
    source = move.source
    if source is None:
        return
    passage = _passage(source)
    if passage is not None and durable.is_there(passage):
        if is_the_file(move, passage):
            os.unlink(passage)
        else:
            put_back(passage, source, move.entry_id)
    if look(source) == (Kind.FILE, move.signature):
        taken = _take(move, source)
        if taken is not None:
            os.unlink(taken)


def put_all_back(drop: Path, besides: Collection[str]) -> None:
    """Put back what a crash left in the passage. ``besides``: names of files whose move will go on from there. Only for
    the holder of the route's lock, while nothing is being moved."""
    passage = f"{drop}/{PASSAGE}"
    if not _is_folder(passage):
        return
    with suppress(FileNotFoundError):
        for name in os.listdir(passage):
            if name not in besides:
                put_back(f"{passage}/{name}", f"{drop}/{name}", uuid.uuid4().hex)
        durable.sync_folder(drop)
        with suppress(OSError):  # something is in it still
            os.rmdir(passage)


def is_the_file(move: Move, path: str) -> bool:
    """Whether ``path`` holds what the entry describes: the same bytes, or for an unread file the same stat."""
    if move.sha256 is None:
        return _looks_like_the_unread_file(move, path)
    content = read(path, move.signature.size_bytes)
    if isinstance(content, Content):
        return content.sha256 == move.sha256
    if content.kind is Kind.UNREADABLE:
        raise unreadable(path)  # which is not to be taken for another file
    return False


def _looks_like_the_unread_file(move: Move, path: str) -> bool:
    kind, signature = look(path)
    if kind is Kind.UNREADABLE:
        raise unreadable(path)
    if signature is None or kind is Kind.MISSING:
        return False
    # At its target it may be a copy, on another file system: then only the size is the same.
    same_inode = signature.inode == move.signature.inode or os.path.dirname(path) == move.folder
    return same_inode and signature.size_bytes == move.signature.size_bytes


def unreadable(path: str) -> OSError:
    """To be raised where it cannot be told what is there."""
    return OSError(errno.EIO, "cannot be read now", path)


# --- names -----------------------------------------------------------------------------------------


def free_name(folder: str, name: str, suffix: str, tag: Callable[[], str]) -> str:
    """The name for a file in ``folder``: its own, or with a ``tag`` (unique) where that is in use or too long."""
    if _fits(folder, name, suffix) and not _in_use(folder, name, suffix):
        return name
    return _tagged_name(folder, name, suffix, tag())


def _fits(folder: str, name: str, suffix: str) -> bool:
    length_bytes = len(os.fsencode(name)) + len(suffix)
    return length_bytes <= _FITS_ANYWHERE_BYTES or length_bytes <= _longest_name(folder)


def _tagged_name(folder: str, name: str, suffix: str, tag: str) -> str:
    stem, dot, ending = name.rpartition(".")
    end = f".{tag}{dot}{ending}"
    longest = _longest_name(folder) - len(suffix) - len(os.fsencode(end))
    kept = os.fsencode(stem)[:longest].decode("utf-8", "ignore")
    return f"{kept or 'file'}{end}"


def _longest_name(folder: str) -> int:
    """In bytes. A folder that is not there now must not keep an outcome from being recorded. (A dated one will be made:
    then it is as what is above it.)"""
    for place in (Path(folder), *Path(folder).parents):
        with suppress(OSError):
            return os.pathconf(place, "PC_NAME_MAX")
    return 255


def _in_use(folder: str, name: str, suffix: str) -> bool:
    return os.path.lexists(f"{folder}/{name}") or os.path.lexists(f"{folder}/{name}{suffix}")
