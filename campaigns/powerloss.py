"""Pull the plug: one real run is recorded, and the real program is started on all that a disk may hold of it.

    make powerloss        at every fsync and syncfs
    python -m campaigns.powerloss --every --torn 4 --twice 3

`run-once` goes over the files of campaigns/crash.py under strace. Its calls are replayed on a disk that knows what
was synced (campaigns/disk.py), and where an fsync begins, where it has ended, and where a score has been sent
(--every: at every call) the power goes: each variant of what the disk may then hold is laid out, a fresh API is
given what the first one had been sent, and `run-once` runs on it, undisturbed. In the end each file has to be in one
place with a true sidecar, each score at the API once, no leftovers; and a ledger that has recorded an intent is there.

What is modelled: names, contents and sizes, per inode, as POSIX promises them and not more; contents torn by page and
sector; names kept only up to a moment, and a move of which both names are left. A score whose request was sent is at
the API; where its answer had not been read yet, also: is not. The files that were dropped are those of the recorded
run, by hard links, so that inode and times are those in the ledger; they count as durable from the beginning.

What is not: a disk that loses what it called durable, or damages what was not being written; an fsync that fails;
names that are kept out of order; the loss of modes and times; new inode numbers, as after a restore. SQLite's -shm
is left out: it is made anew from the WAL. That the record is complete is checked in the end: the replayed disk
has to equal the real folders.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from random import Random

from campaigns import crash, trace
from campaigns.disk import Disk, Held, Variant, held_at
from campaigns.replay import SYNCS, Requests, compare, path_of, tell
from canarysync.recovery import LOST
from canarysync.sandbox import Sandbox, StoredScore
from tests.support import Site

HOST = "127.0.0.2"
"""No connection of ours comes from here, so that none can take the API's port between two runs."""


@dataclass(frozen=True, slots=True)
class Outage:
    """What is left when the power goes: on the disk, and at the API."""

    where: str
    held: Held
    taken: frozenset[StoredScore]

    def identity(self) -> tuple[str, frozenset[str]]:
        """Equal for outages that the program cannot tell apart."""
        parts = (self.held.folders, self.held.files, self.held.links)
        digest = hashlib.sha256(repr([sorted(part.items()) for part in parts]).encode()).hexdigest()
        return digest, frozenset(score.uuid for score in self.taken)


@dataclass(frozen=True, slots=True)
class Recording:
    """One run: what there was before it; in ``home`` and ``scores``, the folders and the API after it."""

    before: Outage
    home: Path
    scores: Sequence[StoredScore]
    calls: Sequence[trace.Call]


def set_out(home: Path, *, dated: bool = False) -> Outage:
    """The campaign's files, dropped; no power was lost yet."""
    site, _ = crash.set_out(home, f"http://{HOST}:{_port()}", dated=dated)
    return Outage("at first", held_at(site.home), frozenset())


def record(outage: Outage, home: Path) -> Recording:
    """One run on what is left, undisturbed."""
    home.mkdir()
    written = home / "trace"
    with _api(outage, home) as sandbox:
        site = _site(outage, home / "run")
        code = crash.run_under_strace(site, "-o", str(written), *trace.OPTIONS, wait="30s")
        wrong = crash.what_is_wrong(site, sandbox.scores)
        assert code in (0, 1), f"the recorded run exits with {code}: {site.log()}"
        assert not wrong, wrong
        calls = list(trace.read(written.read_text()))
        return Recording(outage, site.home, sandbox.scores, calls)


def outages(recording: Recording, variants: Collection[Variant], torn: int, *, every: bool) -> Iterator[list[Outage]]:
    """All that may be left, for each point where the power may go. ``torn``: how many of that variant."""
    disk = Disk(recording.before.held)
    requests = Requests(recording.scores, recording.before.taken)
    kinds = [(variant, n) for variant in variants for n in range(torn if variant is Variant.TORN else 1)]
    for number, (where, boundary) in enumerate(_replay(recording, disk, requests)):
        if boundary or every:
            yield [
                Outage(f"{number}: {where}, {variant}#{n}", held, taken)
                for variant, n in kinds
                for held in [disk.holds(variant, Random(f"{number} {n}"))]
                for taken in requests.perhaps_taken()
            ]
    compare(disk.holds(Variant.ALL, Random(0)), recording.home)


def _replay(recording: Recording, disk: Disk, requests: Requests) -> Iterator[tuple[str, bool]]:
    """Tell disk and requests all that was done. Yields after each step how far that is, and whether something was
    synced, sent or answered there."""
    syncing: dict[str, Callable[[], None]] = {}
    for call in recording.calls:
        path = path_of(call, recording.home)
        where = f"{call.name} of {path or 'a request'}"
        if call.result is None and call.name in SYNCS and path is not None:
            yield f"before {where}", True
            syncing[call.thread] = disk.sync_all_files() if call.name == "syncfs" else disk.sync(path)
        elif call.result is None:
            requests.begun(call)
        elif call.thread in syncing:
            end = syncing.pop(call.thread)
            if call.result == 0:
                end()
            yield f"after {where}", True
        elif call.result >= 0 and tell(disk, call, path, recording.home):
            yield f"after {where}", False
        elif call.result >= 0 and requests.returned(call):
            yield f"after {where}", True


# --- starting again ----------------------------------------------------------------------------------


def try_outage(outage: Outage, home: Path) -> list[str]:
    """All that is wrong after the program has run on what was left."""
    home.mkdir()
    with _api(outage, home) as sandbox:
        site = _site(outage, home / "run")
        wrong = crash.start_again(site) + crash.what_is_wrong(site, sandbox.scores)
        # It knows how to go on without a ledger (recovery.py), which would hide what was not synced.
        if outage.taken and LOST in site.log():
            wrong.append("the ledger was lost")
    shutil.rmtree(home)
    return wrong


def _api(outage: Outage, home: Path) -> Sandbox:
    """An API that has taken what it has taken, under the same uuids."""
    store = home / "taken"
    lines = [{"uuid": s.uuid, "assessmentId": s.assessment_id, "body": s.body.decode()} for s in outage.taken]
    store.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return Sandbox(HOST, _port(), store_path=store)


@cache
def _port() -> int:
    """One for all runs: a ledger is about one API."""
    with socket.create_server((HOST, 0)) as server:
        return int(server.getsockname()[1])


def _site(outage: Outage, home: Path) -> Site:
    _lay_out(outage.held, home)
    site = Site(home, home / "canarysync.yaml")
    return site


def _lay_out(held: Held, home: Path) -> None:
    home.mkdir()
    for folder, mode in held.folders.items():
        (home / folder).mkdir()
        (home / folder).chmod(mode)
    for path, content in held.files.items():
        if isinstance(content, Path):
            os.link(content, home / path)
        else:
            (home / path).write_bytes(content)
    for path, first in held.links.items():
        os.link(home / first, home / path)


def try_all(left: Sequence[Outage], home: Path) -> Iterator[tuple[Outage, list[str]]]:
    """All that is wrong after each of them, in turn."""
    home.mkdir()
    for number, outage in enumerate(left):
        yield outage, try_outage(outage, home / str(number))


def different(points: Iterable[Sequence[Outage]]) -> list[Outage]:
    """Those that the program can tell apart, the first of each."""
    found: dict[tuple[str, frozenset[str]], Outage] = {}
    for outage in chain.from_iterable(points):
        found.setdefault(outage.identity(), outage)
    return list(found.values())


@dataclass(slots=True)
class Tally:
    """What came of the campaign so far."""

    points: int = 0
    runs: int = 0
    failed: int = 0
    disks: set[str] = field(default_factory=set)

    def tried(self, outage: Outage, wrong: Sequence[str]) -> None:
        """One more run; tell of what is wrong."""
        self.runs += 1
        self.disks.add(outage.identity()[0])
        self.failed += bool(wrong)
        for line in wrong:
            print(f"{outage.where}, {len(outage.taken)} at the API: {line}", flush=True)


def try_recording(recording: Recording, arguments: argparse.Namespace, home: Path, tally: Tally) -> list[Outage]:
    """Try all that may be left of one run; those after which nothing was wrong."""
    variants = [Variant(name) for name in arguments.variants.split(",")]
    points = list(outages(recording, variants, arguments.torn, every=arguments.every))[:: arguments.step]
    tally.points += len(points)
    survived = []
    for outage, wrong in try_all(different(points), home):
        tally.tried(outage, wrong)
        if not wrong:
            survived.append(outage)
    return survived


def campaign(arguments: argparse.Namespace, home: Path) -> Tally:
    """One run's outages; and, for some of them, those of the run that came after."""
    tally = Tally()
    first = record(set_out(home / "first", dated=arguments.dated), home / "0")
    survived = try_recording(first, arguments, home / "0" / "tries", tally)
    for number, outage in enumerate(Random(0).sample(survived, min(arguments.twice, len(survived))), start=1):
        print(f"and once more, in the run after {outage.where}", flush=True)
        again = record(outage, home / str(number))
        try_recording(again, arguments, home / str(number) / "tries", tally)
    return tally


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--every", action="store_true", help="at every call, not only at syncs and requests")
    parser.add_argument("--step", type=int, default=1, help="try every STEP-th point only")
    parser.add_argument("--variants", default=",".join(Variant), help="which, with commas between; default: all")
    parser.add_argument("--torn", type=int, default=2, help="how many of the variant `torn` at each point")
    parser.add_argument("--twice", type=int, default=0, help="record the run after so many of the outages, too")
    parser.add_argument("--dated", action="store_true", help="with dated folders in done/")
    arguments = parser.parse_args()
    if not crash.available():
        sys.exit("strace is missing, or may not trace here: sudo apt install strace")
    started_s = time.monotonic()
    with tempfile.TemporaryDirectory() as home:
        tally = campaign(arguments, Path(home))
    print(
        f"{tally.points} points, {len(tally.disks)} different disks, {tally.runs} runs, {tally.failed} failed, "
        f"{time.monotonic() - started_s:.0f} s"
    )
    sys.exit(1 if tally.failed else 0)


if __name__ == "__main__":
    main()
