"""Retention (`keep:`): old files leave done/ with their receipts, and failed/ if that was asked for, a few at a time.

The ledger goes on knowing them. A file goes before its sidecar: what a crash leaves is a sidecar alone, which a lost
ledger can still be built from, and which goes at the next turn.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from canarysync import dated, sidecar, tree
from canarysync.candidates import ERROR_SUFFIX, RECEIPT_SUFFIX
from canarysync.config import Route
from canarysync.durable import is_there, sync_folder
from canarysync.errors import LedgerError
from canarysync.filing import FILE_MOST_BYTES, SIDECAR_MOST_BYTES
from canarysync.ledger import Entry, Filed, Ledger
from canarysync.logs import event
from canarysync.model import Kind, Signature
from canarysync.reading import Content, look, read
from canarysync.tree import remove_empty
from canarysync.workers import sign_of_life

_log = logging.getLogger(__name__)

TURN = 100
"""So many files at most are looked at in one turn, in each folder."""


_DECIDING = timedelta(hours=1)
"""No file takes longer from the choice of its dated folder to the record of that in the ledger."""


class _NotNow(Exception):
    """It cannot be read now, or its sidecar cannot, or is younger than the ledger says: at another turn, perhaps."""


class _Kept(Exception):
    """Not what we filed there, so that it is not ours to remove. Its argument says why."""


_GONE = "it was not there any more"


class Retention:
    """Of one route. ``turn`` is for the holder of its lock, and for one thread at a time."""

    def __init__(self, route: Route, route_id: str, ledger: Ledger, now: Callable[[], datetime], endpoint: str) -> None:
        self._route = route
        self._route_id = route_id
        self._ledger = ledger
        self._now = now
        self._endpoint = endpoint
        self._after: dict[Filed, Entry] = {}  # where the next turn begins: behind what could not be read
        self._trouble = ""
        self._emptied: set[Path] = set()  # folders out of which files went

    def turn(self) -> None:
        """Remove the oldest of what is older than it is to be kept. What goes wrong is said once, and tried again."""
        trouble = ""
        try:
            self._tidy(Filed.DONE, self._route.done, RECEIPT_SUFFIX, self._route.keep.done_s)
            self._tidy(Filed.FAILED, self._route.failed, ERROR_SUFFIX, self._route.keep.failed_s)
            self._remove_folders()
        except OSError as error:
            trouble = error.strerror or type(error).__name__
        except LedgerError as error:
            trouble = error.cause
        if trouble and trouble != self._trouble:
            event(_log, logging.WARNING, "old files cannot be removed now", route=self._route.name, why=trouble)
        self._trouble = trouble

    def _tidy(self, where: Filed, folder: Path, suffix: str, keep_s: float | None) -> None:
        if keep_s is None:
            return
        before = self._now() - timedelta(seconds=keep_s)
        expired = self._ledger.expired(self._route_id, where, before, self._after.pop(where, None), TURN)
        if not expired or not _has_any(folder, suffix, deep=where is Filed.DONE):  # it may not be mounted
            return
        if len(expired) == TURN:
            self._after[where] = expired[-1]
        going: list[_Pair] = []
        kept: dict[str, str] = {}
        for entry in expired:
            sign_of_life()
            with suppress(_NotNow):
                try:
                    going.append(self._judge(entry, folder, suffix, before))
                except _Kept as why:
                    kept[entry.id] = str(why)
        going = _remove(going)
        self._emptied |= {pair.file.parent for pair in going} - {folder}
        if going or kept:
            self._ledger.let_go({pair.entry_id: "" if pair.there else _GONE for pair in going}, kept, self._now())
        self._tell(where, sum(pair.there for pair in going), [(e.target, kept[e.id]) for e in expired if e.id in kept])

    def _remove_folders(self) -> None:
        """Dated folders that are empty now go too, once no file will come any more: not today's, nor one into which
        something is still to be filed."""
        if not self._emptied:
            return
        done, now = self._route.done, self._now()
        targets = (entry.target for entry in self._ledger.open_entries(self._route_id))
        needed = {(done / target).parent for target in targets if target}
        needed |= {done / dated.folder_at(self._route.dated, at) for at in (now, now - _DECIDING)}
        for folder in self._emptied - needed:
            remove_empty(folder, {done, *needed, *(above for each in needed for above in each.parents)})
        self._emptied &= needed

    def _tell(self, where: Filed, removed: int, kept: Sequence[tuple[str | None, str]]) -> None:
        route = self._route.name
        if removed:
            event(_log, logging.INFO, "old files removed", route=route, folder=str(where), files=removed)
        for name, why in kept:
            event(_log, logging.WARNING, "an old file is kept for good", route=route, file=f"{where}/{name}", why=why)

    def _judge(self, entry: Entry, folder: Path, suffix: str, before: datetime) -> _Pair:
        """What of ``entry`` is there and may go. Raises _NotNow, _Kept."""
        assert entry.target is not None
        file, beside = folder / entry.target, folder / f"{entry.target}{suffix}"
        told = _read(beside, SIDECAR_MOST_BYTES)
        if told is None:
            if is_there(file):
                raise _Kept("it has no sidecar")
            return _Pair(entry.id, file, beside)
        past = sidecar.past(told.data, entry.target, self._route_id, self._endpoint)
        if past is not None and past.entry_id != entry.id:  # ours is gone, and a later one has come in its place
            return _Pair(entry.id, file, beside)
        if past is None or (past.sha256, past.uuid) != (entry.sha256, entry.uuid):
            raise _Kept("its sidecar is not as we wrote it")
        if past.at >= before:
            raise _NotNow
        return _Pair(entry.id, file, beside, there=True, signature=_signature(file, entry))


@dataclass(frozen=True, slots=True)
class _Pair:
    """A file and its sidecar on their way out. ``there``: the sidecar is. ``signature`` is that of the file; None
    where only the sidecar is left."""

    entry_id: str
    file: Path
    sidecar: Path
    there: bool = False
    signature: Signature | None = None


def _remove(pairs: Sequence[_Pair]) -> list[_Pair]:
    """The files first, and for good, then their sidecars: never is a file left that nothing tells of. Returns those
    that are gone now."""
    for pair in pairs:
        if pair.signature is not None and look(pair.file)[1] == pair.signature:
            pair.file.unlink(missing_ok=True)
    gone = [pair for pair in pairs if not pair.there or not is_there(pair.file)]
    folders = {pair.sidecar.parent for pair in gone if pair.there}
    for folder in folders:
        sync_folder(folder)
    for pair in gone:
        if pair.there:
            pair.sidecar.unlink(missing_ok=True)
    for folder in folders:
        sync_folder(folder)
    return gone


def _signature(file: Path, entry: Entry) -> Signature | None:
    """Of the file, if it still is that of ``entry``; None when it is gone. Raises _NotNow, _Kept."""
    if entry.sha256 is None:  # a link, say, or a file that was too large to be read
        kind, seen = look(file)
        if kind is Kind.UNREADABLE:
            raise _NotNow
        if seen is not None and seen.size_bytes != entry.signature.size_bytes:
            raise _Kept("it was altered")
        return seen
    content = _read(file, entry.signature.size_bytes or FILE_MOST_BYTES)
    if content is not None and content.sha256 != entry.sha256:
        raise _Kept("it was altered")
    return content.signature if content is not None else None


def _read(path: Path, most_bytes: int) -> Content | None:
    """What is in a file; None when it is not there. Raises _NotNow; _Kept for what we would never have put there."""
    content = read(path, most_bytes)
    if isinstance(content, Content):
        return content
    if content.changing or content.kind is Kind.UNREADABLE:
        raise _NotNow
    if content.kind is Kind.MISSING and content.signature is None:
        return None
    raise _Kept("it was altered")


def _has_any(folder: Path, suffix: str, *, deep: bool) -> bool:
    return any(name.endswith(suffix) for name in tree.names(folder, deep=deep))
