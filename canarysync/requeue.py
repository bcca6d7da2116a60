"""Failed files go back into the drop folder, under the names that they came with; beside a running daemon or without.

First the files move, then both folders are made durable, then the error sidecars go. What a crash leaves half done, the
next call finishes: a sidecar whose file has left failed/ has had its day.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import translate
from pathlib import Path

from canarysync import durable, sidecar
from canarysync.candidates import ERROR_SUFFIX, Matcher
from canarysync.config import Config, Route
from canarysync.filing import SIDECAR_MOST_BYTES
from canarysync.folder import absence, marker_id
from canarysync.ledger import FAILED, Ledger
from canarysync.ledger_sqlite import Access
from canarysync.model import Code, Signature
from canarysync.reading import Content, look, read
from canarysync.state import opened

_BATCH = 500
"""So many files share the two fsyncs."""

IN_USE = "drop/ has a file of that name"
_NEVER = datetime.max.replace(tzinfo=UTC)


class Fate(StrEnum):
    """What becomes of a failed file."""

    BACK = "back"
    GONE = "gone"  # it has left failed/ before: only its sidecar goes
    LEFT = "left"
    UNKNOWN = "unknown"  # no failed file of that name fits


LEFT_OVER = frozenset({Fate.LEFT, Fate.UNKNOWN})
"""What needs a person."""


@dataclass(frozen=True, slots=True)
class Failed:
    """A file in failed/, called ``file`` there and ``name`` in the drop folder, and what becomes of it.

    ``why`` it is left; then ``file`` may be empty, for the whole route. ``sidecar`` is the signature of its sidecar.
    """

    route: str
    file: str
    fate: Fate
    name: str = ""
    code: Code | None = None
    at: datetime | None = None
    why: str = ""
    sidecar: Signature | None = None


class Wanted:
    """Which failed files are meant: all that fit. ``names`` are those in failed/ or in the drop folder, or globs of
    them, or paths; an empty filter fits all."""

    def __init__(self, names: Sequence[str] = (), codes: Sequence[str] = (), since: datetime | None = None) -> None:
        self._names = [Path(name).name.removesuffix(ERROR_SUFFIX) for name in names]
        self._globs = re.compile("|".join(map(translate, self._names))).match
        self._codes = codes
        self._since = since

    def fits(self, failed: Failed) -> bool:
        """Whether the file is meant. One of which no sidecar tells has no code and no time."""
        if self._codes and failed.code not in self._codes:
            return False
        if self._since and (failed.at is None or failed.at < self._since):
            return False
        return not self._names or any(name in self._names or self._globs(name) for name in (failed.file, failed.name))

    def unmet(self, found: Sequence[Failed]) -> list[str]:
        """The names, but for globs, that none of ``found`` has."""
        seen = {name for failed in found for name in (failed.file, failed.name)}
        return [name for name in self._names if name not in seen and not set(name) & set("*?[")]


def requeue(config: Config, routes: Sequence[Route], wanted: Wanted, *, dry_run: bool = False) -> list[Failed]:
    """Put what is ``wanted`` back into the drop folders, each route's oldest failure first; tell of each file. With
    ``dry_run`` nothing is done. Raises SetupError, LedgerError, and then nothing was done."""
    found: list[Failed] = []
    with opened(config.state, Access.READER) as ledger:
        for route in routes:
            plan = _plan(route, ledger, wanted)
            found += plan if dry_run else _carry_out(route, plan)
    if any(not failed.file for failed in found):  # a route cannot be looked at: who knows what is there?
        return found
    return found + [Failed("", name, Fate.UNKNOWN) for name in wanted.unmet(found)]


# --- what is to be done ----------------------------------------------------------------------------------


def _plan(route: Route, ledger: Ledger | None, wanted: Wanted) -> list[Failed]:
    """What will become of each file that is wanted, oldest failure first."""
    route_id = ledger.routes().get(route.name) if ledger else None
    gone = absence(route.drop, route_id) if route_id else "" if marker_id(route.drop) else "it was never started"
    if gone:
        return [Failed(route.name, "", Fate.LEFT, why=gone)]
    try:
        names = _names_in(route.failed)
    except OSError as error:
        return [Failed(route.name, "", Fate.LEFT, why=f"cannot list failed/: {error.strerror}")]
    # Asked after the listing: whatever has a sidecar there is decided by now, and no longer here once it is moved.
    entries = ledger.open_entries(route_id) if ledger and route_id else ()
    unfiled = {entry.target for entry in entries if entry.state in FAILED}
    matcher = Matcher(route.match)
    files = {name.removesuffix(ERROR_SUFFIX) for name in names}
    found = (_look_at(route, file, names, unfiled, matcher) for file in files)
    oldest_first = sorted(filter(wanted.fits, found), key=lambda failed: (failed.at or _NEVER, failed.file))
    return list(_one_of_each_name(oldest_first))


def _one_of_each_name(plan: Sequence[Failed]) -> Iterator[Failed]:
    """Of several files that came under one name only the first can go back now."""
    taken: set[str] = set()
    for failed in plan:
        if failed.fate is not Fate.BACK:
            yield failed
        elif failed.name in taken:
            yield replace(failed, fate=Fate.LEFT, why="another one goes back under that name first: call again")
        else:
            taken.add(failed.name)
            yield failed


def _names_in(failed: Path) -> set[str]:
    """All names in failed/, without subfolders and hidden files (our own, while they are being written)."""
    with os.scandir(failed) as entries:
        return {e.name for e in entries if not e.name.startswith(".") and not e.is_dir(follow_symlinks=False)}


def _look_at(route: Route, file: str, names: set[str], unfiled: set[str | None], matcher: Matcher) -> Failed:
    """One file in failed/, or a sidecar there without one."""
    content = read(route.failed / f"{file}{ERROR_SUFFIX}", SIDECAR_MOST_BYTES)
    told = sidecar.failure(content.data) if isinstance(content, Content) else None
    if told is None or not isinstance(content, Content):
        return Failed(route.name, file, Fate.LEFT, why="it has no readable error sidecar: move it by hand")
    # What a sidecar says of the name is not to be trusted with the way.
    name = next((name for name in (told.name, file) if name and matcher.skipped(name) is None), None)
    failed = Failed(route.name, file, Fate.BACK, name or told.name or file, told.code, told.at, "", content.signature)
    if file in unfiled:
        return replace(failed, fate=Fate.LEFT, why="it is just being filed: try again in a moment")
    if file not in names:
        why = "its file was gone before it could be filed"
        return replace(failed, fate=Fate.LEFT, why=why) if told.missing else replace(failed, fate=Fate.GONE)
    if name is None:
        return replace(failed, fate=Fate.LEFT, why="no pattern of the route matches its name")
    try:
        in_use = _in_use(route.failed / file, route.drop / name)
    except OSError as error:  # a name that is too long, say
        return replace(failed, fate=Fate.LEFT, why=error.strerror or "it cannot be moved")
    return replace(failed, fate=Fate.LEFT, why=IN_USE) if in_use else failed


# --- doing it --------------------------------------------------------------------------------------------


def _carry_out(route: Route, plan: Sequence[Failed]) -> Iterator[Failed]:
    for start in range(0, len(plan), _BATCH):
        planned = plan[start : start + _BATCH]
        batch = [_move(route, failed) if failed.fate is Fate.BACK else failed for failed in planned]
        try:
            if any(failed.fate is Fate.BACK for failed in batch):
                durable.sync_folder(route.drop)
                durable.sync_folder(route.failed)
        except OSError as error:
            yield from (_unfinished(failed, error) for failed in batch)
        else:
            yield from (_without_sidecar(route, failed) for failed in batch)


def _unfinished(failed: Failed, error: OSError) -> Failed:
    """It may be in the drop folder by now; its sidecar is still there, by which the next call finds what is left."""
    if failed.fate not in (Fate.BACK, Fate.GONE):
        return failed
    return replace(failed, fate=Fate.LEFT, why=f"not finished ({error.strerror}): call again")


def _without_sidecar(route: Route, failed: Failed) -> Failed:
    """The last step, for a file that has left failed/ for good."""
    try:
        if failed.fate in (Fate.BACK, Fate.GONE) and not durable.is_there(route.failed / failed.file):
            _drop_sidecar(route.failed / f"{failed.file}{ERROR_SUFFIX}", failed.sidecar)
    except OSError as error:
        return _unfinished(failed, error)
    return failed


def _move(route: Route, failed: Failed) -> Failed:
    """One file, back into the drop folder, where nothing is overwritten."""
    source, target = route.failed / failed.file, route.drop / failed.name
    try:
        durable.rename_new(source, target)
    except FileExistsError:
        if _in_use(source, target):
            return replace(failed, fate=Fate.LEFT, why=IN_USE)
        os.unlink(source)  # a crash came between link and unlink
    except FileNotFoundError:
        return replace(failed, fate=Fate.LEFT, why="it is no longer there")
    except OSError as error:
        why = "drop/ is on another file system: move it by hand" if error.errno == errno.EXDEV else error.strerror
        return replace(failed, fate=Fate.LEFT, why=why or "it cannot be moved")
    return failed


def _in_use(source: Path, target: Path) -> bool:
    """Whether ``target`` is there, and not by the same file as ``source``."""
    with suppress(FileNotFoundError):
        return not os.path.samestat(os.lstat(target), os.lstat(source))
    return False


def _drop_sidecar(path: Path, seen: Signature | None) -> None:
    """Remove the sidecar that was ``seen``. The file may have failed again by now, and have another one: that stays."""
    with suppress(FileNotFoundError):
        if look(path)[1] != seen:
            return
        # Aside first, so that what is removed is what was looked at. A start of canarysync sweeps such names.
        aside = path.with_name(f".canarysync-requeue-{secrets.token_hex(8)}.tmp")
        durable.rename_new(path, aside)
        if look(aside)[1] == seen:
            os.unlink(aside)
        else:
            durable.rename_new(aside, path)
