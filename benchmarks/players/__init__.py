"""Who is compared: canarysync, and what people would use in its place. Each runs as a process of its own."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.place import Place
from benchmarks.sink import PUT_PATH

HERE = Path(__file__).parent
PATIENCE_S = 30.0
"""How long a player may take until it watches, and to end."""


@dataclass(frozen=True, slots=True)
class Player:
    """``command``: of its place, the API's url and the number of files. ``ready``: what its log says when it watches.
    ``needs``: programs that have to be installed. One that does not watch starts when a line comes on its stdin."""

    name: str
    command: Callable[[Place, str, int], list[str]]
    ready: str
    watches: bool = True
    needs: tuple[str, ...] = ()

    @property
    def missing(self) -> list[str]:
        return [program for program in self.needs if shutil.which(program) is None]


def _script(threads: int) -> Callable[[Place, str, int], list[str]]:
    return lambda place, url, _: [
        sys.executable, str(HERE / "script.py"), str(place.drop), str(place.done), url, str(threads)
    ]  # fmt: skip


CANARYSYNC = Player(
    "canarysync",
    lambda place, _url, _count: [sys.executable, "-m", "canarysync", "run", "-c", str(place.config)],
    ready="watching",
)
SCRIPT = Player("script, 1 thread", _script(1), ready="watching")
SCRIPT_16 = Player("script, 16 threads", _script(16), ready="watching")
BARE = Player(
    "bare Session loop",
    lambda _place, url, count: [sys.executable, str(HERE / "bare.py"), url + PUT_PATH, str(count)],
    ready="ready",
    watches=False,
)
CURL = Player(
    "inotifywait, curl x16",
    lambda place, url, _: ["sh", str(HERE / "curl.sh"), str(place.drop), str(place.done), url + PUT_PATH],
    ready="Watches established",
    needs=("inotifywait", "curl"),
)
PLAYERS = (CANARYSYNC, SCRIPT, SCRIPT_16, BARE, CURL)


@contextmanager
def at_work(player: Player, place: Place, url: str, count: int = 0) -> Iterator[subprocess.Popen[bytes]]:
    """The player, from when it watches until the block ends; then it is stopped, with all that it has started."""
    direct = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    with place.log.open("wb") as log:
        process = subprocess.Popen(
            player.command(place, url, count),
            stdin=subprocess.PIPE, stdout=log, stderr=log, env=direct, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_until_ready(player, place, process)
        yield process
    finally:
        _stop(process)


def _wait_until_ready(player: Player, place: Place, process: subprocess.Popen[bytes]) -> None:
    end_s = time.monotonic() + PATIENCE_S
    while player.ready not in place.log.read_text(errors="replace"):
        if process.poll() is not None or time.monotonic() > end_s:
            raise RuntimeError(f"{player.name} did not start:\n{place.log.read_text(errors='replace')}")
        time.sleep(0.01)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the process and those of its session; canarysync finishes what it has in hand."""
    for ending in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, ending)
            try:
                process.communicate(timeout=PATIENCE_S)
            except subprocess.TimeoutExpired:
                continue
