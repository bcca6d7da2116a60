"""Where a player works: drop/, done/ and failed/, a configuration, and the score files that come.

``python -m benchmarks.place STAGED DROP`` is the writer of a burst.
"""

from __future__ import annotations

import atexit
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from canarysync.candidates import PASSAGE

ASSESSMENT = "0192530c-4ce5-7aa1-be9b-bc52dec8a184"
CONCURRENCY = "auto"
RESULTS = Path(__file__).parent / "results"
"""Places are made here too: /tmp is memory on many machines, where an fsync costs nothing."""


@dataclass(frozen=True, slots=True)
class Place:
    home: Path

    @property
    def drop(self) -> Path:
        return self.home / "drop"

    @property
    def done(self) -> Path:
        return self.home / "done"

    @property
    def log(self) -> Path:
        return self.home / "log"

    @property
    def config(self) -> Path:
        return self.home / "canarysync.yaml"

    @property
    def staged(self) -> Path:
        """Where files are made ready for a burst: outside of what is watched, on the same file system."""
        return self.home / "staged"

    def stage(self, count: int) -> None:
        self.staged.mkdir()
        write(self.staged, range(count))

    def burst(self) -> subprocess.Popen[bytes]:
        """Starts to rename what is staged into the drop folder, as fast as one process can."""
        return subprocess.Popen([sys.executable, "-m", __name__, str(self.staged), str(self.drop)])

    def waiting(self) -> int:
        """How many files are not yet filed."""
        passage = self.drop / PASSAGE
        names = [*os.listdir(self.drop), *(os.listdir(passage) if passage.exists() else ())]
        return sum(not name.startswith(".") for name in names)


def place(url: str, **route: str) -> Place:
    """A place for one player, with a configuration for canarysync and the API at ``url``; ``route``: keys of its route
    that are not as usual."""
    made = Place(fresh_folder())
    for name in ("drop", "done", "failed"):
        (made.home / name).mkdir()
    token = made.home / "token"
    token.touch(0o600)
    token.write_text("abc")
    api = {
        "url": url,
        "token": {"file": str(token)},
        "concurrency": CONCURRENCY,
    }
    routes = [{"folder": str(made.home), **route}]
    config = {"api": api, "routes": routes, "state": str(made.home / "state")}
    made.config.write_text(json.dumps(config))  # JSON is YAML too
    return made


def fresh_folder() -> Path:
    """An empty folder, which stays until all is measured."""
    return Path(tempfile.mkdtemp(prefix="place-", dir=_of_this_run()))


@cache
def _of_this_run() -> Path:
    """Nothing in it is deleted before the process ends: an ext4 without a journal does not use the inodes of files that
    were deleted in the last minutes, and to search past those of thousands makes each new file slow for whoever comes
    next."""
    RESULTS.mkdir(exist_ok=True)
    made = Path(tempfile.mkdtemp(prefix="run-", dir=RESULTS))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def score(number: int) -> dict[str, object]:
    """The content of a score file; each ``number`` is another score."""
    return {
        "assessmentId": ASSESSMENT,
        "dateRecorded": "2026-01-01T12:00:00Z",
        "scoreId": "PHQ9",
        "scoreType": "sum",
        "scoreData": {"value": number},
    }


def name_of(number: int, suffix: str = ".json") -> str:
    return f"visit-{number}{suffix}"


def write(folder: Path, numbers: Iterable[int]) -> None:
    for number in numbers:
        with open(f"{folder}/{name_of(number)}", "w", encoding="utf-8") as file:
            file.write(json.dumps(score(number)))


def _move_all(source: str, target: str) -> None:
    for name in os.listdir(source):
        os.rename(f"{source}/{name}", f"{target}/{name}")


if __name__ == "__main__":
    _move_all(sys.argv[1], sys.argv[2])
