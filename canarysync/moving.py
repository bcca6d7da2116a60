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
from canarysync.reading import CHUNK_BYTES, Content, NotRead, look, open_safely, read


@dataclass(frozen=True, slots=True)
class Move:
    """One file on its way out of the drop folder. ``source`` is None when it is no longer there, and ``sha256``
    for a file that was never read.

    ``present`` says whether the drop folder is there: while it is not, a missing file means nothing.
    ``sidecar`` gives the sidecar's bytes, once it is known whether the file is missing. ``content`` is what was
    read, while the process that read it lives.
    """

    entry_id: str
    drop: Path
    source: Path | None
    folder: Path
    target: str
    suffix: str
    signature: Signature
    sha256: str | None
    sidecar: Callable[[bool], bytes]
    content: bytes | None = field(default=None, repr=False)
    present: Callable[[], bool] = lambda: True

    @property
    def temporary(self) -> str:
        """The name of what is being written for it."""
        return temporary_name(self.entry_id)


def temporary_name(entry_id: str) -> str:
    """The name in done/ or failed/ of what is being written for an entry."""
    return f".canarysync-{entry_id}.tmp"


# --- the move --------------------------------------------------------------------------------------


def find(move: Move) -> Path | None:
    """Where the file is: in the passage, if an earlier move came so far, else under its name; None if it is gone."""
    if move.source is None:
        return None
    places = (_passage(move.source), move.source)
    return next((path for path in places if path is not None and is_the_file(move, path)), None)


def move_out(move: Move, place: Path, target: Path) -> bool:
    """Move the file from where it was found to ``target``; False, with the drop folder as it was, when it turned out
    not to be what we know.

    Raises FileExistsError when ``target`` is there, and OSError: then it is to be found again, perhaps in the passage.
    """
    if place.parent == move.drop:
        try:
            if durable.rename_at_once(place, target):
                if is_the_file(move, target):
                    return True
                put_back(target, place, move.entry_id)
                return False
        except FileNotFoundError:
            return False
    return _move_by_passage(move, place, target)


def _move_by_passage(move: Move, place: Path, target: Path) -> bool:
    taken = _take(move, place) if place.parent == move.drop else place
    if taken is None:
        return False
    try:
        _bring(move, taken, target)
    except _Stranger:
        put_back(taken, move.drop / place.name, move.entry_id)
        return False
    durable.sync_folder(taken.parent)
    return True


def _take(move: Move, source: Path) -> Path | None:
    """Bring the source into the passage, and look at it there; None, with all as it was, if it is not the file."""
    _check_kind(source, move.folder)
    if _passage(source) is None and move.present():
        with suppress(FileExistsError):  # another worker
            (source.parent / PASSAGE).mkdir(0o700)
    taken = _passage(source)
    if taken is None:
        if not move.present():
            return None
        raise NotADirectoryError(errno.ENOTDIR, f"{PASSAGE} is no folder, remove it", source.name)
    try:
        os.rename(source, taken)
    except FileNotFoundError:
        return None
    if is_the_file(move, taken):
        return taken
    put_back(taken, source, move.entry_id)
    return None


def _check_kind(source: Path, folder: Path) -> None:
    """Not everything can be copied to another file system."""
    with suppress(FileNotFoundError):
        there = os.lstat(source)
        if there.st_dev != folder.stat().st_dev and not (stat.S_ISREG(there.st_mode) or stat.S_ISLNK(there.st_mode)):
            raise OSError(errno.EXDEV, "only files and links can be moved to another file system", source.name)


def _passage(source: Path) -> Path | None:
    """Where the file is on its way out; None where there is no passage."""
    passage = source.parent / PASSAGE
    return passage / source.name if _is_folder(passage) else None


def _is_folder(path: Path) -> bool:
    """A link in the place of the passage could lead anywhere: into the drop folder, or to what is none of ours."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return stat.S_ISDIR(os.lstat(path).st_mode)
    return False


def _bring(move: Move, taken: Path, target: Path) -> None:
    try:
        durable.rename_new(taken, target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy(move, taken, target)
        durable.sync_folder(target.parent)
        os.unlink(taken)


def _copy(move: Move, taken: Path, target: Path) -> None:
    """The move to another file system, but for the removal."""
    if taken.is_symlink():
        os.symlink(os.readlink(taken), target)
    else:
        durable.write_new_from(target, lambda fd: _copy_bytes(move, taken, fd), move.temporary)


class _Stranger(Exception):
    """What is being copied is not the file of the entry."""


def _copy_bytes(move: Move, path: Path, fd: int) -> None:
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


def put_back(stranger: Path, source: Path, tag: str) -> None:
    """A file slipped in under the name before our rename: it goes back, as a new file of its own.

    It gets another name, with ``tag`` (unique), where its own is in use by now.
    """
    spare = source.parent / _tagged_name(source.parent, source.name, "", tag)
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
    if passage is not None and is_the_file(move, passage):
        os.unlink(passage)
    clear_passage(move)
    if look(source) == (Kind.FILE, move.signature):
        taken = _take(move, source)
        if taken is not None:
            os.unlink(taken)


def clear_passage(move: Move) -> None:
    """A stranger that a crash left in the passage goes back under its name."""
    if move.source is None:
        return
    passage = _passage(move.source)
    if passage is not None and durable.is_there(passage) and not is_the_file(move, passage):
        put_back(passage, move.source, move.entry_id)


def put_all_back(drop: Path, besides: Collection[str]) -> None:
    """Put back what a crash left in the passage. ``besides``: names of files whose move will go on from there. Only for
    the holder of the route's lock, while nothing is being moved."""
    passage = drop / PASSAGE
    if not _is_folder(passage):
        return
    with suppress(FileNotFoundError):
        for name in os.listdir(passage):
            if name not in besides:
                put_back(passage / name, drop / name, uuid.uuid4().hex)
        durable.sync_folder(drop)
        with suppress(OSError):  # something is in it still
            passage.rmdir()


def is_the_file(move: Move, path: Path) -> bool:
    """Whether ``path`` holds what the entry describes: the same bytes, or for an unread file the same stat."""
    kind, signature = look(path)
    if kind is Kind.UNREADABLE:
        raise unreadable(path)  # which is not to be taken for another file
    if signature is None or kind is Kind.MISSING:
        return False
    if move.sha256 is None:
        # At its target it may be a copy, on another file system: then only the size is the same.
        same_inode = signature.inode == move.signature.inode or path.parent == move.folder
        return same_inode and signature.size_bytes == move.signature.size_bytes
    if kind is not Kind.FILE or signature.size_bytes != move.signature.size_bytes:
        return False
    content = read(path, signature.size_bytes)
    if isinstance(content, NotRead) and content.kind is Kind.UNREADABLE:
        raise unreadable(path)
    return isinstance(content, Content) and content.sha256 == move.sha256


def unreadable(path: Path) -> OSError:
    """To be raised where it cannot be told what is there."""
    return OSError(errno.EIO, "cannot be read now", str(path))


# --- names -----------------------------------------------------------------------------------------


def free_name(folder: Path, name: str, suffix: str, tag: str) -> str:
    """The name for a file in ``folder``: its own, or with ``tag`` (unique) where that is in use or too long."""
    fits = len(os.fsencode(name)) <= _longest_name(folder) - len(suffix)
    return name if fits and not _in_use(folder, name, suffix) else _tagged_name(folder, name, suffix, tag)


def _tagged_name(folder: Path, name: str, suffix: str, tag: str) -> str:
    stem, dot, ending = name.rpartition(".")
    end = f".{tag}{dot}{ending}"
    longest = _longest_name(folder) - len(suffix) - len(os.fsencode(end))
    kept = os.fsencode(stem)[:longest].decode("utf-8", "ignore")
    return f"{kept or 'file'}{end}"


def _longest_name(folder: Path) -> int:
    """In bytes. A folder that is not there now must not keep an outcome from being recorded."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except OSError:
        return 255


def _in_use(folder: Path, name: str, suffix: str) -> bool:
    return os.path.lexists(folder / name) or os.path.lexists(folder / f"{name}{suffix}")
