"""Which changes a ledger allows: exactly those of LEGAL; and who owns a score in which state."""

from __future__ import annotations

import pytest

from canarysync.errors import CanarysyncError, Exit
from canarysync.ledger import DECIDED, LEGAL, OWNING, Claimed, Ledger, Taken
from canarysync.model import Code, State
from tests.ledger.support import T0, at, change, claim, draft, entry_in, unread

# DUPLICATE is a start only: `duplicate` takes a draft.
TARGETS = [state for state in State if state is not State.DUPLICATE]
LEGAL_PAIRS = [(state, target) for state in State for target in sorted(LEGAL.get(state, ()))]
ILLEGAL_PAIRS = [(state, target) for state in State for target in TARGETS if target not in LEGAL.get(state, ())]


def test_the_table_speaks_of_every_state() -> None:
    assert len(LEGAL_PAIRS) + len(ILLEGAL_PAIRS) == len(State) * len(TARGETS)
    assert {state for state in State if not LEGAL.get(state)} == (
        DECIDED - {State.UPLOADED} | {State.WITHDRAWN, State.REPLACED}
    )


@pytest.mark.parametrize(("state", "target"), LEGAL_PAIRS)
def test_a_legal_change_is_made(ledger: Ledger, state: State, target: State) -> None:
    entry = entry_in(ledger, state)

    changed = change(ledger, entry, target)

    assert changed.state is target
    assert changed.id == entry.id
    assert changed.created_at == T0
    assert changed.changed_at == at(1)
    assert ledger.entry(entry.id) == changed


@pytest.mark.parametrize(("state", "target"), ILLEGAL_PAIRS)
def test_an_illegal_change_is_a_defect_and_changes_nothing(ledger: Ledger, state: State, target: State) -> None:
    entry = entry_in(ledger, state)

    with pytest.raises(CanarysyncError) as caught:
        change(ledger, entry, target)

    assert caught.value.exit_code is Exit.DEFECT
    assert ledger.entry(entry.id)._replace(filed_at=entry.filed_at) == entry


@pytest.mark.parametrize("state", [state for state in State if state not in LEGAL[None]])
def test_a_new_entry_cannot_be_born_in_any_other_state(ledger: Ledger, state: State) -> None:
    with pytest.raises(CanarysyncError) as caught:
        ledger.fail(draft(), state, Code.REFUSED, 422, "visit.json", T0)

    assert caught.value.exit_code is Exit.DEFECT
    assert ledger.open_entries(draft().route_id) == []


@pytest.mark.parametrize("state", sorted(LEGAL[State.INTENDED] - {State.IN_DOUBT}))
def test_what_counts_is_the_state_in_the_ledger_not_that_in_the_callers_hand(ledger: Ledger, state: State) -> None:
    stale = claim(ledger, draft())
    current = change(ledger, stale, state)

    with pytest.raises(CanarysyncError):
        change(ledger, stale, State.REFUSED)

    assert ledger.entry(stale.id) == current


@pytest.mark.parametrize("state", sorted(OWNING))
def test_an_owner_keeps_its_score_to_itself(ledger: Ledger, state: State) -> None:
    owner = entry_in(ledger, state, "first.json", number=1)

    assert ledger.intend(draft("second.json", number=1), at(5)) == Taken(owner)
    assert ledger.open_entry(owner.route_id, "second.json") is None


@pytest.mark.parametrize("state", [State.REFUSED, State.GAVE_UP, State.WITHDRAWN, State.REJECTED])
def test_an_entry_that_ended_without_the_score_lets_go_of_it(ledger: Ledger, state: State) -> None:
    entry_in(ledger, state, "first.json", number=1)

    assert isinstance(ledger.intend(draft("second.json", number=1), at(5)), Claimed)


def test_a_detached_owner_still_owns(ledger: Ledger) -> None:
    owner = ledger.detach(entry_in(ledger, State.IN_DOUBT, number=1), at(2))

    assert ledger.intend(draft(number=1), at(5)) == Taken(owner)


def test_an_uploaded_score_is_owned_for_ever(ledger: Ledger) -> None:
    owner = entry_in(ledger, State.UPLOADED, number=1)
    ledger.filed(owner, at(2))
    ledger.flush()

    taken = ledger.intend(draft(number=1), at(5))

    assert isinstance(taken, Taken)
    assert taken.owner.id == owner.id


def test_a_file_without_a_score_is_rejected_only(ledger: Ledger) -> None:
    entry = ledger.fail(unread(), State.REJECTED, Code.TOO_LARGE, None, "visit.json", T0)

    assert entry.state is State.REJECTED
    assert (entry.sha256, entry.identity, entry.assessment_id) == (None, None, None)
    assert (entry.code, entry.target, entry.attempts) == (Code.TOO_LARGE, "visit.json", 0)
