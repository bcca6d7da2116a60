"""Whatever happens, in whatever order: no file is lost, no score is created twice, and what is filed is true.

Hypothesis makes up what happens (rules), and looks for something after which it does not hold (invariants).
`python -m campaigns.statemachine` lets it look for longer.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from canarysync import tree
from canarysync.candidates import ERROR_SUFFIX, PASSAGE, RECEIPT_SUFFIX, syntax_of
from canarysync.ledger import DONE
from canarysync.model import Document, Score
from canarysync.parse import parse
from canarysync.step import FINAL, Outcome, Step
from canarysync.validate import validate
from tests.system.faults import LIMITS
from tests.system.model_api import LISTING_FAULTS, PUT_FAULTS, WAIT_S, Stored
from tests.system.model_people import CONTENTS, NAMES, PRECISE, STRANGE, Act
from tests.system.model_world import Place, Trouble, World

TALLY: Counter[str] = Counter()
"""What was tried, for the campaign to tell."""

ROUTES = ("hold", "resend")
ACTS = (
    "write", "replace", "append", "cut", "delete", "drop_again", "clear_failed", "leave_in_done", "go_away",
    "come_back", "set_clock_back", "set_clock_forward", "write_elsewhere", "end_token", "lose_token",
)  # fmt: skip

routes, names, contents = st.sampled_from(ROUTES), st.sampled_from(NAMES), st.sampled_from(list(CONTENTS))
acts = st.builds(
    Act, st.sampled_from(["write", "write", "set_clock_forward"]) | st.sampled_from(ACTS), routes, names, contents
)
acts_here = st.builds(Act, st.sampled_from(["write", "replace", "delete"]), st.just(""), st.just(""), contents)
whats = st.just("crash") | st.sampled_from(["error", "others"]) | acts | acts_here
troubles = (
    st.none()
    | st.builds(Trouble, st.just("API"), st.integers(1, 4), whats)
    | st.builds(Trouble, st.sampled_from(["ledger", "recorded"]), st.integers(1, 6), whats)
    | st.builds(Trouble, st.just("system"), st.integers(1, 25), whats)
)
waits = st.sampled_from([0.0, 1.0, 20.0, WAIT_S + 1, WAIT_S + 1, 400.0, 8000.0])
puts = st.sampled_from(
    [None] * 20 + ["taken, no answer", "taken, no answer, shown late", "lost"] * 6 + sorted(PUT_FAULTS)
)
looks = st.sampled_from([None] * 20 + ["404"] * 5 + sorted(LISTING_FAULTS))
mostly = st.sampled_from([True, True, True, False])
ends = st.sampled_from(["no", "no", "no", "well", "killed"])


class Sync(RuleBasedStateMachine):
    """Two routes, one API, and everything that may happen to them."""

    def __init__(self, dated: Mapping[str, str] | None = None) -> None:
        super().__init__()
        # What a power cut would leave is not the question here, so it may be memory, where that is a folder.
        self.home = Path(tempfile.mkdtemp(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None))
        self.patch = pytest.MonkeyPatch()
        self.world = World(self.home) if dated is None else World(self.home, dated)
        self.filed: dict[Path, bytes] = {}
        TALLY["examples"] += 1

    @initialize(limit=st.sampled_from(LIMITS), conflicts=st.booleans(), crash=st.none() | st.integers(1, 40))
    def begin(self, limit: Callable[[pytest.MonkeyPatch], None], conflicts: bool, crash: int | None) -> None:
        """The kind of file system, the kind of API, and a first start, which may end early."""
        self.world.steps.watch_the_system(self.patch, limit)
        self.world.api.conflicts = conflicts
        self.world.scan(Trouble("system", crash, "crash") if crash else None)
        self.world.scan()

    # --- rules ---------------------------------------------------------------------------------------

    @rule(
        acts=st.lists(acts, max_size=3), wait_s=waits, ends=ends, put=puts, look=looks, trouble=troubles,
        scanning=st.sampled_from([False, False, False, True]),
    )  # fmt: skip
    def visit_all(
        self, acts: list[Act], wait_s: float, ends: str, put: str | None, look: str | None, trouble: Trouble | None,
        scanning: bool,
    ) -> None:  # fmt: skip
        """A scan, and a pass for all that it found. The trouble comes while scanning, or to the first pass that gets so
        far."""
        if ends != "no":
            (self.world.crash if ends == "killed" else self.world.restart)()
        places = self.found(acts, wait_s, put, look, trouble if scanning else None)
        for place in places:
            trouble = None if scanning or self.world.steps.fired else trouble
            self.heard(place, self.world.visit(place, trouble=trouble))
        self.world.heal()

    @rule(
        acts=st.lists(acts, max_size=2), put=puts, look=looks, trouble=troubles, which=st.integers(0, 3),
        settled=mostly, may_send=mostly,
    )  # fmt: skip
    def visit(
        self, acts: list[Act], put: str | None, look: str | None, trouble: Trouble | None, which: int, settled: bool,
        may_send: bool,
    ) -> None:  # fmt: skip
        """One pass for one of them, not settled perhaps, or behind a shut gate."""
        places = self.found(acts, 0.0, put, look, None)
        if places:
            place = places[which % len(places)]
            self.heard(place, self.world.visit(place, settled=settled, may_send=may_send, trouble=trouble))
        self.world.heal()

    @rule(route=routes, stopped=st.booleans())
    def hold_or_release(self, route: str, stopped: bool) -> None:
        (self.world.hold if stopped else self.world.release)(route)

    @rule()
    def requeue(self) -> None:
        self.world.requeue()

    def found(
        self, acts: list[Act], wait_s: float, put: str | None, look: str | None, trouble: Trouble | None
    ) -> list[Place]:
        """What a scan finds after some acts and a while. From now on requests end as ``put`` and ``look`` say."""
        for act in acts:
            self.world.people.do(act)
        self.world.wait(wait_s)
        self.world.api.fail(put, look)
        return self.world.scan(trouble)

    def settle(self) -> None:
        for route in ROUTES:
            self.world.release(route)
        left = self.world.settle()
        self.world.restart()
        self.world.scan()  # which opens the routes again, and clears up
        self.all_is_well(left)

    # --- what holds always ---------------------------------------------------------------------------

    def heard(self, place: Place, step: Step | None) -> None:
        """A pass came to its end: what it filed has to be true, and stays from now on."""
        TALLY[f"outcome {step.outcome if step else None}"] += 1
        if step is None or step.outcome not in FINAL or step.outcome is Outcome.WITHDRAWN:
            return
        entry = step.entry
        assert entry is not None
        assert entry.target is not None
        done = entry.state in DONE
        route = self.world.routes[place[0]]
        path = (route.done if done else route.failed) / entry.target
        sidecar = path.with_name(path.name + (RECEIPT_SUFFIX if done else ERROR_SUFFIX))
        content = self.true_receipt(sidecar) if done else self.true_error(sidecar)
        assert content["entryId"] == entry.id
        if done:
            self.filed[sidecar] = sidecar.read_bytes()
            if path.exists():
                self.filed[path] = path.read_bytes()

    def true_receipt(self, sidecar: Path) -> dict[str, Any]:
        """What a receipt says, which is what the API has, and what the file beside it says."""
        content: dict[str, Any] = json.loads(sidecar.read_bytes())
        (there,) = [stored for stored in self.world.api.stored if stored.score.uuid == content["uuid"]]
        assert there.identity.match_key == content["scores"][0]["matchKey"]
        file = sidecar.with_name(sidecar.name.removesuffix(RECEIPT_SUFFIX))
        assert file.exists() is not content.get("fileMissing", False)
        if file.exists():
            assert hashlib.sha256(file.read_bytes()).hexdigest() == content["sha256"]
            assert (
                score_in(file.read_bytes(), content["file"]).identity.fingerprint == content["scores"][0]["fingerprint"]
            )
        return content

    def true_error(self, sidecar: Path) -> dict[str, Any]:
        content: dict[str, Any] = json.loads(sidecar.read_bytes())
        file = sidecar.with_name(sidecar.name.removesuffix(ERROR_SUFFIX))
        if file.exists():
            assert hashlib.sha256(file.read_bytes()).hexdigest() == content["sha256"]
        return content

    @invariant()
    def nothing_is_lost_and_nothing_is_twice(self) -> None:
        there = Counter(path.read_bytes() for folder in self.world.people.folders() for path in files_in(folder))
        assert not self.world.people.owed - there, "a file is lost"
        for path, content in self.filed.items():
            assert path.read_bytes() == content, "what was filed was changed"
        self.sent_once()

    def sent_once(self) -> None:
        """Only the policy `resend` may make a score twice, and only where the API does not say what it holds."""
        for scores, too_many in self.twice().values():
            assert self.world.api.blind, "a score is twice at the API"
            assert sum(there.route == "resend" for there in scores) > too_many, "a score is twice at the API"
        assert not self.world.api.unseen, "a score was sent again without two looks that are far enough apart"

    def twice(self) -> dict[str, tuple[list[Stored], int]]:
        """What we stored too often, by match key: all of it, and how many of it are too many."""
        most = {score_in(CONTENTS[PRECISE[0]], ".json").identity.match_key: len(PRECISE)}
        ours = self.world.api.ours().items()
        return {key: (scores, more) for key, scores in ours if (more := len(scores) - most.get(key, 1)) > 0}

    # --- what holds in the end -----------------------------------------------------------------------

    def all_is_well(self, left: dict[Place, Step]) -> None:
        """Everything went well since, and nothing moves any more."""
        self.nothing_is_lost_and_nothing_is_twice()
        receipts = [self.true_receipt(path) for path in self.sidecars("done")]
        errors = [self.true_error(path) for path in self.sidecars("failed")]
        assert len({content["entryId"] for content in receipts + errors}) == len(receipts) + len(errors)
        self.counts_fit(receipts, left)
        by_uuid: dict[str, set[str]] = {}
        for content in receipts:
            by_uuid.setdefault(content["uuid"], set()).add(content["scores"][0]["fingerprint"])
        assert all(len(fingerprints) == 1 for fingerprints in by_uuid.values()), "two scores have one uuid"
        self.what_we_stored_is_told_of(receipts, left)
        self.who_is_held_has_a_reason(by_uuid.keys(), left)
        self.every_file_has_its_place(left)

    def counts_fit(self, receipts: list[dict[str, Any]], left: dict[Place, Step]) -> None:
        world = self.world
        ids = world.ledger.routes().values()
        counts = [world.ledger.counts(route_id) for route_id in ids]
        assert sum(c.done for c in counts) == len(receipts)
        assert sum(c.failed for c in counts) >= len(self.sidecars("failed"))
        held = {step.entry.id for step in left.values() if step.entry is not None}
        assert sum(len(world.ledger.open_entries(route_id)) for route_id in ids) == len(held)

    def what_we_stored_is_told_of(self, receipts: list[dict[str, Any]], left: dict[Place, Step]) -> None:
        open_keys = {step.entry.identity.match_key for step in left.values() if step.entry and step.entry.identity}
        told = {content["scores"][0]["matchKey"] for content in receipts}
        stored = {there.identity.match_key for there in self.world.api.stored if there.route is not None}
        assert stored <= told | open_keys, "the API has a score of ours that nothing here tells of"
        flagged = {content["scores"][0]["matchKey"] for content in receipts if "possibleDuplicate" in content}
        assert self.twice().keys() <= flagged | open_keys, "a score is twice at the API, and nothing says so"

    def who_is_held_has_a_reason(self, owned: Collection[str], left: dict[Place, Step]) -> None:
        """Something like it is at the API, and is nobody's."""
        free = {there.identity.near_key for there in self.world.api.stored if there.score.uuid not in owned}
        for step in left.values():
            assert step.entry is not None
            assert step.entry.identity is not None
            assert step.entry.identity.near_key in free, "held for no reason"

    def every_file_has_its_place(self, left: dict[Place, Step]) -> None:
        for route in self.world.routes.values():
            held = {key.name for name, key in left if name == route.name}
            assert {path.name for path in files_in(route.drop)} <= held
            assert not (route.drop / PASSAGE).exists() or files_in(route.drop / PASSAGE) == []
            done = [(route.done / inside, RECEIPT_SUFFIX) for inside in tree.folders(route.done)]
            for folder, suffix in (*done, (route.failed, ERROR_SUFFIX)):
                assert not [path for path in folder.iterdir() if path.name.startswith(".")], "leftovers"
                ours = [path for path in files_in(folder) if path.read_bytes() != STRANGE]
                assert all(path.with_name(path.name + suffix).exists() for path in ours), "without a reason"
        there = Counter(path.read_bytes() for folder in self.world.people.folders() for path in files_in(folder))
        assert there <= self.world.people.dropped, "a file is there twice"

    def sidecars(self, folder: str) -> list[Path]:
        suffix = RECEIPT_SUFFIX if folder == "done" else ERROR_SUFFIX
        return [p for route in ROUTES for p in sorted((self.home / route / folder).rglob(f"*{suffix}"))]

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self.settle()
        finally:
            self.patch.undo()
            TALLY.update(self.world.tally)
            TALLY["files"] += self.world.people.dropped.total()
            self.world.close()
            shutil.rmtree(self.home)


def files_in(folder: Path) -> list[Path]:
    """The files of producers: no sidecars, nothing of our own."""
    return [
        path for path in folder.iterdir()
        if path.is_file() and not path.name.startswith(".") and not path.name.endswith((RECEIPT_SUFFIX, ERROR_SUFFIX))
    ]  # fmt: skip


def score_in(content: bytes, name: str) -> Score:
    """The score in a file that was dropped as ``name``."""
    document = parse(content, syntax_of(name))
    assert isinstance(document, Document)
    score = validate(document)
    assert isinstance(score, Score)
    return score


TestSync = Sync.TestCase
TestSync.settings = settings(
    max_examples=25,
    stateful_step_count=30,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
