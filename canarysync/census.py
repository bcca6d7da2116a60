"""One route's files, counted: where each of them stands, by its folders and the ledger. Changes nothing."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from heapq import nsmallest
from itertools import islice
from pathlib import Path

from canarysync import sidecar, waiting
from canarysync.candidates import ERROR_SUFFIX, Matcher
from canarysync.config import Route
from canarysync.deadlines import in_time
from canarysync.discover import Scan
from canarysync.filing import SIDECAR_MOST_BYTES
from canarysync.folder import GONE, absence, filing_places
from canarysync.ledger import DECIDED, DONE, FAILED, Counts, Entry, Ledger
from canarysync.model import State
from canarysync.reading import Content, read
from canarysync.room import no_place

LISTED_MOST = 20
"""So many files of each kind are named."""

NOT_CONFIGURED = "not in the config"
NOT_LOOKED_AT = "not looked at: others are older"

_FOLDERS_S = 30.0
_TRIES = 3
_HUNG = f"the folders do not answer within {_FOLDERS_S:g} s (a share that hangs?)"
_NOTHING = Counts(0, 0, 0, {})


@dataclass(frozen=True, slots=True)
class OpenFile:
    """One file that is not at its end. ``entry_id`` is None while the ledger does not know of it."""

    file: str
    why: str
    since: datetime
    entry_id: str | None = None
    state: str = "waiting"
    held: bool = False
    attempts: int = 0
    again_at: datetime | None = None
    assessment_id: str | None = None


@dataclass(frozen=True, slots=True)
class ToMend:
    """One file in failed/, and the first thing that is wrong with it, as its sidecar says."""

    file: str
    code: str
    why: str


@dataclass(frozen=True, slots=True)
class Census:
    """Where a route's files stand. ``gone`` says why its drop folder is not to be had, ``obstacle`` why nothing is
    sent; both are empty when all is well.

    ``waiting`` counts the files in drop/ that are not in doubt, ``in_doubt`` also those that are held. ``waits``,
    ``doubts`` and ``unfiled`` (whose outcome is known, and counted, and that could not be moved yet) name the first
    few, the oldest first. ``missing`` are those that were ``seen`` and are in none of these places: there ought to be
    none. ``done`` and ``failed`` count all that there ever were, ``to_mend`` what lies in failed/ now.
    """

    gone: str = ""
    obstacle: str = ""
    seen: int = 0
    waiting: int = 0
    waiting_by_why: Mapping[str, int] = field(default_factory=dict)
    oldest_at: datetime | None = None
    waits: Sequence[OpenFile] = ()
    in_doubt: int = 0
    held: int = 0
    doubts: Sequence[OpenFile] = ()
    unfiled: Sequence[OpenFile] = ()
    missing: Sequence[str] = ()
    done: int = 0
    failed: int = 0
    failed_by_code: Mapping[str, int] = field(default_factory=dict)
    withdrawn: int = 0
    to_mend: int = 0
    to_mend_by_code: Mapping[str, int] = field(default_factory=dict)
    mend: Sequence[ToMend] = ()
    done_1h: int = 0
    done_24h: int = 0
    failed_24h: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Folders:
    """What the folders of a route hold. ``here`` are those of the ledger's files that are in drop/. Of the others there
    it counts the ``new``, of which there may be a million, and tells of the ``oldest`` why they wait. ``to_mend`` has
    the code of each file in failed/ that has an error sidecar, ``mend`` the first of them."""

    gone: str = ""
    obstacle: str = ""
    here: Container[str] = ()
    new: int = 0
    oldest: Sequence[OpenFile] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    to_mend: Mapping[str, str] = field(default_factory=dict)
    mend: Sequence[ToMend] = ()


@dataclass(frozen=True, slots=True)
class Counting:
    """Counts routes' files. ``ledger`` is None before the first start. ``running``: a canarysync is at work, so that
    what is intended is being sent. ``idle`` says why a file waits that nothing about itself keeps, ``obstacle`` why
    nothing is sent from any route; empty when nothing stands in the way."""

    ledger: Ledger | None
    now: datetime
    running: bool
    idle: str
    obstacle: str = ""

    def census(self, route: Route) -> Census:
        """Count a configured route's files."""
        for _ in range(_TRIES):  # what seems missing may have moved on meanwhile
            made = self._census(route)
            if not made.missing:
                break
        return made

    def left_behind(self, route_id: str) -> Census:
        """The same of a route that is not in the config any more: what the ledger knows of it."""
        return self._counted(_Folders(gone=NOT_CONFIGURED), route_id, self._entries(route_id))

    def _census(self, route: Route) -> Census:
        route_id = self.ledger.routes().get(route.name) if self.ledger else None
        entries = self._entries(route_id)
        known = {entry.name for entry in entries if not entry.detached}
        try:
            folders = in_time(lambda: self._look(route, route_id, known), _FOLDERS_S)
        except TimeoutError:
            folders = _Folders(gone=_HUNG)
        except OSError as error:
            folders = _Folders(gone=f"the folders cannot be looked at: {error.strerror}")
        return self._counted(folders, route_id, entries)

    def _entries(self, route_id: str | None) -> Sequence[Entry]:
        return self.ledger.open_entries(route_id) if self.ledger and route_id else ()

    # --- the folders ---------------------------------------------------------------------------------

    def _look(self, route: Route, route_id: str | None, known: Container[str]) -> _Folders:
        to_mend = self._to_mend(route_id, _with_errors(route.failed))
        mend = [_mending(route.failed, *each) for each in islice(to_mend.items(), LISTED_MOST)]
        folders = _Folders(to_mend=to_mend, mend=mend)
        if route_id and (gone := absence(route.drop, route_id)):
            return replace(folders, gone=gone)
        scan, here = Scan(route.drop, Matcher(route.match)), set[str]()
        try:
            new, oldest = _oldest_of(route.drop, _unknown(scan, known, here))
        except (FileNotFoundError, NotADirectoryError):
            return replace(folders, gone=GONE)
        except OSError as error:
            return replace(folders, gone=f"the drop folder cannot be listed: {error.strerror}")
        obstacle = self.obstacle or no_place(route.drop, filing_places(route, self.now))
        idle = f"not sent: {obstacle}" if obstacle else self.idle
        return replace(
            folders,
            obstacle=obstacle,
            here=here,
            new=new,
            oldest=[OpenFile(name, self._why(route, name, idle), since) for since, name in oldest],
            skipped=dict(scan.skipped),
        )

    def _why(self, route: Route, name: str, idle: str) -> str:
        owner_of = self.ledger.owner if self.ledger else lambda fingerprint: None
        return waiting.reason(route.drop / name, route.max_size_bytes, owner_of, otherwise=idle)

    # --- the sums ------------------------------------------------------------------------------------

    def _counted(self, folders: _Folders, route_id: str | None, entries: Sequence[Entry]) -> Census:
        ever, day, hour = (self._counts(route_id, hours) for hours in (None, 24, 1))
        waits, doubts, unfiled, missing = [], [], [], []
        for entry in entries:
            if entry.state in DECIDED:
                unfiled.append(self._told(entry))
            elif entry.state is State.IN_DOUBT or (entry.state is State.INTENDED and not self.running):
                doubts.append(self._told(entry))
            elif entry.state is State.DEFERRED and not folders.gone and entry.name not in folders.here:
                missing.append(entry.name)
            else:
                waits.append(self._told(entry))
        waits += folders.oldest
        others = folders.new - len(folders.oldest)
        return Census(
            gone=folders.gone,
            obstacle=folders.obstacle,
            seen=folders.new + len(entries) + ever.done + ever.failed,
            waiting=len(waits) + others,
            waiting_by_why=dict(Counter(wait.why for wait in waits) + Counter({NOT_LOOKED_AT: others})),
            oldest_at=min((each.since for each in (*waits, *doubts, *unfiled) if not each.held), default=None),
            waits=_oldest(waits),
            in_doubt=len(doubts),
            held=sum(doubt.held for doubt in doubts),
            doubts=_oldest(doubts),
            unfiled=_oldest(unfiled),
            missing=missing[:LISTED_MOST],
            # What is decided but not filed counts where it is going: its outcome stands.
            done=ever.done + sum(entry.state in DONE for entry in entries),
            failed=ever.failed + sum(entry.state in FAILED for entry in entries),
            failed_by_code=ever.codes,
            withdrawn=ever.withdrawn,
            to_mend=len(folders.to_mend),
            to_mend_by_code=dict(Counter(folders.to_mend.values())),
            mend=folders.mend,
            done_1h=hour.done,
            done_24h=day.done,
            failed_24h=day.codes,
            skipped=folders.skipped,
        )

    def _counts(self, route_id: str | None, hours: int | None) -> Counts:
        if self.ledger is None or route_id is None:
            return _NOTHING
        return self.ledger.counts(route_id, self.now - timedelta(hours=hours) if hours else None)

    def _to_mend(self, route_id: str | None, errors: Collection[str]) -> Mapping[str, str]:
        """The files in failed/, those that came last first, each with its code."""
        known = self.ledger.failures(route_id) if self.ledger and route_id and errors else {}
        mend = {name: code for name, code in reversed(list(known.items())) if name in errors}
        return mend | {name: "unknown to the ledger" for name in errors if name not in mend}

    def _told(self, entry: Entry) -> OpenFile:
        interrupted = "is being sent" if self.running else "interrupted"
        return OpenFile(
            file=entry.name,
            why="a person has decided: done at the next scan" if entry.resolution else entry.reason or interrupted,
            since=entry.created_at,
            entry_id=entry.id,
            state=str(entry.state),
            held=entry.held is not None and entry.resolution is None,
            attempts=entry.attempts,
            again_at=None if entry.resolution else entry.retry_at,
            assessment_id=entry.assessment_id or None,
        )


def _oldest(files: Iterable[OpenFile]) -> Sequence[OpenFile]:
    return nsmallest(LISTED_MOST, files, key=lambda each: (each.since, each.file))


def _unknown(names: Iterable[str], known: Container[str], here: set[str]) -> Iterator[str]:
    """Those of the names that are not ``known``; the others are noted in ``here``."""
    for name in names:
        if name in known:
            here.add(name)
        else:
            yield name


def _oldest_of(drop: Path, names: Iterable[str]) -> tuple[int, Sequence[tuple[datetime, str]]]:
    """How many files there are, and which are there as they are for longest: by the last change of the inode, which a
    copy or a move into the folder sets, and no tool sets back. Files that have left are left out. No more names are
    held than are returned."""
    ages = _Ages(drop, names)
    oldest = nsmallest(LISTED_MOST, ages)
    return ages.seen, [(datetime.fromtimestamp(changed_s, UTC), name) for changed_s, name in oldest]


class _Ages:
    """When each file was changed last (seconds since the epoch), and its name; ``seen`` counts them on the way."""

    def __init__(self, drop: Path, names: Iterable[str]) -> None:
        self._drop = str(drop)
        self._names = names
        self.seen = 0

    def __iter__(self) -> Iterator[tuple[float, str]]:
        for name in self._names:
            try:
                changed_s = os.lstat(f"{self._drop}/{name}").st_ctime
            except FileNotFoundError:
                continue
            self.seen += 1
            yield changed_s, name


def _mending(failed: Path, file: str, code: str) -> ToMend:
    content = read(failed / f"{file}{ERROR_SUFFIX}", SIDECAR_MOST_BYTES)
    told = sidecar.failure(content.data) if isinstance(content, Content) else None
    return ToMend(file, code, told.why if told else "its error sidecar cannot be read")


def _with_errors(failed: Path) -> frozenset[str]:
    try:
        names = os.listdir(failed)
    except OSError:  # no_place tells of it
        return frozenset()
    return frozenset(name.removesuffix(ERROR_SUFFIX) for name in names if name.endswith(ERROR_SUFFIX))
