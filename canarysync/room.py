"""Is there a place for what will be filed? Looked at before anything is sent."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path

from canarysync import durable

ROOM_BYTES = 256 << 10
"""So much has to be free where a file will be filed, before its score is sent: a sidecar, for each of many workers."""


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


def obstacle(source: Path, folders: tuple[Path, ...]) -> str:
    """Why ``source`` could not be moved into ``folders`` later on; empty when nothing stands in the way."""
    if reason := no_place(source.parent, folders):
        return reason
    parent, file, user = os.stat(source.parent), os.lstat(source), os.geteuid()
    if parent.st_mode & stat.S_ISVTX and user not in (0, parent.st_uid, file.st_uid):
        return f"{source.parent.name}/ has the sticky bit, and the file belongs to another user"
    return ""
