"""What people, producers and other systems do to the files and the API, and what they are owed for it."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from canarysync import tree
from canarysync.answers import Unreachable
from canarysync.candidates import PASSAGE, RECEIPT_SUFFIX
from canarysync.config import Route
from canarysync.dated import folder_at
from tests.support import ASSESSMENT, score
from tests.system.model_api import ModelApi, ModelTokens

JUMP_S = 120.0

_rename = os.rename  # a person's, whatever the system that canarysync works on cannot do

_ONE = score(1, scoreData={"value": 1})
CONTENTS: dict[str, bytes] = {
    "one": json.dumps(_ONE).encode(),
    "one in other words": (
        json.dumps(dict(reversed(_ONE.items())), indent=1)
        .replace('"value": 1', '"value": 10e-1')
        .replace(ASSESSMENT, ASSESSMENT.upper())
        .encode()
    ),
    "one, 0.4 ms later": json.dumps(
        score(1, scoreData={"value": 1}, dateRecorded="2026-01-01T00:00:01.0004Z")
    ).encode(),
    "near one": json.dumps(score(1, scoreData={"value": 99})).encode(),
    "two": json.dumps(score(2)).encode(),
    "two as YAML": "".join(f"{key}: {json.dumps(value)}\n" for key, value in score(2).items()).encode(),
    "three": json.dumps(score(3)).encode(),
    "four": json.dumps(score(4)).encode(),
    "five": json.dumps(score(5)).encode(),
    "six": json.dumps(score(6)).encode(),
    "unfit": json.dumps(score(3, dateRecorded=None)).encode(),
}
STRANGE = b"somebody's own"
PRECISE = ("one", "one, 0.4 ms later")
"""These are two scores for us, and one and the same for what get-scores shows of them."""

NAMES = ("a.json", "A.json", "b.yaml")


@dataclass(frozen=True)
class Act:
    """What somebody does: ``what`` names a method of People, to ``name`` of ``route``, with ``content``."""

    what: str
    route: str
    name: str
    content: str


@dataclass
class People:
    """``owed``: what somebody dropped and nobody took away since, with how often; ``dropped``: whatever was."""

    routes: Mapping[str, Route]
    api: ModelApi
    tokens: ModelTokens
    owed: Counter[bytes] = field(default_factory=Counter)
    dropped: Counter[bytes] = field(default_factory=Counter)

    def do(self, act: Act) -> None:
        """Somebody does something."""
        getattr(self, act.what)(act)

    def path(self, act: Act) -> Path:
        return self.routes[act.route].drop / act.name

    def write(self, act: Act, content: bytes | None = None) -> None:
        """A producer writes a file in place; in the place of one that a crash left with two names, by rename."""
        path, content = self.path(act), CONTENTS[act.content] if content is None else content
        if not path.parent.is_dir():
            return
        if path.exists() and path.stat().st_nlink > 1:
            return self.replace(act)
        self._forget(path)
        path.write_bytes(content)
        self._remember(content)

    def replace(self, act: Act) -> None:
        """A producer writes elsewhere and renames the file in."""
        path = self.path(act)
        if path.parent.is_dir():
            self._forget(path)
            path.parent.with_name("writing").write_bytes(CONTENTS[act.content])
            _rename(path.parent.with_name("writing"), path)
            self._remember(CONTENTS[act.content])

    def append(self, act: Act) -> None:
        """A producer goes on writing."""
        if self.path(act).exists():
            self.write(act, self.path(act).read_bytes() + b"\n")

    def cut(self, act: Act) -> None:
        """A producer starts anew, and has come half way."""
        if self.path(act).exists():
            content = self.path(act).read_bytes()
            self.write(act, content[: len(content) // 2])

    def delete(self, act: Act) -> None:
        """Somebody takes a file back."""
        if self.path(act).exists():
            self._forget(self.path(act))
            self.path(act).unlink()

    def drop_again(self, act: Act) -> None:
        """Somebody moves a failed file back."""
        path = self.routes[act.route].failed / act.name
        if path.exists() and self.path(act).parent.is_dir():
            self._forget(self.path(act))
            _rename(path, self.path(act))

    def clear_failed(self, act: Act) -> None:
        """Somebody deletes what failed under a name, but not its sidecar."""
        path = self.routes[act.route].failed / act.name
        if path.exists():
            self._forget(path)
            path.unlink()

    def leave_in_done(self, act: Act) -> None:
        """Somebody takes done/, or today's folder in it, for a place of their own."""
        route = self.routes[act.route]
        path = route.done / folder_at(route.dated, self.api.clock.now()) / act.name
        if path.parent.is_dir() and not path.exists() and not path.with_name(act.name + RECEIPT_SUFFIX).exists():
            path.write_bytes(STRANGE)
            self._remember(STRANGE)

    def go_away(self, act: Act) -> None:
        """The share with the drop folder is not there for a while."""
        drop = self.routes[act.route].drop
        if drop.is_dir():
            _rename(drop, self._away(act.route))

    def come_back(self, act: Act) -> None:
        if self._away(act.route).is_dir():
            _rename(self._away(act.route), self.routes[act.route].drop)

    def set_clock_back(self, act: Act) -> None:
        self.api.clock.ahead_s -= JUMP_S

    def set_clock_forward(self, act: Act) -> None:
        self.api.clock.ahead_s += JUMP_S

    def write_elsewhere(self, act: Act) -> None:
        """Another system writes a score into the assessment."""
        if act.content in ("one", "near one", "two", "three", "four"):
            body = json.loads(CONTENTS[act.content])
            self.api.write(body.pop("assessmentId"), json.dumps(body).encode())

    def end_token(self, act: Act) -> None:
        """The token ends before its time; there is another."""
        self.api.token += 1

    def lose_token(self, act: Act) -> None:
        """The token ends before its time, and there is no other."""
        self.api.token += 1
        self.tokens.trouble = Unreachable("no connection")

    def _away(self, route: str) -> Path:
        return self.routes[route].drop.with_name("away")

    def _remember(self, content: bytes) -> None:
        self.owed[content] += 1
        self.dropped[content] += 1

    def _forget(self, path: Path) -> None:
        """Somebody is about to destroy what is there: nobody owes it to them any more."""
        if path.exists() and self.owed[path.read_bytes()] > 0:
            self.owed[path.read_bytes()] -= 1

    def folders(self) -> list[Path]:
        """All folders that hold files of producers, wherever they are now."""
        routes = self.routes.values()
        drops = [self._away(r.name) if self._away(r.name).is_dir() else r.drop for r in routes]
        passages = [drop / PASSAGE for drop in drops if (drop / PASSAGE).is_dir()]
        done = [r.done / inside for r in routes for inside in tree.folders(r.done)]
        return [*drops, *passages, *done, *(r.failed for r in routes)]
