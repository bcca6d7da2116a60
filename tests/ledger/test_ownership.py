"""One open entry for a name, one owner for a score and for a uuid; what is filed; and the count of it all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest

from canarysync.errors import LedgerError, UuidOwned
from canarysync.ledger import Claimed, Counts, Entry, Ledger, Taken
from canarysync.model import Code, Proof, State
from tests.ledger.support import ROUTE, T0, at, at_once, change, claim, draft, entry_in, identity, unread, uuid_of

OTHER_ROUTE = "b5f3f1d0-0f4e-4f36-9c9f-5a0f8f7f1b22"
Reopen = Callable[[], Ledger]


# --- one open entry for a name ---------------------------------------------------------------------


def test_a_name_has_one_open_entry_and_a_second_one_is_not_recorded(ledger: Ledger) -> None:
    entry = entry_in(ledger, State.DEFERRED)

    with pytest.raises(LedgerError):
        ledger.intend(draft(), at(5))

    assert list(ledger.open_entries(ROUTE)) == [entry]


def test_the_same_name_in_another_route_is_another_file(ledger: Ledger) -> None:
    entry = claim(ledger, draft())
    other = claim(ledger, draft(route_id=OTHER_ROUTE))

    assert list(ledger.open_entries(ROUTE)) == [entry]
    assert ledger.open_entry(OTHER_ROUTE, "visit.json") == other


def test_a_detached_entry_makes_room_for_a_new_one_of_its_name(ledger: Ledger) -> None:
    old = ledger.detach(entry_in(ledger, State.IN_DOUBT), at(2))
    assert old.detached
    assert ledger.open_entry(ROUTE, "visit.json") is None

    new = claim(ledger, draft(), at(5))

    assert ledger.open_entry(ROUTE, "visit.json") == new
    assert list(ledger.open_entries(ROUTE)) == [old, new]


def test_open_entries_come_in_the_order_in_which_they_were_made_whatever_the_clock_does(ledger: Ledger) -> None:
    for second in (3, 1, 2):
        claim(ledger, draft(f"{second}.json"), at(second))

    assert [entry.name for entry in ledger.open_entries(ROUTE)] == ["3.json", "1.json", "2.json"]


# --- filed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [State.UPLOADED, State.DUPLICATE, State.REJECTED, State.REFUSED, State.GAVE_UP])
def test_a_filed_entry_is_open_no_more_even_before_the_commit(ledger: Ledger, state: State) -> None:
    entry = entry_in(ledger, state)

    ledger.filed(entry, at(5))

    assert ledger.open_entry(ROUTE, "visit.json") is None
    assert entry.id not in [found.id for found in ledger.open_entries(ROUTE)]


@pytest.mark.parametrize("taken_along_by", ["the next commit", "flush", "close"])
def test_filed_is_recorded_with(reopen: Reopen, taken_along_by: str) -> None:
    ledger = reopen()
    ledger.filed(entry_in(ledger, State.UPLOADED), at(5))

    if taken_along_by == "the next commit":
        claim(ledger, draft("another.json"))
    elif taken_along_by == "flush":
        ledger.flush()
    else:
        ledger = reopen()

    assert ledger.counts(ROUTE).done == 1


def test_a_new_file_of_that_name_can_come_before_the_commit(ledger: Ledger) -> None:
    ledger.filed(entry_in(ledger, State.UPLOADED), at(5))

    new = claim(ledger, draft(), at(6))

    assert ledger.open_entry(ROUTE, "visit.json") == new


# --- who owns what ---------------------------------------------------------------------------------


def test_a_uuid_belongs_to_one_entry(ledger: Ledger) -> None:
    ledger.upload(claim(ledger, draft("a.json")), uuid_of(7), Proof.RESPONSE, "a.json", at(1))
    late = claim(ledger, draft("b.json"))

    with pytest.raises(UuidOwned):
        ledger.upload(late, uuid_of(7), Proof.RESPONSE, "b.json", at(2))

    assert ledger.entry(late.id) == late


def test_one_of_many_that_want_a_uuid_at_once_gets_it(ledger: Ledger) -> None:
    entries = [claim(ledger, draft(f"{number}.json")) for number in range(8)]

    results = at_once([partial(ledger.upload, e, uuid_of(7), Proof.RESPONSE, e.name, at(1)) for e in entries])

    winners = [result for result in results if isinstance(result, Entry)]
    assert len(winners) == 1
    assert sum(isinstance(result, UuidOwned) for result in results) == 7
    assert sum(entry.state is State.UPLOADED for entry in ledger.open_entries(ROUTE)) == 1


def test_one_of_many_that_intend_a_score_at_once_may_send_it(ledger: Ledger) -> None:
    drafts = [draft(f"{number}.json", 1) for number in range(8)]

    results = at_once([partial(ledger.intend, d, T0) for d in drafts])

    claimed = [result.entry for result in results if isinstance(result, Claimed)]
    assert len(claimed) == 1
    assert [result for result in results if not isinstance(result, Claimed)] == [Taken(claimed[0])] * 7
    assert list(ledger.open_entries(ROUTE)) == claimed


def test_a_like_score_is_sent_until_its_outcome_is_known(ledger: Ledger) -> None:
    mine = claim(ledger, draft("a.json", 1))
    like = replace(identity(2), near_key=identity(1).near_key)
    other = claim(ledger, draft("b.json", 2)._replace(identity=like))
    stranger = claim(ledger, draft("c.json", 3))

    assert [ledger.sends_alike(entry) for entry in (mine, other, stranger)] == [True, True, False]
    ledger.upload(other, uuid_of(2), Proof.RESPONSE, "b.json", at(1))
    assert [ledger.sends_alike(entry) for entry in (mine, other, stranger)] == [False, True, False]


def test_owned_uuids_are_those_of_others(ledger: Ledger) -> None:
    mine = ledger.upload(claim(ledger, draft("a.json", 1)), uuid_of(1), Proof.RESPONSE, "a.json", at(1))
    ledger.upload(claim(ledger, draft("b.json")), uuid_of(2), Proof.RESPONSE, "b.json", at(1))
    twin = ledger.duplicate(draft("c.json", 1), mine, "c.json", at(2))

    asked = [uuid_of(number) for number in range(1, 4)]
    assert ledger.owned_uuids(asked, mine) == {uuid_of(2)}
    assert ledger.owned_uuids(asked, twin) == {uuid_of(1), uuid_of(2)}
    assert ledger.owned_uuids([], mine) == frozenset()


def test_a_very_long_list_of_uuids_can_be_asked_for(ledger: Ledger) -> None:
    entry = ledger.upload(claim(ledger, draft("a.json")), uuid_of(39_999), Proof.RESPONSE, "a.json", at(1))
    other = claim(ledger, draft("b.json"))

    assert ledger.owned_uuids([uuid_of(number) for number in range(40_000)], other) == {entry.uuid}


# --- counts ----------------------------------------------------------------------------------------


def test_counts_of_an_empty_route(ledger: Ledger) -> None:
    assert ledger.counts(ROUTE) == Counts(0, 0, 0, {})


def test_counts_tell_where_all_that_was_filed_went(ledger: Ledger) -> None:
    for state in (State.UPLOADED, State.DUPLICATE, State.REFUSED, State.GAVE_UP):
        ledger.filed(entry_in(ledger, state, f"{state}.json"), at(5))
    too_large = ledger.fail(unread("big.json"), State.REJECTED, Code.TOO_LARGE, None, "big.json", T0)
    ledger.filed(too_large, at(5))
    ledger.fail(unread("link.json"), State.REJECTED, Code.UNSAFE, None, "link.json", T0)
    for number in range(2):
        entry_in(ledger, State.IN_DOUBT, f"doubt-{number}.json")
    entry_in(ledger, State.WITHDRAWN, "gone.json")
    change(ledger, claim(ledger, draft("elsewhere.json", route_id=OTHER_ROUTE)), State.DEFERRED)
    ledger.flush()

    # owner.json, whose score the duplicate shares, is uploaded and not filed yet.
    assert ledger.counts(ROUTE) == Counts(
        done=2,
        failed=3,
        withdrawn=1,
        codes={"refused": 1, "gave_up": 1, "too_large": 1},
    )
    assert [entry.state for entry in ledger.open_entries(OTHER_ROUTE)] == [State.DEFERRED]


def test_what_was_filed_is_counted_since_a_time_and_told_by_name(ledger: Ledger) -> None:
    for number, state in enumerate((State.UPLOADED, State.REFUSED, State.GAVE_UP)):
        ledger.filed(entry_in(ledger, state, f"{number}.json"), at(10 * number))
    ledger.flush()

    late = ledger.counts(ROUTE, at(10))

    assert (late.done, late.failed, late.codes) == (0, 2, {"refused": 1, "gave_up": 1})
    assert list(ledger.failures(ROUTE).items()) == [("1.json", "refused"), ("2.json", "gave_up")]
    assert ledger.failures(OTHER_ROUTE) == {}


def test_what_retention_has_removed_is_counted_as_ever(ledger: Ledger) -> None:
    entries = [entry_in(ledger, State.UPLOADED, f"{number}.json") for number in range(3)]
    for entry in entries:
        ledger.filed(entry, at(10))
    ledger.flush()

    ledger.let_go({entries[0].id: ""}, {entries[1].id: "kept for good"}, at(20))

    assert ledger.counts(ROUTE).done == ledger.counts(ROUTE, at(10)).done == 3
    assert ledger.counts(ROUTE, at(11)).done == 0


def test_what_is_filed_twice_is_counted_once(ledger: Ledger) -> None:
    entry = entry_in(ledger, State.UPLOADED)
    for seconds in (5, 6):
        ledger.filed(entry, at(seconds))
        ledger.flush()

    assert ledger.counts(ROUTE).done == 1


@pytest.mark.parametrize("state", [State.INTENDED, State.IN_DOUBT, State.DEFERRED, State.UPLOADED, State.REFUSED])
def test_the_owner_of_a_score_is_whoever_sends_it_or_has_sent_it(ledger: Ledger, state: State) -> None:
    entry = entry_in(ledger, state)
    assert entry.identity is not None

    assert ledger.owner(entry.identity.fingerprint) == (None if state is State.REFUSED else entry)
