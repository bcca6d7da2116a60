"""Take back what keeps the promises, one thing at a time, and see that a test notices.

    make reverts

Each revert is made in a copy of the project, where all tests run. A revert that no test notices would be a promise
that nobody watches.
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
LEFT_OUT = shutil.ignore_patterns(".git", ".venv", "*.egg-info", "__pycache__", ".*_cache", ".hypothesis", "build")


@dataclass(frozen=True, slots=True)
class Revert:
    """``changes``: (file in the package, what stands there once, what stands there afterwards)."""

    what: str
    changes: tuple[tuple[str, str, str], ...]


REVERTS = (
    Revert("nothing: all tests have to pass", ()),
    Revert(
        "the intent's commit: the request goes first",
        (
            (
                "pipeline.py",
                "        claim = self._ledger.intend(",
                "        early = self._calls.put(valid.score, token, 0)\n        claim = self._ledger.intend(",
            ),
            (
                "pipeline.py",
                "        return self._put(claim.entry, valid, token)\n",
                "        return self._put(claim.entry, valid, token, early=early)\n",
            ),
            ("pipeline.py", "token: Token, *, unsure: bool = False) -> Step:", "token, *, unsure=False, early=None):"),
            ("pipeline.py", "        verdict = self._calls.put(", "        verdict = early or self._calls.put("),
        ),
    ),
    Revert(
        "the outcome's commit: the move goes first",
        (
            (
                "outcomes.py",
                "            entry = self._ledger.upload(entry, uuid, proof, target, self._now())\n",
                "            sent, now = entry, self._now()\n"
                "            entry = replace(entry, state=State.UPLOADED, uuid=uuid, proof=proof, target=target)\n"
                "            step = self.file_away(entry, *_parts(valid))\n"
                "            self._ledger.upload(sent, uuid, proof, target, now)\n"
                "            return replace(step, api=ApiUp())\n",
            ),
        ),
    ),
    Revert(
        "the fsync of the folders",
        (
            ("filing.py", "    durable.sync_folder(move.folder)\n    if move.drop", "    if move.drop"),
            ("filing.py", "        durable.sync_folder(move.drop)\n", "        pass\n"),
        ),
    ),
    Revert(
        "the fsync of sidecars",
        (("durable.py", "            fill(fd)\n            os.fsync(fd)\n", "            fill(fd)\n"),),
    ),
    Revert(
        "the fsync of commits",
        (("ledger_sqlite/database.py", "PRAGMA synchronous = FULL", "PRAGMA synchronous = OFF"),),
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
    ),
    Revert(
        "the second look: absent at the first is absent",
        (("readback.py", "        return LookAgain(wait_s, first=True)\n", "        return Absent()\n"),),
    ),
    Revert(
        "the taking in of sidecars, when the ledger was lost",
        (("recovery.py", "        ledger.take_in(batch, at)\n", "        pass\n"),),
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
    ),
    Revert(
        "the look at the bookmark: every ledger is believed",
        (("lane.py", 'known and ledger.has_reached(lock.note or "")', "known"),),
    ),
)


def make_copy(revert: Revert, copy: Path) -> None:
    """The project with one thing taken back."""
    shutil.copytree(ROOT, copy, ignore=LEFT_OUT, symlinks=True)
    for name, before, after in revert.changes:
        path = copy / "canarysync" / name
        text = path.read_text()
        if text.count(before) != 1:
            sys.exit(f"{revert.what}: {name} does not hold this once: {before.strip()}")
        path.write_text(text.replace(before, after))


def failing_tests(copy: Path, tests: Sequence[str]) -> list[str]:
    """The tests that notice; the first few, since one is enough."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", "auto", "--dist", "worksteal", "--maxfail", "5"]
    environment = {**os.environ, "PYTHONPATH": str(copy)}
    ended = subprocess.run([*command, *tests], cwd=copy, env=environment, capture_output=True, text=True, check=False)
    return re.findall(r"^(?:FAILED|ERROR) (\S+::\S+)", ended.stdout, re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("tests", nargs="*", default=["tests"], help="run only these, in the project's root")
    arguments = parser.parse_args()
    wrong = 0
    for revert in REVERTS:
        started_s = time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            make_copy(revert, Path(folder) / "copy")
            found = failing_tests(Path(folder) / "copy", arguments.tests)
        wrong += bool(found) is not bool(revert.changes)
        print(f"{revert.what} ({time.monotonic() - started_s:.0f} s): {'failed' if found else 'no test failed'}")
        for name in found:
            print(f"    {name}", flush=True)
    print(f"{len(REVERTS)} runs, {wrong} not as they should be")
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
