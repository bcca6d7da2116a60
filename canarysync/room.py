"""Is there a place for what will be filed? Looked at before anything is sent."""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from canarysync import durable

ROOM_BYTES = 1 << 20
"""So much has to be free where a file will be filed, before its score is sent: room for the sidecars of as many files
as may be on their way at once (some 128), and of those that share a look (``SHARED_BY``): 4 KiB for each, and some to
spare."""

SHARED_BY = 32
"""For so many files, one look will do,"""

SHARED_FOR_S = 0.1
"""and for so long, unless a file could not be filed meanwhile: what goes wrong after it might as well have done so
after a look of the file's own."""


def no_place(drop: Path, filed: Iterable[Path]) -> str:
    """Why nothing could be moved from ``drop`` to the folders ``filed`` now; empty when nothing stands in the way."""
    for folder in (drop, *filed):
        if not folder.is_dir():
            return f"{folder.name}/ is not there"
        if not os.access(folder, os.W_OK | os.X_OK):
            return f"no right to write in {folder.name}/"
        try:
            if folder != drop and not durable.has_room(folder, ROOM_BYTES):
                return f"no room in {folder.name}/"
        except OSError:  # gone in this very moment
            return f"{folder.name}/ cannot be looked at"
    return ""


class Room:
    """Where the files of one drop folder will be filed, looked at for many of them together. Safe to call from many
    threads. Only that nothing stands in the way is kept in mind; an obstacle is looked at anew by each file."""

    def __init__(self, drop: Path, filed: Callable[[], tuple[Path, ...]]) -> None:
        """``filed`` tells into which folders files go now."""
        self._drop = drop
        self._filed = filed
        self._changing = threading.Lock()
        self._left = 0
        self._until_s = 0.0
        self._sticky = False

    def obstacle(self, name: str) -> str:
        """Why the file of this name could not be moved later on; empty when nothing stands in the way. Raises
        FileNotFoundError where it is noticed that it is not there."""
        if not self._looked() and (reason := self._look()):
            return reason
        if self._sticky and os.lstat(self._drop / name).st_uid != os.geteuid():
            return f"{self._drop.name}/ has the sticky bit, and the file belongs to another user"
        return ""

    def look_anew(self) -> None:
        """Something was in the way after all."""
        with self._changing:
            self._left = 0

    def _looked(self) -> bool:
        """Whether the last look will do for one more."""
        with self._changing:
            self._left -= 1
            return self._left >= 0 and time.monotonic() < self._until_s

    def _look(self) -> str:
        since_s = time.monotonic()
        if reason := no_place(self._drop, self._filed()):
            return reason
        drop = os.stat(self._drop)
        with self._changing:
            self._left, self._until_s = SHARED_BY - 1, since_s + SHARED_FOR_S
            # Of a sticky folder, only its owner and root may take out what is not their own.
            self._sticky = bool(drop.st_mode & stat.S_ISVTX) and os.geteuid() not in (0, drop.st_uid)
        return ""
