"""One at a time: a lock on a file that says who holds it, and a look at such a file from outside."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from canarysync.display import shown
from canarysync.errors import HeldError
from canarysync.instant import for_people, for_programs

_PEEKS_S = 1.0
_LAST_REQUESTS_S = 10.0


class Lock:
    """An flock(2) on a file whose second line says who holds it. The first line belongs to the caller.

    ``note`` is what the caller, or a holder before it, left beside its name: None where nobody ever did, empty where
    it cannot be read.
    """

    def __init__(self, path: Path, first_line: bytes, *, create: bool = True) -> None:
        """Take the lock on ``path``, or raise HeldError naming the holder. A new file gets ``first_line``."""
        self.path = path
        self._place = str(path)
        self._fd = _open(path, os.O_RDWR | (os.O_CREAT if create else 0) | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            self._take()
            here = os.fstat(self._fd)
            self._identity = here.st_ino, here.st_dev  # no other file's, while this one is open
            self.note: str | None = None
            self._line = self.first_line()
            if self._line:
                note = _second_line_of(self._fd).get("note", "")
                self.note = note if note is None else str(note)
            else:
                self._line = first_line.rstrip(b"\n")
            self._since = for_programs(datetime.now(UTC))
            self._sign(self.note)
        except BaseException:
            os.close(self._fd)
            raise

    def _take(self) -> None:
        began_s = time.monotonic()
        while not _locked(self._fd, fcntl.LOCK_EX):
            waited_s = time.monotonic() - began_s
            if waited_s < _PEEKS_S and _locked(self._fd, fcntl.LOCK_SH):
                continue  # nobody works with it: someone is having a look (``peek``), for some microseconds
            if waited_s < _LAST_REQUESTS_S and _has_died(_second_line_of(self._fd)):
                time.sleep(0.005)  # the process that makes its requests ends as soon as it notices
                continue
            self._refuse()

    def _refuse(self) -> NoReturn:
        raise HeldError(
            "take the lock",
            str(self.path),
            f"held by {_holder_in(_second_line_of(self._fd))}",
            "only one canarysync may work on a folder; stop the other one, or leave the work to it",
        )

    def first_line(self) -> bytes:
        """The caller's line, without its end; empty when it was never written to the end."""
        return _first_line_of(self._fd)

    def same_file(self) -> bool:
        """Whether the path still leads to the file that is locked."""
        try:
            there = os.lstat(self._place)
        except OSError:  # nothing is there
            return False
        return self._fd >= 0 and (there.st_ino, there.st_dev) == self._identity

    @property
    def fd(self) -> int:
        """The descriptor: a process that inherits it holds the lock too, until it ends."""
        return self._fd

    def leave_note(self, note: str) -> None:
        """Keep ``note`` (one short line) with the lock, durably, for whoever takes it next."""
        if note != self.note:
            self._sign(note)
            self.note = note

    def _sign(self, note: str | None) -> None:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": self._since, "note": note}
        # Both lines in one write, far shorter than a sector; the first one is what it was, or should have been.
        content = self._line + b"\n" + json.dumps(holder).encode() + b"\n"
        os.pwrite(self._fd, content, 0)
        os.ftruncate(self._fd, len(content))
        os.fsync(self._fd)

    def release(self) -> None:
        """Let go; the file stays."""
        os.close(self._fd)
        self._fd = -1  # the number may soon be another file's


@dataclass(frozen=True, slots=True)
class Peek:
    """A Lock's file as somebody else sees it. ``holder`` says in words who works with it, and is empty when nobody
    does; ``pid`` and ``since`` are of the last one that did. ``note`` is that of ``Lock``."""

    first_line: bytes
    holder: str
    pid: int | None
    since: str
    note: str | None


def peek(path: Path) -> Peek:
    """Look at a Lock without taking it: it is shared for an instant, which nobody who takes it notices. Raises
    OSError."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        first_line, signed = _first_line_of(fd), _second_line_of(fd)
        held = not _locked(fd, fcntl.LOCK_SH)
    finally:
        os.close(fd)
    pid, note = signed.get("pid"), signed.get("note", "")
    return Peek(
        first_line,
        _holder_in(signed) if held else "",
        pid if isinstance(pid, int) else None,
        str(signed.get("since", "")),
        note if note is None else str(note),
    )


def _open(path: Path, flags: int) -> int:
    """Never as 0, 1 or 2, where these are closed: a process that is to inherit it has something else there."""
    fd = os.open(path, flags, 0o660)
    if fd > 2:
        return fd
    try:
        return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 3)
    finally:
        os.close(fd)


def _locked(fd: int, how: int) -> bool:
    try:
        fcntl.flock(fd, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _first_line_of(fd: int) -> bytes:
    line, end, _ = os.pread(fd, 4096, 0).partition(b"\n")
    return line if end else b""


def _second_line_of(fd: int) -> dict[str, Any]:
    """What the holder wrote; empty where that is nothing, or torn."""
    try:
        found = json.loads(os.pread(fd, 4096, 0).split(b"\n")[1])
    except (IndexError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _has_died(signed: Mapping[str, Any]) -> bool:
    """Whether the holder was killed, on this machine."""
    try:
        os.kill(int(signed["pid"]), 0)
    except ProcessLookupError:
        return bool(signed.get("host") == socket.gethostname())
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        pass
    return False


def _holder_in(signed: Mapping[str, Any]) -> str:
    try:
        since = for_people(datetime.fromisoformat(signed["since"]))
        return f"process {int(signed['pid'])} on {shown(str(signed['host']), 64)} since {since}"
    except (ValueError, KeyError, TypeError, OverflowError):
        return "another process"
