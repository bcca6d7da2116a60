"""Filing away: an entry whose outcome is known, to its place, with its sidecar. Steps 4 to 6 of the way."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from canarysync import dated, filing, moving, sidecar
from canarysync.answers import Refused
from canarysync.candidates import ERROR_SUFFIX, RECEIPT_SUFFIX
from canarysync.config import Route
from canarysync.filing import TargetTaken
from canarysync.folder import filing_places
from canarysync.ledger import DONE, Entry, Ledger
from canarysync.model import Problem, Rejection, Score
from canarysync.moving import Move
from canarysync.passes import ON_DISK, OnDisk, Pass
from canarysync.reading import Content
from canarysync.room import Room
from canarysync.tree import DatedFolders

Details = Score | Rejection | Refused | None
"""What is known of the file beyond its entry; None after a crash, when the file is gone."""

_MOST_NAMES = 3


@dataclass(frozen=True, slots=True)
class Unfiled:
    """The move failed for now; the outcome stands, and no request will follow from this."""

    reason: str


class Archive:
    """The done/ and failed/ folders of one route."""

    def __init__(
        self, route: Route, present: Callable[[], bool], ledger: Ledger, now: Callable[[], datetime], endpoint: str
    ) -> None:
        self._drop, self._done, self._failed = str(route.drop), str(route.done), str(route.failed)
        self._room = Room(route.drop, lambda: filing_places(route, now()))
        self._present = present
        self._ledger = ledger
        self._now = now
        self._endpoint = endpoint
        self._pattern = route.dated
        self._dated = DatedFolders(self._done)

    def obstacle(self, name: str) -> str:
        """As ``Room`` has it."""
        return self._room.obstacle(name)

    def done_name(self, name: str, at: datetime) -> str:
        """The name that a file will have in done/, whose outcome was recorded at a time: with its dated folder before
        it, if the route has such."""
        inside = dated.folder_at(self._pattern, at)
        if not inside:
            return self._free_name(self._done, name, RECEIPT_SUFFIX)
        return f"{inside}/{self._free_name(f'{self._done}/{inside}', name, RECEIPT_SUFFIX)}"

    def failed_name(self, name: str) -> str:
        """The name that a file will have in failed/; a sidecar there whose file has left makes way."""
        self._drop_stale_error(name)
        return self._free_name(self._failed, name, ERROR_SUFFIX)

    def _free_name(self, folder: str, name: str, suffix: str) -> str:
        return moving.free_name(folder, name, suffix, self._tag)

    def _tag(self) -> str:
        return f"{self._now():%Y%m%dT%H%M%S}-{os.urandom(3).hex()}"

    def file_away(
        self, entry: Entry, content: Content | None, details: Details, *, again: bool
    ) -> Pass[Entry | Unfiled]:
        """Move the file, write the sidecar, make both durable. May be repeated after a crash at any point, ``again``
        then; it is not when the outcome was recorded in this very pass."""
        done = entry.state in DONE
        try:
            for _ in range(_MOST_NAMES):
                move = self._move(entry, content, details, again)
                try:
                    if done:
                        self._dated.make(move.folder)
                    yield from filing.file_away(move)
                    yield OnDisk(folders=(move.folder,))
                    with suppress(FileNotFoundError, NotADirectoryError):  # a folder that has gone keeps nothing
                        yield OnDisk(folders=(move.drop,))
                    break
                except TargetTaken:  # by a file that someone put there since the name was chosen
                    free = self.done_name(entry.name, entry.changed_at) if done else self.failed_name(entry.name)
                    entry, again = self._ledger.retarget(entry, free), True
                    yield ON_DISK
            else:
                return Unfiled("no free name for it")
        except OSError as error:
            self._room.look_anew()
            return Unfiled(f"cannot be filed: {error.strerror or type(error).__name__}")
        self._ledger.filed(entry, self._now())
        if done and not entry.detached:
            self._drop_stale_error(entry.name)
        return entry

    def is_there(self, entry: Entry) -> bool:
        """Whether the drop folder has a file of the entry's name: another one, once the entry's own is filed."""
        return not entry.detached and os.path.lexists(f"{self._drop}/{entry.name}")

    def _drop_stale_error(self, name: str) -> None:
        """An error sidecar of that name, whose file has left failed/, has had its day."""
        with suppress(OSError):  # whatever state the folder is in, the outcome stands
            filing.drop_stale_error(self._failed, name, ERROR_SUFFIX)

    def _move(self, entry: Entry, content: Content | None, details: Details, again: bool) -> Move:
        done = entry.state in DONE
        assert entry.target is not None
        folder, _, target = f"{self._done if done else self._failed}/{entry.target}".rpartition("/")
        return Move(
            entry_id=entry.id,
            drop=self._drop,
            # A detached entry has no file any more; what bears its name now is another one.
            source=None if entry.detached else f"{self._drop}/{entry.name}",
            folder=folder,
            target=target,
            suffix=RECEIPT_SUFFIX if done else ERROR_SUFFIX,
            signature=entry.signature,
            sha256=entry.sha256,
            sidecar=lambda missing: self._sidecar(entry, details, missing),
            present=self._present,
            content=content.data if content is not None and content.sha256 == entry.sha256 else None,
            again=again,
        )

    def _sidecar(self, entry: Entry, details: Details, missing: bool) -> bytes:
        if entry.state in DONE:
            score_id = details.score_id if isinstance(details, Score) else None
            return sidecar.receipt(entry, self._endpoint, score_id, missing=missing)
        assert entry.code is not None
        message = sidecar.message_for(entry.code, entry.status)
        problems: tuple[Problem, ...] = ()
        if isinstance(details, Rejection):
            message, problems = details.message, details.problems
        response = details.words if isinstance(details, Refused) else None
        return sidecar.error(entry, message, problems, response, missing=missing)
