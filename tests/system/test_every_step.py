"""Something happens at each step of one pass in turn: in the end all is well (the state machine's word for it)."""

from __future__ import annotations

import pytest

from tests.system.faults import renameat2
from tests.system.model_api import WAIT_S
from tests.system.model_people import Act
from tests.system.model_world import DATED, Trouble
from tests.system.test_state_machine import Sync

TROUBLES = [
    *((kind, "crash") for kind in ("ledger", "recorded", "API", "system")),
    *((kind, "error") for kind in ("ledger", "system")),
    *(("system", Act(what, "hold", "a.json", "two")) for what in ("write", "replace", "delete", "leave_in_done")),
]
PASSES: dict[str, list[tuple[float, str | None]]] = {
    "sent": [],
    "looked for": [(0.0, "taken, no answer")],
    "sent again": [(0.0, "lost"), (1.0, None)],
}
"""What the pass is about, and the passes before it: the seconds before each, and what became of its PUT."""


def happens(trouble: Trouble, about: str, dated: str) -> bool:
    """Whether the pass had so many steps. What is wrong in the end raises AssertionError."""
    sync = Sync({"hold": dated})
    try:
        sync.begin(renameat2, False, None)
        sync.world.people.do(Act("write", "hold", "a.json", "one"))
        for wait_s, put in PASSES[about]:
            sync.visit_all([], wait_s, "no", put, None, None, False)
        sync.visit_all([], WAIT_S + 1, "no", None, None, trouble, False)
        sync.nothing_is_lost_and_nothing_is_twice()
        return sync.world.steps.fired
    finally:
        sync.teardown()


@pytest.mark.parametrize(("about", "dated"), [*((about, "") for about in PASSES), ("sent", DATED)])
@pytest.mark.parametrize(("kind", "what"), TROUBLES, ids=lambda value: getattr(value, "what", value))
def test_trouble_at_any_step_costs_nothing(about: str, dated: str, kind: str, what: str | Act) -> None:
    at = 1
    while happens(Trouble(kind, at, what), about, dated):
        at += 1
    assert at > 2, "something happened"


@pytest.mark.parametrize("ends", ["no", "well", "killed"])
def test_a_clock_set_forward_after_the_first_look_brings_the_second_no_nearer(ends: str) -> None:
    """The API shows the score late: only a second look that is truly `read_back.wait` after the first one finds it."""
    acts = [Act(what, "hold", "a.json", "two") for what in ("write", "set_clock_forward")]
    sync = Sync()
    try:
        sync.begin(renameat2, False, None)
        sync.visit_all(acts[:1], 0.0, "no", "taken, no answer, shown late", None, None, False)
        sync.visit_all([], 1.0, "no", None, None, None, False)
        sync.visit_all(acts[1:], 0.0, ends, None, None, None, False)
        sync.nothing_is_lost_and_nothing_is_twice()
    finally:
        sync.teardown()
