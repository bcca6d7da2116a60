"""What is in the drop folder? Scans tell; inotify's events only say when to look (DESIGN: events are hints)."""

from __future__ import annotations

import ctypes
import errno
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from struct import Struct
from typing import NamedTuple, TypeVar

from watchdog.observers.inotify_c import InotifyConstants, Mask, inotify_add_watch, inotify_init, inotify_rm_watch

from canarysync.candidates import Matcher, Skipped

R = TypeVar("R", bound=int)

SUBFOLDERS = "subfolders"

_MASK = Mask(
    InotifyConstants.IN_CREATE  # which is all that is told of a hard link
    | InotifyConstants.IN_MOVED_TO
    | InotifyConstants.IN_CLOSE_WRITE
    | InotifyConstants.IN_ONLYDIR
)
_EVENT = Struct("iIII")  # wd, mask, cookie, and the length of the name that follows
_READ_BYTES = 65536

_BURST_PAUSE_S = 0.005
"""Where several files came at once, more are to be expected: so long they gather in the kernel's queue, which has room
for 16,384 events, and are told of together."""

_LIMITS = {errno.ENOSPC: "inotify watch limit reached", errno.EMFILE: "inotify instance limit reached"}
"""What these mean here."""


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


class Hints(NamedTuple):
    """What a watch was told of since it last said so."""

    names: Collection[str]
    """They deserve a look; each is there once."""
    overflowed: bool
    """There was more, which is lost: only a scan tells."""


class Watch:
    """A live inotify watch that calls ``hint`` from a thread of its own, whenever names deserve a look."""

    def __init__(self, folder: Path, hint: Callable[[Hints], None]) -> None:
        """Arm the watch. Raises OSError where there is none to be had (limits, odd file systems, no thread)."""
        self._hint = hint
        self._stopped = False
        self._thread = threading.Thread(target=self._listen, name="watch", daemon=True)
        self._fd = _checked(inotify_init())
        try:
            os.set_inheritable(self._fd, False)
            self._wd = _checked(inotify_add_watch(self._fd, os.fsencode(folder), _MASK))
            self._thread.start()
        except RuntimeError as error:
            os.close(self._fd)
            raise OSError(errno.EAGAIN, str(error)) from None
        except OSError:
            os.close(self._fd)
            raise

    def alive(self) -> bool:
        """False once it is known to be dead. True proves nothing: that is what rescans are for."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Disarm, and wait for the thread to end."""
        if self._stopped:
            return
        self._stopped = True
        inotify_rm_watch(self._fd, self._wd)  # of which the thread is told; where the folder is gone, it was before
        self._thread.join(timeout=5.0)
        if not self._thread.is_alive():  # else it may yet read from it
            os.close(self._fd)

    def _listen(self) -> None:
        masks = 0
        while not (self._stopped or masks & InotifyConstants.IN_IGNORED):
            masks, names = _told(os.read(self._fd, _READ_BYTES))
            overflowed = bool(masks & InotifyConstants.IN_Q_OVERFLOW)
            if names or overflowed:
                self._hint(Hints(names, overflowed))
            if len(names) > 1:
                time.sleep(_BURST_PAUSE_S)


def _told(events: bytes) -> tuple[int, Collection[str]]:
    """What a read has brought (inotify(7), "Reading events"): all masks in one, and the names of files, each once."""
    masks, at = 0, 0
    names: dict[bytes, None] = {}
    while at < len(events):
        _, mask, _, length = _EVENT.unpack_from(events, at)
        at += _EVENT.size + length
        masks |= mask
        if length and not mask & InotifyConstants.IN_ISDIR:
            names[events[at - length : at].rstrip(b"\0")] = None
    return masks, [os.fsdecode(name) for name in names]


def _checked(result: R) -> R:
    """What a function of the C library returned, which is -1 if it failed."""
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, _LIMITS.get(number) or os.strerror(number))
    return result
