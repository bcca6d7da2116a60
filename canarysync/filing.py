"""Filing a file away: the sidecar, the move, the fsyncs. Every step may be repeated."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Collection, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from canarysync import durable
from canarysync.model import Kind
from canarysync.moving import Move, drop_leftovers, find, is_the_file, move_out, put_back, temporary_name, unreadable
from canarysync.passes import OnDisk, Pass
from canarysync.reading import Content, NotRead, read
from canarysync.workers import sign_of_life

SIDECAR_MOST_BYTES = 16 << 20

FILE_MOST_BYTES = 16 << 20
"""No larger file is ever uploaded (the most that max_size takes)."""


class TargetTaken(Exception):
    """The reserved name is in use by something that is not ours: another name is needed."""


def file_away(move: Move) -> Pass[bool]:
    """Steps 4 and 5: the sidecar, then the move. Returns whether the file was there to be moved. After it, the target's
    folder has to be made durable, then the drop folder.

    May be repeated after a crash at any point. Nothing is ever overwritten. A stranger that took the file's
    place is left, or put back, in the drop folder. Raises TargetTaken, and OSError as the system gives it.
    """
    target = move.place
    if not move.again:
        return (yield from _move(move, target, ours=False))
    ours = _our_sidecar(move)
    if not durable.is_there(target):
        found = yield from _move(move, target, ours)
    elif is_the_file(move, target):
        if not ours:  # a power cut took its name and left the file's
            yield from _write_sidecar(move, missing=False, ours=False)
        drop_leftovers(move)
        found = True
    elif ours and move.source is not None:  # a crash came before a stranger was put back
        put_back(target, move.source, move.entry_id)
        found = yield from _move(move, target, ours)
    else:
        raise TargetTaken
    return found


def _move(move: Move, target: str, ours: bool) -> Pass[bool]:
    """Put the file at ``target``, with its sidecar before it; False when there is nothing to put there."""
    here = find(move)
    found = here is not None or move.content is not None
    if here is None:
        _check_present(move)
    yield from _write_sidecar(move, missing=not found, ours=ours)
    try:
        if here is not None and move_out(move, here, target):
            return True
        _check_present(move)
        if move.content is not None:
            durable.write_new(target, move.content, move.temporary)
            return True
    except FileExistsError:  # someone else's file took the name: ours goes elsewhere, and its sidecar with it
        os.unlink(move.sidecar_place)
        raise TargetTaken from None
    if here is not None:  # it was there a moment ago: say in the sidecar that it is not any more
        yield from _write_sidecar(move, missing=True, ours=True)
    return False


def _check_present(move: Move) -> None:
    """The file is not there: is its folder? In the place of a file that is only away, nothing may be filed."""
    if not move.present():
        raise FileNotFoundError(errno.ENOENT, "the drop folder is gone", move.drop)


def _our_sidecar(move: Move) -> bool:
    """Whether the sidecar is there already, and ours."""
    path = move.sidecar_place
    if not durable.is_there(path):
        return False
    if _sidecar_at(path).get("entryId") != move.entry_id:
        raise TargetTaken
    return True


def _sidecar_at(path: str) -> dict[str, Any]:
    """What a sidecar says; nothing if it is none. Raises OSError where it cannot be read now."""
    content = read(path, SIDECAR_MOST_BYTES)
    if isinstance(content, NotRead) and content.kind is Kind.UNREADABLE:
        raise unreadable(path)
    try:
        found = json.loads(content.data) if isinstance(content, Content) else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}


def _write_sidecar(move: Move, *, missing: bool, ours: bool) -> Pass[None]:
    path, content = move.sidecar_place, move.sidecar(missing)
    if ours:
        # Ours from before a crash; what it says of the file may have changed since.
        durable.replace(path, content, move.temporary)
        return
    try:
        with durable.new_file(path, move.temporary) as fd:
            durable.write_all(fd, content)
            yield OnDisk(files=(fd,))
    except FileExistsError:
        raise TargetTaken from None


def drop_temporaries(folder: Path, entry_ids: Iterable[str]) -> None:
    """Remove what a crash left in ``folder`` of what was being written for these entries, without a look at what else
    is there: it may be a million files. Only for the holder of the route's lock, while nothing is being filed."""
    for entry_id in entry_ids:
        with suppress(OSError):  # it never got there; or what cannot be filed there will say so
            os.unlink(folder / temporary_name(entry_id))


def sweep_temporaries(folder: Path) -> None:
    """Remove what a crash left of all our temporary files. Only for the holder of the route's lock, while nothing is
    being filed into that folder."""
    try:
        with os.scandir(folder) as names:
            for leftover in filter(_is_temporary, names):
                with suppress(OSError):  # it harms nobody
                    os.unlink(leftover.path)
    except (FileNotFoundError, NotADirectoryError):  # not mounted now: what cannot be filed there will say so
        return


def _is_temporary(found: os.DirEntry[str]) -> bool:
    sign_of_life()
    ours = found.name.startswith(".canarysync-") and ".tmp" in found.name
    return ours and not found.is_dir(follow_symlinks=False)  # into drop/ others write, too


def drop_stale_error(failed: str, name: str, suffix: str) -> None:
    """Remove ``name``'s error sidecar once the file itself has left failed/, unless it never had a file there."""
    sidecar = f"{failed}/{name}{suffix}"
    if not durable.is_there(sidecar) or durable.is_there(f"{failed}/{name}"):
        return
    if "fileMissing" not in _sidecar_at(sidecar):
        with suppress(FileNotFoundError):
            os.unlink(sidecar)


def sweep_stale_errors(failed: Path, suffix: str, unfiled: Collection[str]) -> None:
    """Remove all error sidecars whose file has left failed/. ``unfiled``: ids of entries that are still on their
    way there. Only for the holder of the route's lock, while nothing is being filed."""
    try:
        with os.scandir(failed) as names:
            for found in names:
                sign_of_life()
                if found.name.endswith(suffix) and not os.path.lexists(found.path.removesuffix(suffix)):
                    _sweep_stale_error(failed, found.name, suffix, unfiled)
    except (FileNotFoundError, NotADirectoryError):
        return


def _sweep_stale_error(failed: Path, name: str, suffix: str, unfiled: Collection[str]) -> None:
    with suppress(OSError):  # a sidecar that cannot be read or removed now is no reason not to start
        entry_id = _sidecar_at(f"{failed}/{name}").get("entryId")
        if isinstance(entry_id, str) and entry_id not in unfiled:
            drop_stale_error(str(failed), name.removesuffix(suffix), suffix)
