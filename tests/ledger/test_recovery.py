"""A ledger that knows less than the folders: it enters what sidecars tell, and doubts what it cannot know."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canarysync.errors import LedgerError
from canarysync.ledger import Claimed, Counts, Ledger, Past, Taken
from canarysync.model import SEND_AGAIN, Code, Proof, State
from tests.ledger.support import BACKENDS, ROUTE, SIGNATURE, T0, at, change, claim, draft, entry_in, identity, uuid_of
from tests.support import ASSESSMENT

FIRST, SECOND = "01900000-0000-7000-8000-000000000001", "01900000-0000-7000-8000-000000000002"


def receipt(number: int = 1, entry_id: str = FIRST, name: str = "visit.json") -> Past:
    """What the receipt of score ``number`` says."""
    return Past(
        entry_id=entry_id, route_id=ROUTE, name=name, target=name, sha256="a" * 64, state=State.UPLOADED, at=T0,
        attempts=1, assessment_id=ASSESSMENT, identity=replace(identity(number), near_key=""), uuid=uuid_of(number),
        proof=Proof.RESPONSE,
    )  # fmt: skip


# --- receipts --------------------------------------------------------------------------------------


def test_what_a_receipt_says_is_done(ledger: Ledger) -> None:
    ledger.take_in([receipt()], at(9))

    assert ledger.counts(ROUTE).done == 1
    assert ledger.open_entries(ROUTE) == []
    taken = ledger.intend(draft("again.json", 1), at(9))
    assert isinstance(taken, Taken)
    assert (taken.owner.uuid, taken.owner.state, taken.owner.proof) == (uuid_of(1), State.UPLOADED, Proof.RESPONSE)


def test_taking_in_may_be_repeated(ledger: Ledger) -> None:
    for _ in range(2):
        ledger.take_in([receipt(), receipt(2, SECOND, "other.json")], at(9))

    assert ledger.counts(ROUTE).done == 2


def test_an_entry_that_was_filed_otherwise_is_counted_where_it_is_now(ledger: Ledger) -> None:
    withdrawn = entry_in(ledger, State.WITHDRAWN, number=1)
    assert ledger.counts(ROUTE).withdrawn == 1

    ledger.take_in([receipt(1, withdrawn.id)], at(9))

    assert ledger.counts(ROUTE) == ledger.counts(ROUTE, T0) == Counts(1, 0, 0, {})


def test_a_file_that_was_not_moved_yet_is_open(ledger: Ledger) -> None:
    ledger.take_in([replace(receipt(), signature=SIGNATURE)], at(9))

    [entry] = ledger.open_entries(ROUTE)
    assert (entry.state, entry.target, entry.signature) == (State.UPLOADED, "visit.json", SIGNATURE)


def test_of_two_receipts_for_one_score_both_uuids_are_owned(ledger: Ledger) -> None:
    """The same score twice at the API, or once with two files: whatever it was, no file may adopt either again."""
    twin = replace(receipt(1, SECOND, "twin.json"), uuid=uuid_of(2))
    same = replace(receipt(1, "01900000-0000-7000-8000-000000000003", "same.json"))
    ledger.take_in([receipt(), twin, same], at(9))

    other = claim(ledger, draft("other.json", 9))
    assert ledger.owned_uuids([uuid_of(1), uuid_of(2), uuid_of(3)], other) == {uuid_of(1), uuid_of(2)}
    assert [ledger.entry(p.entry_id).uuid for p in (receipt(), twin, same)] == [uuid_of(1), uuid_of(2), uuid_of(1)]


def test_two_scores_under_one_uuid_do_not_break_the_rule_that_it_has_one_owner(ledger: Ledger) -> None:
    ledger.take_in([receipt(1), replace(receipt(2, SECOND, "other.json"), uuid=uuid_of(1))], at(9))

    assert ledger.entry(SECOND).uuid == uuid_of(1)
    assert isinstance(ledger.intend(draft("again.json", 2), at(9)), Taken), "each score has its owner all the same"


def test_a_failure_is_taken_in_with_its_reason(ledger: Ledger) -> None:
    failure = replace(receipt(), state=State.REFUSED, code=Code.REFUSED, status=422, uuid=None, proof=None)
    ledger.take_in([failure, replace(failure, entry_id=SECOND, state=State.REJECTED, identity=None)], at(9))

    assert (ledger.counts(ROUTE).failed, ledger.entry(FIRST).status) == (2, 422)
    assert isinstance(ledger.intend(draft("again.json", 1), at(9)), Claimed), "what was refused may be tried again"


# --- an older ledger -------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.INTENDED, State.IN_DOUBT, State.DEFERRED])
def test_what_an_older_ledger_has_not_seen_the_end_of_ends_as_its_receipt_says(ledger: Ledger, state: State) -> None:
    entry = entry_in(ledger, state, number=1)

    ledger.take_in([receipt(1, entry.id)], at(9))

    assert ledger.open_entries(ROUTE) == []
    assert ledger.entry(entry.id).uuid == uuid_of(1)
    assert ledger.entry(entry.id).state is State.UPLOADED


def test_what_the_ledger_knows_the_end_of_stays_as_it_is(ledger: Ledger) -> None:
    entry = entry_in(ledger, State.UPLOADED, number=1)

    ledger.take_in([receipt(1, entry.id)], at(9))

    assert ledger.entry(entry.id) == entry


@pytest.mark.parametrize("state", [State.INTENDED, State.IN_DOUBT, State.DEFERRED])
def test_entries_that_stand_in_the_way_of_a_later_one(ledger: Ledger, state: State) -> None:
    """One of the same name has lost its file since; one of the same score is settled by the receipt."""
    same_name = entry_in(ledger, state, "visit.json", number=1)
    same_score = entry_in(ledger, state, "other.json", number=2)
    later = replace(receipt(2, "0fffffff-0000-7000-8000-000000000000"), signature=SIGNATURE)

    ledger.take_in([later], at(9))

    assert {entry.id for entry in ledger.open_entries(ROUTE)} == {later.entry_id, same_name.id}
    assert ledger.entry(same_name.id).detached, "it may have been sent: it is still looked for"
    assert ledger.entry(same_score.id).state is State.WITHDRAWN


@pytest.mark.parametrize("state", [State.UPLOADED, State.REFUSED])
def test_an_earlier_one_of_the_name_whose_end_is_known_has_been_filed(ledger: Ledger, state: State) -> None:
    entry_in(ledger, state, "visit.json", number=1)
    later = replace(receipt(2, "0fffffff-0000-7000-8000-000000000000"), signature=SIGNATURE)

    ledger.take_in([later], at(9))

    assert [entry.id for entry in ledger.open_entries(ROUTE)] == [later.entry_id]


def test_a_later_one_of_the_name_stays(ledger: Ledger) -> None:
    entry = entry_in(ledger, State.IN_DOUBT, "visit.json", number=1)

    ledger.take_in([replace(receipt(2), signature=SIGNATURE)], at(9))

    assert [entry.id for entry in ledger.open_entries(ROUTE)] == [entry.id]


def test_a_request_under_way_on_another_route_is_left_alone(ledger: Ledger) -> None:
    under_way = claim(ledger, draft("visit.json", 1, route_id="b5f3f1d0-0f4e-4f36-9c9f-5a0f8f7f1b22"))

    ledger.take_in([receipt(1)], at(9))

    assert ledger.upload(under_way, uuid_of(9), Proof.RESPONSE, "visit.json", at(9)).state is State.UPLOADED
    assert ledger.entry(FIRST).uuid == uuid_of(1)


@given(st.permutations(range(6)), st.data())
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_receipts_may_come_in_any_order(tmp_path: Path, order: list[int], data: st.DataObject) -> None:
    """Whatever they share (a score, a uuid, a name): all are done, every uuid and every score has an owner."""
    with tempfile.TemporaryDirectory(dir=tmp_path) as folder:
        ledger = BACKENDS["sqlite"](Path(folder))
        pasts = [
            replace(
                receipt(data.draw(st.integers(1, 3)), f"01900000-0000-7000-8000-00000000000{number}", f"{name}.json"),
                uuid=uuid_of(data.draw(st.integers(1, 3))),
                signature=data.draw(st.sampled_from([None, SIGNATURE])),
            )
            for number, name in enumerate("aabbcc")
        ]
        ledger.take_in([pasts[index] for index in order], at(9))

        assert [ledger.entry(past.entry_id).uuid for past in pasts] == [past.uuid for past in pasts]
        new = claim(ledger, draft("new.json", 9))
        uuids = {past.uuid for past in pasts if past.uuid}
        assert ledger.owned_uuids(uuids, new) == uuids
        for number in (1, 2, 3):
            known = any(past.identity == receipt(number).identity for past in pasts)
            assert isinstance(ledger.intend(draft(f"again-{number}.json", number), at(9)), Taken) is known
        ledger.close()


@pytest.mark.parametrize("state", [State.INTENDED, State.IN_DOUBT, State.DEFERRED])
def test_what_is_undecided_is_in_doubt_from_now_on(ledger: Ledger, state: State) -> None:
    entry = entry_in(ledger, state)

    ledger.suspect(ROUTE, {}, at(9))

    found = ledger.entry(entry.id)
    assert (found.state, found.first_look, found.retry_at) == (State.IN_DOUBT, None, None)


def test_what_is_decided_stays_decided(ledger: Ledger) -> None:
    entries = [entry_in(ledger, state, f"{state}.json") for state in (State.UPLOADED, State.REFUSED, State.GAVE_UP)]

    ledger.suspect(ROUTE, {}, at(9))

    assert [ledger.entry(entry.id) for entry in entries] == entries


# --- suspects --------------------------------------------------------------------------------------


def test_a_suspect_is_in_doubt_once(ledger: Ledger) -> None:
    ledger.suspect(ROUTE, {"visit.json": None}, at(0))

    entry = claim(ledger, draft("visit.json", 1), at(1))
    assert (entry.state, entry.attempts) == (State.IN_DOUBT, 0)
    ledger.withdraw(entry, at(2))
    assert claim(ledger, draft("visit.json", 1), at(3)).state is State.INTENDED


def test_so_is_another_file_with_its_score_in_any_route(ledger: Ledger) -> None:
    """A lab exports again after a disaster: whichever file comes first, it is looked for."""
    ledger.suspect(ROUTE, {"visit.json": identity(1).fingerprint}, at(0))
    again = draft("again.json", 1, route_id="b5f3f1d0-0f4e-4f36-9c9f-5a0f8f7f1b22")

    assert claim(ledger, again, at(1)).state is State.IN_DOUBT


def test_only_the_name_and_the_route_that_waited_are_suspect(ledger: Ledger) -> None:
    ledger.suspect(ROUTE, {"visit.json": None}, at(0))
    other_route = draft("visit.json", route_id="b5f3f1d0-0f4e-4f36-9c9f-5a0f8f7f1b22")

    assert claim(ledger, draft("other.json"), at(1)).state is State.INTENDED
    assert claim(ledger, other_route, at(1)).state is State.INTENDED


def test_a_suspect_that_turns_out_to_be_done_is_suspect_no_more(ledger: Ledger) -> None:
    ledger.take_in([receipt(1, name="done.json")], at(0))
    ledger.suspect(ROUTE, {"visit.json": None}, at(0))
    taken = ledger.intend(draft("visit.json", 1), at(1))
    assert isinstance(taken, Taken)
    ledger.filed(ledger.duplicate(draft("visit.json", 1), taken.owner, "visit.json", at(1)), at(1))

    assert claim(ledger, draft("visit.json", 2), at(2)).state is State.INTENDED


# --- which ledger is it ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS.values(), ids=list(BACKENDS))
def test_a_ledger_has_reached_its_own_bookmarks_and_no_others(
    tmp_path: Path, backend: Callable[[Path], Ledger]
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    one, two = backend(tmp_path / "a"), backend(tmp_path / "b")
    early = one.bookmark()
    change(one, claim(one, draft()), State.DEFERRED)
    late = one.bookmark()

    assert one.has_reached(early)
    assert one.has_reached(late)
    assert not two.has_reached(early)
    assert not any(one.has_reached(odd) for odd in ("", "/", "x/1", late + "0", late.replace("/", "/-"), late + "²"))
    one.close()
    two.close()


# --- a person's decision ---------------------------------------------------------------------------


def test_only_what_is_in_doubt_can_be_resolved(ledger: Ledger) -> None:
    for state in set(State) - {State.IN_DOUBT}:
        entry = entry_in(ledger, state, f"{state}.json")
        with pytest.raises(LedgerError):
            ledger.resolve(entry, SEND_AGAIN, at(2))
        assert ledger.entry(entry.id).resolution is None


@pytest.mark.parametrize("state", [State.INTENDED, State.IN_DOUBT, State.UPLOADED, State.REFUSED, State.WITHDRAWN])
def test_a_change_that_a_person_has_overtaken_is_not_made(ledger: Ledger, state: State) -> None:
    stale = entry_in(ledger, State.IN_DOUBT)
    ledger.resolve(stale, uuid_of(7), at(2))

    with pytest.raises(LedgerError):
        change(ledger, stale, state)

    assert ledger.entry(stale.id) == stale._replace(resolution=uuid_of(7))


def test_a_decision_ends_with_the_next_sending(ledger: Ledger) -> None:
    entry = entry_in(ledger, State.IN_DOUBT)
    ledger.resolve(entry, SEND_AGAIN, at(2))

    sent = ledger.intend_again(ledger.entry(entry.id), at(5), resent=True)

    assert sent.resolution is None


def test_a_score_that_shares_the_uuid_of_another_is_owned_all_the_same(ledger: Ledger) -> None:
    entry_in(ledger, State.UPLOADED, "first.json", number=1)
    other = entry_in(ledger, State.UPLOADED, "other.json", number=2)
    assert other.uuid is not None

    shared = ledger.share(entry_in(ledger, State.IN_DOUBT, "visit.json", number=3), other.uuid, "visit.json", at(1))

    assert (shared.state, shared.uuid, shared.proof) == (State.UPLOADED, other.uuid, Proof.PERSON)
    assert isinstance(ledger.intend(draft("again.json", 3), at(2)), Taken)


@pytest.mark.parametrize("again", [False, True])
def test_an_intent_is_not_recorded_on_a_disk_that_is_as_good_as_full(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, again: bool
) -> None:
    """Its outcome might find no room."""
    entry = entry_in(ledger, State.DEFERRED)
    full = SimpleNamespace(f_blocks=1000, f_bavail=100, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda path: full)

    with pytest.raises(LedgerError, match="full"):
        ledger.intend_again(entry, at(1), resent=False) if again else ledger.intend(draft("new.json"), at(1))
    assert ledger.fail(entry, State.GAVE_UP, Code.GAVE_UP, None, "visit.json", at(2)).state is State.GAVE_UP
