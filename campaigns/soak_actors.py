"""The agenda of the soak campaign, and the producers, who drop the files."""

from __future__ import annotations

import errno
import heapq
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

from campaigns.soak_files import Drop, Sort
from campaigns.soak_world import World

TRY_AGAIN_S = 0.2
"""How soon a producer whose disk was full writes its file anew."""


class Agenda:
    """What is to be done when, one thing after the other. Times are seconds since the agenda was made."""

    def __init__(self) -> None:
        self._start_s = time.monotonic()
        self._entries: list[tuple[float, int, Callable[[], None]]] = []
        self._made = 0

    def now_s(self) -> float:
        return time.monotonic() - self._start_s

    def at(self, at_s: float, do: Callable[[], None]) -> None:
        """``do`` is called at ``at_s``, or as soon after that as nothing else is under way."""
        self._made += 1
        heapq.heappush(self._entries, (at_s, self._made, do))

    def after(self, pause_s: float, do: Callable[[], None]) -> None:
        self.at(self.now_s() + pause_s, do)

    def every(self, pause_s: Callable[[], float], do: Callable[[], None], until_s: float = float("inf")) -> None:
        """``do`` is called again and again, with a pause before each call, until ``until_s``."""

        def again() -> None:
            do()
            self.every(pause_s, do, until_s)

        at_s = self.now_s() + pause_s()
        if at_s < until_s:
            self.at(at_s, again)

    def work_while(self, wanted: Callable[[], bool]) -> None:
        while wanted():
            left_s = self._entries[0][0] - self.now_s() if self._entries else 1.0
            if left_s > 0:
                time.sleep(min(left_s, 0.02))
            else:
                heapq.heappop(self._entries)[2]()


class Producers:
    """Instruments that drop files: in bursts, renamed in or in two parts, and again when the disk was full."""

    def __init__(self, world: World, agenda: Agenda, random: Random, tally: Counter[str]) -> None:
        self._world = world
        self._agenda = agenda
        self._random = random
        self._tally = tally
        self._under_way = 0
        self._coming: tuple[float, Drop] | None = None
        self.dropped: list[Drop] = []
        self.wrong: list[str] = []

    @property
    def busy(self) -> bool:
        """Whether a file is still to be dropped, or not yet whole."""
        return self._coming is not None or self._under_way > 0

    def start(self, drops: Iterator[tuple[float, Drop]]) -> None:
        """Drop each file at its time, in seconds."""
        self._coming = next(drops, None)
        if self._coming is not None:
            self._agenda.at(self._coming[0], lambda: self._drop_and_go_on(drops))

    def _drop_and_go_on(self, drops: Iterator[tuple[float, Drop]]) -> None:
        assert self._coming is not None
        drop = self._coming[1]
        self.dropped.append(drop)
        self._under_way += 1
        self._drop(drop, in_place=drop.in_place)
        self.start(drops)

    def _drop(self, drop: Drop, *, in_place: bool) -> None:
        path = self._world.files / drop.route / "drop" / drop.name
        if in_place:
            self._first_part(drop, path)
        else:
            self._rename_in(drop, path)

    def _rename_in(self, drop: Drop, path: Path) -> None:
        def write() -> None:
            if drop.sort is Sort.UNSAFE:
                passing.symlink_to(drop.content.decode())
            else:
                passing.write_bytes(drop.content)

        passing = path.with_name(f"{path.name}.tmp")
        if self._written(passing, write):
            passing.rename(path)
            self._under_way -= 1
        else:
            self._later(drop)

    def _first_part(self, drop: Drop, path: Path) -> None:
        cut = self._random.randrange(1, len(drop.content)) if len(drop.content) > 1 else 0
        if self._written(path, lambda: path.write_bytes(drop.content[:cut])):
            inode = path.stat().st_ino
            self._agenda.after(self._random.uniform(0, 0.2), lambda: self._second_part(drop, path, cut, inode))
        else:
            self._later(drop)

    def _second_part(self, drop: Drop, path: Path, cut: int, inode: int) -> None:
        def append() -> None:
            with path.open("ab") as file:
                file.write(drop.content[cut:])

        if not path.exists() or path.stat().st_ino != inode:
            # The quiet period is ten times as long as the pause: canarysync, or this machine, is not up to it.
            self.wrong.append(f"{drop.name} was taken before it was whole")
            self._under_way -= 1
        elif self._written(path, append):
            self._under_way -= 1
        else:
            self._later(drop)

    def _written(self, path: Path, write: Callable[[], object]) -> bool:
        """Whether there was room. If not, nothing is left of the file: a part of one is not to be taken for it."""
        try:
            write()
            return True
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise
            path.unlink(missing_ok=True)
            self._tally["drops met a full disk"] += 1
            return False

    def _later(self, drop: Drop) -> None:
        self._agenda.after(TRY_AGAIN_S, lambda: self._drop(drop, in_place=False))
