"""What is in the drop folder? Scans tell; watchdog's events only say when to look (DESIGN: events are hints)."""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from watchdog.events import FileSystemEvent, FileSystemEventHandler
from watchdog.observers.api import BaseObserver
from watchdog.observers.inotify import InotifyEmitter
from watchdog.observers.inotify_c import InotifyConstants, Mask

from canarysync.candidates import Matcher, Skipped

_log = logging.getLogger(__name__)

SUBFOLDERS = "subfolders"


class Scan:
    """One pass over a drop folder, a name at a time; a folder of a million files is never held in memory.

    ``skipped`` counts what was left alone, by reason; it is complete once the iteration is.
    """

    def __init__(self, folder: Path, matcher: Matcher) -> None:
        self._folder = folder
        self._matcher = matcher
        self.skipped: Counter[str] = Counter()

    def __iter__(self) -> Iterator[str]:
        """Yield the names of candidates, in the folder's own order. Raises OSError when it cannot be listed."""
        with os.scandir(self._folder) as entries:
            for entry in entries:
                reason = self._matcher.skipped(entry.name)
                if reason is Skipped.OURS:
                    continue
                if entry.is_dir(follow_symlinks=False):
                    self.skipped[SUBFOLDERS] += 1
                elif reason is None:
                    yield entry.name
                else:
                    self.skipped[str(reason)] += 1


class _DropEmitter(InotifyEmitter):
    """Without IN_MOVED_FROM: filing moves files out of the folder, and watchdog would hold back every event
    behind such a move for up to half a second, waiting for its other half."""

    def get_event_mask_from_filter(self) -> Mask:
        return Mask(
            InotifyConstants.IN_CREATE
            | InotifyConstants.IN_MOVED_TO
            | InotifyConstants.IN_CLOSE_WRITE
            | InotifyConstants.IN_DELETE_SELF
        )


class _Hints(FileSystemEventHandler):
    def __init__(self, hint: Callable[[str], None]) -> None:
        self._hint = hint

    def on_any_event(self, event: FileSystemEvent) -> None:
        if not event.is_directory:
            self._hint(os.path.basename(os.fsdecode(event.src_path)))


class Watch:
    """A live inotify watch that calls ``hint(name)`` from a thread of its own, whenever a name deserves a look."""

    def __init__(self, folder: Path, hint: Callable[[str], None]) -> None:
        """Arm the watch. Raises OSError where there is none to be had (limits, odd file systems, no thread)."""
        self._observer = BaseObserver(_DropEmitter, timeout=1.0)
        self._observer.schedule(_Hints(hint), str(folder), recursive=False)
        try:
            self._observer.start()
        except RuntimeError as error:
            self._observer.unschedule_all()
            raise OSError(errno.EAGAIN, str(error)) from None

    def alive(self) -> bool:
        """False once it is known to be dead. True proves nothing: that is what rescans are for."""
        return self._observer.is_alive() and all(emitter.is_alive() for emitter in self._observer.emitters)

    def stop(self) -> None:
        """Disarm, and wait for the thread to end."""
        self._observer.stop()
        self._observer.join(timeout=5.0)
