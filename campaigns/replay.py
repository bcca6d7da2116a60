"""What a recorded run did, told to a disk and an API that only pretend."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path, PurePath

from campaigns.disk import Disk, Held
from campaigns.trace import Call
from canarysync.sandbox import StoredScore

SYNCS = ("fsync", "fdatasync", "syncfs")

LEFT_OUT = ("log", "canarysync.yaml", "state/ledger.sqlite3-shm")
"""What strace and the campaign write themselves; and SQLite's -shm, which is mapped, and made anew from the WAL."""


def _inside(path: bytes, home: Path) -> PurePath | None:
    """Relative to ``home``; None for what is elsewhere, or not modelled."""
    there = PurePath(os.fsdecode(path))
    inside = there.relative_to(home) if there.is_relative_to(home) else None
    return None if inside is None or str(inside) in LEFT_OUT else inside


def path_of(call: Call, home: Path) -> PurePath | None:
    """What a call is about, relative to ``home``: the first path, where there are two."""
    by_descriptor = call.name in ("write", "pwrite64", "ftruncate", "sendto", "recvfrom", *SYNCS)
    return _inside(call.behind if by_descriptor else call.paths[0], home)


def tell(disk: Disk, call: Call, path: PurePath | None, home: Path) -> bool:
    """Do to the disk what a call has done; False if that was nothing."""
    if path is None:
        return False
    match call.name:
        case "openat" if "O_CREAT" in call.arguments:
            disk.create(path)
            if "O_TRUNC" in call.arguments:
                disk.write(path, None, 0)
        case "write":  # canarysync writes so only to files that it has just made
            disk.write(path, call.data[: call.result])
        case "pwrite64":
            disk.write(path, call.data[: call.result], call.last_number)
        case "ftruncate":
            disk.write(path, None, call.last_number)
        case "mkdir" | "mkdirat":
            disk.make_folder(path)
        case "unlink" | "unlinkat":
            disk.unlink(path)
        case "rename" | "renameat" | "renameat2" | "link" | "linkat":
            target = _inside(call.paths[1], home)
            assert target is not None
            (disk.link if call.name.startswith("link") else disk.rename)(path, target)
        case _:
            return False
    return True


def compare(held: Held, home: Path) -> None:
    """The replayed disk against the folders that the run left: a difference is a gap in the record."""
    replayed = {path: made if isinstance(made, bytes) else made.read_bytes() for path, made in held.files.items()}
    real = {PurePath(p.relative_to(home)): p.read_bytes() for p in home.rglob("*") if p.is_file()}
    paths = {path for path in {*replayed, *real} if str(path) not in LEFT_OUT}
    differing = [str(path) for path in paths if replayed.get(path) != real.get(path)]
    assert not differing, f"the record is not complete: {differing}"


class Requests:
    """Which scores the API has been sent, and of which the answer has been read."""

    def __init__(self, scores: Sequence[StoredScore], taken: Collection[StoredScore]) -> None:
        self._by_body = {score.body: score for score in scores}
        self._asking: dict[bytes, StoredScore] = {}  # by socket
        self._sent = set(taken)
        self._answered = set(taken)

    def begun(self, call: Call) -> None:
        """The server may have a score as soon as its last bytes are handed over."""
        body = call.data.partition(b"\r\n\r\n")[2]  # it goes in one call with its head
        score = self._by_body.get(body) if call.name == "sendto" else None
        if score is not None:
            self._asking[call.behind] = score
            self._sent.add(score)

    def returned(self, call: Call) -> bool:
        """Whether the call has sent a score, or brought the answer to one."""
        if call.name == "recvfrom" and call.result and call.behind in self._asking:
            self._answered.add(self._asking.pop(call.behind))
            return True
        return call.name == "sendto" and call.behind in self._asking

    def perhaps_taken(self) -> list[frozenset[StoredScore]]:
        """What the API may hold: all that was sent; and without what it has not answered."""
        return list(dict.fromkeys((frozenset(self._sent), frozenset(self._answered))))
