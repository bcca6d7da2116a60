"""Filing a file away: the sidecar, the move, the fsyncs. Every step may be repeated."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import stat
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from canarysync import durable
from canarysync.model import Kind, Signature
from canarysync.reading import CHUNK_BYTES, Content, NotRead, look, open_safely, read

SIDECAR_MOST_BYTES = 16 << 20

_ROOM_BYTES = 256 << 10
"""So much has to be free where a file will be filed, before its score is sent: a sidecar, for each of many workers."""


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


class TargetTaken(Exception):
    """The reserved name is in use by something that is not ours: another name is needed."""


def no_place(drop: Path, filed: Iterable[Path]) -> str:
    """Why nothing could be moved from ``drop`` to the folders ``filed`` now; empty when nothing stands in the way."""
    for folder in (drop, *filed):
        if not folder.is_dir():
            return f"{folder.name}/ is not there"
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"no right to write in {folder.name}/"
        try:
            if folder != drop and not durable.has_room(folder, _ROOM_BYTES):
                return f"no room in {folder.name}/"
        except OSError:  # gone in this very moment
            return f"{folder.name}/ cannot be looked at"
    return ""


def obstacle(source: Path, folders: tuple[Path, ...]) -> str:
    """Why ``source`` could not be moved into ``folders`` later on; empty when nothing stands in the way."""
    if reason := no_place(source.parent, folders):
        return reason
    parent, file, user = os.stat(source.parent), os.lstat(source), os.geteuid()
    if parent.st_mode & stat.S_ISVTX and user not in (0, parent.st_uid, file.st_uid):
        return f"{source.parent.name}/ has the sticky bit, and the file belongs to another user"
    return ""


def free_name(folder: Path, name: str, suffix: str, tag: str) -> str:
    """The name for a file in ``folder``: its own, or with ``tag`` (unique) where that is in use or too long."""
    longest = _longest_name(folder) - len(suffix)
    if len(os.fsencode(name)) <= longest and not _in_use(folder, name, suffix):
        return name
    stem, dot, ending = name.rpartition(".")
    end = f".{tag}{dot}{ending}"
    kept = os.fsencode(stem)[: longest - len(os.fsencode(end))].decode("utf-8", "ignore")
    return f"{kept or 'file'}{end}"


def _longest_name(folder: Path) -> int:
    """In bytes. A folder that is not there now must not keep an outcome from being recorded."""
    try:
        return os.pathconf(folder, "PC_NAME_MAX")
    except OSError:
        return 255


def _in_use(folder: Path, name: str, suffix: str) -> bool:
    return os.path.lexists(folder / name) or os.path.lexists(folder / f"{name}{suffix}")


def file_away(move: Move) -> bool:
    """Steps 4 to 6: sidecar, move, fsync of both folders. Returns whether the file was there to be moved.

    May be repeated after a crash at any point. Nothing is ever overwritten. A stranger that took the file's
    place is left, or put back, in the drop folder. Raises TargetTaken, and OSError as the system gives it.
    """
    target = move.folder / move.target
    ours = _our_sidecar(move)
    if not durable.is_there(target):
        found = _move(move, target, ours)
    elif _is_the_file(move, target):
        if not ours:  # a power cut took its name and left the file's
            _write_sidecar(move, missing=False, ours=False)
        _drop_leftover_source(move)
        found = True
    elif ours and move.source is not None:  # a crash came before a stranger was put back
        _put_back(target, move.source, move.entry_id)
        found = _move(move, target, ours)
    else:
        raise TargetTaken
    durable.sync_folder(move.folder)
    if move.drop.is_dir():
        durable.sync_folder(move.drop)
    return found


def _move(move: Move, target: Path, ours: bool) -> bool:
    """Put the file at ``target``, with its sidecar before it; False when there is nothing to put there."""
    source = move.source
    here = source is not None and _is_the_file(move, source)
    found = here or move.content is not None
    if not here:
        _check_present(move)
    _write_sidecar(move, missing=not found, ours=ours)
    try:
        if here and source is not None and _rename(move, source, target):
            return True
        _check_present(move)
        if move.content is not None:
            durable.write_new(target, move.content, _temporary(move))
            return True
    except FileExistsError:  # someone else's file took the name: ours goes elsewhere, and its sidecar with it
        _sidecar_path(move).unlink()
        raise TargetTaken from None
    if here:  # it was there a moment ago: say in the sidecar that it is not any more
        _write_sidecar(move, missing=True, ours=True)
    return False


def _check_present(move: Move) -> None:
    """The file is not there: is its folder? In the place of a file that is only away, nothing may be filed."""
    if not move.present():
        raise FileNotFoundError(errno.ENOENT, "the drop folder is gone", str(move.drop))


def _rename(move: Move, source: Path, target: Path) -> bool:
    """Move the source to ``target``; False, with the drop folder as it was, when it was not what we knew."""
    try:
        durable.rename_new(source, target)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return _copy(move, source, target)
    if _is_the_file(move, target):
        return True
    _put_back(target, source, move.entry_id)
    return False


def _put_back(stranger: Path, source: Path, entry_id: str) -> None:
    """A file slipped in under the name before our rename: it goes back, as a new file of its own."""
    try:
        durable.rename_new(stranger, source)
    except FileExistsError:
        if os.path.samestat(os.lstat(stranger), os.lstat(source)):  # a crash came between link and unlink
            os.unlink(stranger)
        else:
            durable.rename_new(stranger, source.parent / free_name(source.parent, source.name, "", entry_id))


def _copy(move: Move, source: Path, target: Path) -> bool:
    """The move to another file system: copy, fsync, rename; the source goes only if it is still that file."""
    kind = look(source)[0]
    if kind is Kind.MISSING:
        return False
    if source.is_symlink():
        os.symlink(os.readlink(source), target)
        os.unlink(source)
        return True
    if kind is not Kind.FILE:
        raise OSError(errno.EXDEV, "only files and links can be moved to another file system", str(source))
    try:
        durable.write_new_from(target, lambda fd: _copy_bytes(move, source, fd), _temporary(move))
    except _Stranger:
        return False
    durable.sync_folder(move.folder)
    _drop_leftover_source(move)
    return True


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
    os.fchmod(fd, stat.S_IMODE(seen.st_mode))
    os.utime(fd, ns=(seen.st_atime_ns, seen.st_mtime_ns))


def _drop_leftover_source(move: Move) -> None:
    """A crash between link and unlink, or copy and unlink, leaves the source: gone with it if it is that very file."""
    source = move.source
    if source is not None and look(source) == (Kind.FILE, move.signature) and _is_the_file(move, source):
        os.unlink(source)


def _is_the_file(move: Move, path: Path) -> bool:
    """Whether ``path`` holds what the entry describes: the same bytes, or for an unread file the same stat."""
    kind, signature = look(path)
    if kind is Kind.UNREADABLE:
        raise _unreadable(path)  # which is not to be taken for another file
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
        raise _unreadable(path)
    return isinstance(content, Content) and content.sha256 == move.sha256


def _unreadable(path: Path) -> OSError:
    return OSError(errno.EIO, "cannot be read now", str(path))


def _our_sidecar(move: Move) -> bool:
    """Whether the sidecar is there already, and ours."""
    path = _sidecar_path(move)
    if not durable.is_there(path):
        return False
    if _sidecar_at(path).get("entryId") != move.entry_id:
        raise TargetTaken
    return True


def _sidecar_at(path: Path) -> dict[str, Any]:
    """What a sidecar says; nothing if it is none. Raises OSError where it cannot be read now."""
    content = read(path, SIDECAR_MOST_BYTES)
    if isinstance(content, NotRead) and content.kind is Kind.UNREADABLE:
        raise _unreadable(path)
    try:
        found = json.loads(content.data) if isinstance(content, Content) else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _write_sidecar(move: Move, *, missing: bool, ours: bool) -> None:
    path, content = _sidecar_path(move), move.sidecar(missing)
    if ours:
        # Ours from before a crash; what it says of the file may have changed since.
        durable.replace(path, content, _temporary(move))
        return
    try:
        durable.write_new(path, content, _temporary(move))
    except FileExistsError:
        raise TargetTaken from None


def _sidecar_path(move: Move) -> Path:
    return move.folder / f"{move.target}{move.suffix}"


def _temporary(move: Move) -> str:
    return f".canarysync-{move.entry_id}.tmp"


def sweep_temporaries(folder: Path) -> None:
    """Remove what a crash left of our own temporary files. Only for the holder of the route's lock."""
    try:
        with os.scandir(folder) as names:
            leftovers = [Path(n.path) for n in names if n.name.startswith(".canarysync-") and ".tmp" in n.name]
    except (FileNotFoundError, NotADirectoryError):  # not mounted now: what cannot be filed there will say so
        return
    for leftover in leftovers:
        leftover.unlink(missing_ok=True)


def drop_stale_error(failed: Path, name: str, suffix: str) -> None:
    """Remove ``name``'s error sidecar once the file itself has left failed/, unless it never had a file there."""
    sidecar = failed / f"{name}{suffix}"
    if not durable.is_there(sidecar) or durable.is_there(failed / name):
        return
    if "fileMissing" not in _sidecar_at(sidecar):
        sidecar.unlink(missing_ok=True)


def sweep_stale_errors(failed: Path, suffix: str, unfiled: Collection[str]) -> None:
    """Remove all error sidecars whose file has left failed/. ``unfiled``: ids of entries that are still on their
    way there. Only for the holder of the route's lock, while nothing is being filed."""
    try:
        names = set(os.listdir(failed))
    except (FileNotFoundError, NotADirectoryError):
        return
    for name in names:
        file = name.removesuffix(suffix)
        if file == name or file in names:
            continue
        with suppress(OSError):  # a sidecar that cannot be read or removed now is no reason not to start
            entry_id = _sidecar_at(failed / name).get("entryId")
            if isinstance(entry_id, str) and entry_id not in unfiled:
                drop_stale_error(failed, file, suffix)
