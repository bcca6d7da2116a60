"""Two routes at work on real folders and a real ledger, one pass at a time; only time and the API are models.

Something may happen at any step of a pass (``Trouble``): the process dies, a call fails, another worker makes its
passes, or somebody does something to the files (``Act``).
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import cast

from canarysync.calls import Calls
from canarysync.config import Config, DoubtPolicy, Route
from canarysync.errors import LedgerError
from canarysync.folder import make_folders
from canarysync.lane import Key, Lane
from canarysync.ledger import Hold, Ledger
from canarysync.ledger_sqlite import SqliteLedger
from canarysync.outcomes import Tools
from canarysync.pipeline import Pipeline
from canarysync.requeue import Fate, Wanted, requeue
from canarysync.retry import RetryPolicy
from canarysync.step import FINAL, Step
from tests.support import finished
from tests.system.faults import Crash, os_error
from tests.system.model_api import WAIT_S, Clock, ModelApi, ModelTokens
from tests.system.model_people import Act, People
from tests.system.model_steps import SteppedLedger, Steps

DATED = "%Y/%m-%d"

Place = tuple[str, Key]
"""What a pass is for: a route's name; and in it a file's name, or an entry that goes on without its file."""


@dataclass(frozen=True)
class Trouble:
    """At the ``at``-th step of a ``kind`` (from 1) comes ``what``: "crash", "error", "others", or somebody's act."""

    kind: str
    at: int
    what: str | Act


@dataclass
class World:
    """``home`` holds the routes' folders and the ledger. ``dated``: the pattern of a route's dated folders in done/, if
    it has such."""

    home: Path
    dated: Mapping[str, str] = field(default_factory=lambda: {"resend": DATED})
    steps: Steps = field(default_factory=Steps)
    clock: Clock = field(default_factory=Clock)
    tally: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.api = ModelApi(self.clock, lambda: self.steps.step("API"))
        self.tokens = ModelTokens(self.api)
        self.routes = {route.name: route for route in (self._route("hold"), self._route("resend"))}
        for route in self.routes.values():
            make_folders(route)
        self.people = People(self.routes, self.api, self.tokens)
        self._open()

    def _route(self, policy: str) -> Route:
        """The route is named after its policy for what is in doubt."""
        return Route(
            name=policy,
            drop=self.home / policy / "drop",
            done=self.home / policy / "done",
            failed=self.home / policy / "failed",
            match=("*.json", "*.yaml"),
            settle_s=2.0,
            rescan_s=60.0,
            max_size_bytes=1 << 16,
            retry=RetryPolicy(first_s=1.0, most_s=300.0, give_up_after_s=7200.0 if policy == "resend" else None),
            in_doubt=DoubtPolicy(policy),
            group=None,
            dated=self.dated.get(policy, ""),
        )

    # --- the process ---------------------------------------------------------------------------------

    def _open(self) -> None:
        self.ledger = SqliteLedger(self.home / "ledger.sqlite3")
        self.tools = Tools(
            ledger=cast(Ledger, SteppedLedger(self.ledger, self.steps)),
            calls=Calls(self.api, self.tokens, self.clock.now),
            now=self.clock.now,
            moment=self.clock.moment,
            chance=lambda: 0.5,
            read_back_wait_s=WAIT_S,
            endpoint="https://api.example",
        )
        routes = self.routes.values()
        lanes = [Lane(route, self.tools, lambda _: None, lambda job: None, watching=False) for route in routes]
        self.lanes = {lane.route.name: lane for lane in lanes}

    def crash(self) -> None:
        """The process is gone, with all that it had in memory; a new one opens the ledger."""
        self.tally["crashes"] += 1
        for lane in self.lanes.values():
            if lane._lock is not None:
                lane._lock.release()
        self.ledger._database._reader.close()
        self.ledger._database._writer.close()
        self.steps.dead = False
        self._open()

    def restart(self) -> None:
        """The process ends well, and a new one starts."""
        self.close()
        self._open()

    def close(self) -> None:
        for lane in self.lanes.values():
            lane.close()
        self.ledger.close()

    # --- passes --------------------------------------------------------------------------------------

    def scan(self, trouble: Trouble | None = None) -> list[Place]:
        """All that scans of the routes find: names in the drop folders, and what the ledger holds open."""
        self._arm(None, trouble)
        found: dict[Place, None] = {}
        try:
            for name, lane in self.lanes.items():
                chunk = lane.scan_on()
                assert not chunk.trouble or self.steps.fired or not lane.route.drop.is_dir(), chunk.trouble
                found |= dict.fromkeys((name, key) for key in [*map(Key, sorted(chunk.names)), *chunk.keys])
        except Crash:
            self.crash()
        finally:
            self.steps.happens = None
        return list(found)

    def visit(
        self, place: Place, *, settled: bool = True, may_send: bool = True, trouble: Trouble | None = None
    ) -> Step | None:
        """One pass, as Lane.visit makes it; None when it did not come to an end."""
        self.tally["passes"] += 1
        self._arm(place, trouble)
        try:
            return self._pass(place, settled=settled, may_send=may_send)
        except Crash:
            self.crash()
        except (LedgerError, OSError):
            if not self.steps.fired:
                raise
        finally:
            self.steps.happens = None
        return None

    def _pass(self, place: Place, *, settled: bool, may_send: bool) -> Step | None:
        lane, key = self.lanes[place[0]], place[1]
        route_id = self.ledger.route_id(lane.route.name)
        if not lane.present() or route_id is None:
            return None
        pipeline = Pipeline(lane.route, route_id, lane.present, self.tools)
        self.api.route = lane.route.name
        if key.entry_id is not None:
            a_pass = pipeline.resume(key.entry_id, may_send=may_send)
        else:
            a_pass = pipeline.process(key.name, settled=settled, may_send=may_send)
        return finished(a_pass, self.tools.ledger.gather)

    def _arm(self, place: Place | None, trouble: Trouble | None) -> None:
        self.steps.fired = False
        if trouble is not None:
            self.steps.kind, self.steps.left = trouble.kind, trouble.at
            self.steps.happens = lambda: self._happens(trouble.what, place, trouble.kind)

    def _happens(self, what: str | Act, place: Place | None, kind: str) -> None:
        self.tally["troubles"] += 1
        if isinstance(what, Act):
            self.people.do(_here(what, place))
        elif what == "others" and place is not None:
            self._others_pass(place)
        elif what == "crash":
            self.steps.dead = True
            raise Crash
        elif what == "error" and kind == "system":
            raise os_error(errno.EIO)
        elif what == "error" and kind == "ledger":
            raise LedgerError("write the ledger", cause="disk I/O error")

    def _others_pass(self, place: Place) -> None:
        """The passes of other workers; one name is never two workers' at a time."""
        mine = self.api.route
        for name, lane in self.lanes.items():
            route_id = self.ledger.route_id(name)
            names = sorted(os.listdir(lane.route.drop)) if lane.route.drop.is_dir() else []
            for key in map(Key, (name for name in names if lane.wants(name))):
                if (name, key.name) != (place[0], place[1].name) and route_id is not None:
                    self._pass((name, key), settled=True, may_send=True)
        self.api.route = mine

    # --- what people call beside it ------------------------------------------------------------------

    def hold(self, route: str) -> None:
        route_id = self.ledger.route_id(route)
        if route_id is not None:
            self.tally["holds"] += 1
            self.ledger.hold(route_id, Hold(self.clock.now(), "somebody"))

    def release(self, route: str) -> None:
        self.ledger.release(self.ledger.route_id(route) or "")

    def requeue(self) -> None:
        beside = cast(Config, SimpleNamespace(state=self.home))
        found = requeue(beside, list(self.routes.values()), Wanted())
        self.tally["requeued"] += sum(failed.fate is Fate.BACK for failed in found)

    # --- in the end ----------------------------------------------------------------------------------

    def settle(self) -> dict[Place, Step]:
        """Let everything run, with nothing in the way, until it stands still; what was heard last of what is left."""
        self.heal()
        self.wait(2 * WAIT_S)
        for _ in range(60):
            steps = {place: self.visit(place) for place in self.scan()}
            left = {k: step for k, step in steps.items() if step is not None and step.outcome not in FINAL}
            waits = [step.wait_s or 0.0 for step in left.values()]
            self.clock.elapsed_s += max(waits, default=0.0) + 1
            if steps and all(step is not None and step.held for step in steps.values()) and self._quiet(steps):
                return left
            if not steps:
                return {}
        raise AssertionError("it never stands still")

    def _quiet(self, steps: dict[Place, Step | None]) -> bool:
        """Whether those that are held stay so at their next look too."""
        again = {place: self.visit(place) for place in self.scan()}
        return again.keys() == steps.keys() and all(step is not None and step.held for step in again.values())

    def heal(self) -> None:
        """The API is as it should be."""
        self.api.heal()
        self.tokens.trouble = None

    def wait(self, seconds: float) -> None:
        """Time goes by; in a longer time a share that went away comes back."""
        self.clock.elapsed_s += seconds
        for name in self.routes if seconds > WAIT_S else ():
            self.people.do(Act("come_back", name, "", ""))


def _here(act: Act, place: Place | None) -> Act:
    """An act that names no file is done to the one whose pass is under way."""
    route, name = (place[0], place[1].name) if place is not None else ("hold", "a.json")
    return Act(act.what, act.route or route, act.name or name, act.content)
