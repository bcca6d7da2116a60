"""Take back what keeps the promises, one thing at a time, and see that a test notices.

    make reverts

Each revert is made in a copy of the project, where the tests run until one fails: first those that are known to watch
over it, then, if none of them does, all. A revert that no test notices would be a promise that nobody watches. The
first copy is left as it is, and there all tests have to pass, with the same little patience.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE_S = "20"
"""How long a test waits in vain for what a revert has made impossible (tests/support.py)."""
FITS = "--ignore=tests/unit/test_reverts.py"
"""These notice every revert, by its text alone."""
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "build")


@dataclass(frozen=True, slots=True)
class Revert:
    """``changes``: (file in the package, what stands there once, what stands there afterwards); ``watched_by``: where
    the tests that notice are."""

    what: str
    changes: tuple[tuple[str, str, str], ...]
    watched_by: tuple[str, ...] = ()


REVERTS = (
    Revert("nothing: all tests have to pass", ()),
    Revert(
        "the intent's commit: the request goes first",
        (
            (
                "pipeline.py",
                "        claim = self._ledger.intend(",
                "        early = yield from self._calls.put(valid.score, token, 0)\n"
                "        claim = self._ledger.intend(",
            ),
            (
                "pipeline.py",
                "        return (yield from self._put(claim.entry, valid, token))\n",
                "        return (yield from self._put(claim.entry, valid, token, early=early))\n",
            ),
            ("pipeline.py", "Token, *, unsure: bool = False) -> Pass[Step]:", "Token, *, unsure=False, early=None):"),
            (
                "pipeline.py",
                "        verdict = yield from self._calls.put(valid.score, token, entry.forbidden)\n",
                "        verdict = early or (yield from self._calls.put(valid.score, token, 0))\n",
            ),
        ),
        watched_by=("tests/system/test_every_step.py", "tests/system/test_readback.py"),
    ),
    Revert(
        "the outcome's commit: the move goes first",
        (
            (
                "outcomes.py",
                "            entry = self._ledger.upload(entry, uuid, proof, target, now)\n",
                "            sent = entry\n"
                "            entry = entry._replace(state=State.UPLOADED, uuid=uuid, proof=proof, target=target)\n"
                "            step = yield from self.file_away(entry, *_parts(valid))\n"
                "            self._ledger.upload(sent, uuid, proof, target, now)\n"
                "            return step._replace(api=ApiUp())\n",
            ),
        ),
        watched_by=("tests/system/test_every_step.py", "tests/system/test_filing_live.py"),
    ),
    Revert(
        "the fsync of the folders",
        (
            ("archive.py", "yield OnDisk(folders=(move.folder,))\n", "yield OnDisk()\n"),
            ("archive.py", "yield OnDisk(folders=(move.drop,))\n", "yield OnDisk()\n"),
        ),
        watched_by=("tests/e2e/test_powerloss.py",),
    ),
    Revert(
        "the fsync of what a dated folder is made in",
        (("tree.py", "            sync_folder(above)  # also", "            # also"),),
        watched_by=("tests/system/test_dated_folders.py",),
    ),
    Revert(
        "the fsync of sidecars",
        (("filing.py", "            yield OnDisk(files=(fd,))\n", "            yield OnDisk()\n"),),
        watched_by=("tests/e2e/test_powerloss.py",),
    ),
    Revert(
        "the wait for what others commit, too: a request goes before the notes are on disk",
        (("crew.py", "        _settle(notes, errands)\n", ""),),
        watched_by=("tests/system/test_crew.py",),
    ),
    Revert(
        "the crew's fsync of files",
        (("crew.py", "        _sync_files(errands)\n", ""),),
        watched_by=("tests/system/test_crew.py", "tests/e2e/test_powerloss.py"),
    ),
    Revert(
        "the sync of what is sent",
        (("examine.py", "durable.sync_files([fd for fd, good in opened if good is not None])", "set[int]()"),),
        watched_by=("tests/unit/test_examine.py",),
    ),
    Revert(
        "the syncfs of neighbours",
        (("durable.py", "        if _libc.syncfs(fds[0]) != 0:\n", "        if not fds:\n"),),
        watched_by=("tests/unit/test_durable.py", "tests/e2e/test_powerloss.py"),
    ),
    Revert(
        "the crew's fsync of folders",
        (("crew.py", "        _sync_folders(errands)\n", ""),),
        watched_by=("tests/system/test_crew.py", "tests/e2e/test_powerloss.py"),
    ),
    Revert(
        "the fsync of commits",
        (("ledger_sqlite/database.py", "PRAGMA synchronous = FULL", "PRAGMA synchronous = OFF"),),
        watched_by=("tests/ledger/test_sqlite.py", "tests/e2e/test_powerloss.py"),
    ),
    Revert(
        "the read-back: what is in doubt is sent again",
        (
            (
                "pipeline.py",
                "        if entry.resolution is None:\n",
                "        if entry.resolution is None and not valid:\n",
            ),
            ("pipeline.py", "entry.resolution == SEND_AGAIN", "entry.resolution in (None, SEND_AGAIN)"),
        ),
        watched_by=("tests/system/test_answers_live.py", "tests/system/test_readback.py"),
    ),
    Revert(
        "the second look: absent at the first is absent",
        (("readback.py", "        return LookAgain(wait_s, first=True)\n", "        return Absent()\n"),),
        watched_by=("tests/unit/test_readback.py", "tests/system/test_answers_live.py"),
    ),
    Revert(
        "the taking in of sidecars, when the ledger was lost",
        (("recovery.py", "        ledger.take_in(batch, at)\n", "        pass\n"),),
        watched_by=("tests/system/test_recovery.py",),
    ),
    Revert(
        "the doubt about what waits, when the ledger was lost",
        (
            (
                "recovery.py",
                "        ledger.suspect(route_id, {name: _fingerprint(route, name) for name in suspects}, at)\n",
                "        pass\n",
            ),
        ),
        watched_by=("tests/system/test_recovery.py",),
    ),
    Revert(
        "the look at the bookmark: every ledger is believed",
        (("lane.py", 'known and ledger.has_reached(lock.note or "")', "known"),),
        watched_by=("tests/system/test_recovery.py",),
    ),
)


def reverted(revert: Revert) -> dict[str, str]:
    """The files of the package that change, as they are then. Raises ValueError where one is not as expected."""
    texts: dict[str, str] = {}
    for name, before, after in revert.changes:
        text = texts.get(name) or (ROOT / "canarysync" / name).read_text()
        if text.count(before) != 1:
            raise ValueError(f"{revert.what}: {name} does not hold this once: {before.strip()}")
        texts[name] = text.replace(before, after)
    return texts


def make_copy(revert: Revert, copy: Path) -> None:
    """The project with one thing taken back."""
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT, symlinks=True)
    for name, text in reverted(revert).items():
        (copy / "canarysync" / name).write_text(text)


def failing_tests(copy: Path, tests: Sequence[str]) -> list[str]:
    """The first that fails, and what failed beside it; each with why."""
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-n", "auto", "--dist", "worksteal", FITS, *tests]
    environment = {**os.environ, "PYTHONPATH": str(copy), "CANARYSYNC_TEST_PATIENCE_S": PATIENCE_S, "COLUMNS": "200"}
    ended = subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False)
    found = re.findall(r"^(?:FAILED|ERROR) (\S+::.+)$", ended.stdout, re.MULTILINE)
    if ended.returncode != 0 and not found:
        sys.exit(f"the tests could not run: {ended.stdout[-2000:]}{ended.stderr[-2000:]}")
    return found


def noticed_by(revert: Revert, tests: Sequence[str]) -> list[str]:
    """The tests, of ``tests`` or else of all, that fail with one thing taken back."""
    rounds = [tests] if tests else [revert.watched_by, ["tests"]]
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder) / "copy"
        make_copy(revert, copy)
        return next((found for some in rounds if some and (found := failing_tests(copy, some))), [])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("tests", nargs="*", help="run only these, in the project's root")
    arguments = parser.parse_args()
    begun_s, wrong = time.monotonic(), 0
    for revert in REVERTS:
        started_s = time.monotonic()
        found = noticed_by(revert, arguments.tests)
        wrong += bool(found) is not bool(revert.changes)
        print(f"{revert.what} ({time.monotonic() - started_s:.0f} s): {'failed' if found else 'no test failed'}")
        for name in found:
            print(f"    {name}", flush=True)
    print(f"{len(REVERTS)} runs, {wrong} not as they should be, {time.monotonic() - begun_s:.0f} s")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
