"""What goes wrong in the soak campaign: the daemon is killed, the API spoils answers and is down, disks are full."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from random import Random

from campaigns.soak_actors import Agenda
from campaigns.soak_world import ROUTES, World, fill, unfill
from canarysync.errors import Exit
from canarysync.sandbox import Sandbox
from tests.support import wait_for

DRAIN_MOST_S = 30.0
"""How long a daemon may take to end after SIGTERM."""

FAULTS = {
    # Not carried out, and said so.
    "put:status=503,retry_after=1": 3,
    "put:status=429,retry_after=1": 3,
    "put:status=429": 8,
    "put:status=408": 4,
    "put:status=403": 5,
    "put:html": 2,
    "put:expired": 2,
    # Carried out or not: nobody can tell.
    "put:status=500": 8,
    "put:html,status=502": 5,
    "put:drop_before": 8,
    "put:reset_before": 8,
    "put:status_after,status=500": 6,
    "put:status_after,status=504": 6,
    "put:drop_after": 8,
    "put:reset_after": 8,
    "put:cut": 8,
    "put:garbage": 6,
    "put:no_uuid": 6,
    # Longer than the read timeout, and shorter than the read-back's wait by far: see READ_BACK_WAIT_S.
    "put:delay=1.3": 2,
    "put:delay_after,delay=1.3": 2,
    "scores:status=503,retry_after=1": 5,
    "scores:status=500": 20,
    "scores:status=429": 10,
    "scores:html": 5,
    "scores:drop_before": 15,
    "scores:reset_after": 15,
    "scores:cut": 15,
    "scores:garbage": 10,
    "scores:delay=1.3": 5,
    "token:status=503,retry_after=1": 20,
    "token:status=500": 20,
    "token:drop_before": 20,
    "token:garbage": 20,
    "token:cut": 20,
    "refresh:status=401": 50,
    "refresh:drop_after": 50,
}
"""How many of a thousand requests meet a fault: one in ten in all. None is a lie: what the API refuses for good, or
asks to have sent again, it has not taken."""


@dataclass(frozen=True, slots=True)
class Rhythm:
    """How often troubles come, and how long they last: the shortest and the longest time, in seconds."""

    between_kills_s: tuple[float, float] = (2.0, 8.0)
    between_outages_s: tuple[float, float] = (10.0, 30.0)
    between_fillings_s: tuple[float, float] = (5.0, 15.0)
    lasting_s: tuple[float, float] = (1.0, 5.0)  # far less than ARCHIVED_AFTER_S


class Keeper:
    """Keeps the daemon running, and kills it."""

    def __init__(self, world: World, random: Random, tally: Counter[str]) -> None:
        self._world = world
        self._random = random
        self._tally = tally
        self._daemon = self._start()
        self.most_rss_kib = 0
        self.wrong: list[str] = []

    def wait_until_it_watches(self) -> None:
        """For its first start, which needs room on its disks."""
        wait_for(lambda: self._world.site.log().count(" watching ") == len(ROUTES), "the daemon to watch all routes")

    def _start(self) -> subprocess.Popen[str]:
        self._tally["starts"] += 1
        self._terminated_at_s: float | None = None
        return self._world.site.start()

    def strike(self) -> None:
        """SIGKILL, and a start at once; once in five times SIGTERM, and once only the process that makes the
        requests is killed."""
        self.watch()
        if self._terminated_at_s is not None:
            return
        what = self._random.random()
        if what < 0.2:
            self._terminate()
        elif what < 0.4:
            self._kill_sender()
        else:
            self._tally["kills"] += 1
            self.kill()
            self._daemon = self._start()

    def watch(self) -> None:
        """Measure it while it runs; start it again when it has ended."""
        code = self._daemon.poll()
        if code is not None:
            self._judge(code)
            self._daemon = self._start()
            return
        self._measure()
        if self._terminated_at_s is not None and time.monotonic() > self._terminated_at_s + DRAIN_MOST_S:
            self.wrong.append(f"the daemon did not end within {DRAIN_MOST_S:g} s of SIGTERM")
            self._daemon.kill()

    def stop(self) -> None:
        """The end: SIGTERM, and no other start."""
        self.watch()
        self._terminate()
        self._judge(self._daemon.wait(DRAIN_MOST_S))

    def kill(self) -> None:
        """SIGKILL."""
        self._daemon.kill()
        self._daemon.wait()

    def _kill_sender(self) -> None:
        for children in Path(f"/proc/{self._daemon.pid}/task").glob("*/children"):
            with suppress(OSError):
                for pid in map(int, children.read_text().split()):
                    os.kill(pid, signal.SIGKILL)
                    self._tally["kills of its sender"] += 1

    def _terminate(self) -> None:
        self._tally["SIGTERMs"] += 1
        self._terminated_at_s = time.monotonic()
        self._daemon.send_signal(signal.SIGTERM)

    def _judge(self, code: int) -> None:
        """Whether it may end like this. What it ends with but for 75 (try again), no restart would mend."""
        self._tally[f"ends with {code}"] += 1
        # SIGTERM itself ends one that has not come to its handler yet.
        asked = self._terminated_at_s is not None and code in (Exit.OK, -signal.SIGTERM)
        if not asked and code != Exit.TRY_AGAIN:
            self.wrong.append(f"the daemon ended with exit code {code}")

    def _measure(self) -> None:
        status = Path(f"/proc/{self._daemon.pid}/status").read_text()
        peak = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)  # an ended process has none
        self.most_rss_kib = max(self.most_rss_kib, int(peak[1]) if peak else 0)


class Api:
    """What is wrong with the API."""

    def __init__(
        self, sandbox: Sandbox, agenda: Agenda, random: Random, tally: Counter[str], lasting_s: tuple[float, float]
    ) -> None:
        self._sandbox = sandbox
        self._lasting_s = lasting_s
        self._agenda = agenda
        self._random = random
        self._tally = tally
        self.down = False

    def usual_faults(self) -> None:
        """One request in ten is spoiled."""
        faults = (f"{fault},rate={n / 1000},seed={self._random.getrandbits(32)}" for fault, n in FAULTS.items())
        self._sandbox.faults.replace(*faults)

    def outage(self) -> None:
        """For a few seconds it is not there, or has nothing but 503 to say."""
        if self.down:
            return
        self.down = True
        self._tally["outages"] += 1
        if self._random.random() < 0.5:
            self._sandbox.stop()
            up = self._sandbox.start
        else:
            self._sandbox.faults.replace(self._random.choice(("any:status=503", "any:status=503,retry_after=1")))
            up = self.usual_faults

        def end() -> None:
            up()
            self.down = False

        self._agenda.after(self._random.uniform(*self._lasting_s), end)


class Disks:
    """The file systems of the routes and of the ledger, which fill up."""

    def __init__(
        self, world: World, agenda: Agenda, random: Random, tally: Counter[str], lasting_s: tuple[float, float]
    ) -> None:
        self._folders = (world.files, world.state)
        self._lasting_s = lasting_s
        self._agenda = agenda
        self._random = random
        self._tally = tally
        self.full = False

    def fill_up(self) -> None:
        """For a few seconds one of them has no byte left."""
        if self.full:
            return
        self.full = True
        folder = self._random.choice(self._folders)
        self._tally[f"fillings of {folder.name}/"] += 1
        until_s = self._agenda.now_s() + self._random.uniform(*self._lasting_s)

        def end() -> None:
            unfill(folder)
            self.full = False

        fill(folder)
        self._agenda.every(lambda: 0.05, lambda: fill(folder), until_s)  # what others free meanwhile
        self._agenda.at(until_s, end)
