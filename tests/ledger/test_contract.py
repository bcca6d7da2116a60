"""What every method of a ledger records, and what of it can be read back."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

import pytest

from canarysync.errors import SetupError
from canarysync.ledger import Entry, Hold, Ledger
from canarysync.model import Code, Moment, Proof, State
from tests.ledger.support import ROUTE, SIGNATURE, at, claim, draft, entry_in, uuid_of
from tests.support import ASSESSMENT

OTHER_ROUTE = "b5f3f1d0-0f4e-4f36-9c9f-5a0f8f7f1b22"
LOOK = Moment(at(2), "1df4fd3c-7a0e-4d39-9d3b-000000000001", 77.125)
Reopen = Callable[[], Ledger]

NAMES = {
    "plain": "visit.json",
    "newline": "vi\nsit.json",
    "umlaut": "Prüfung é.json",
    "not UTF-8": os.fsdecode(b"pr\xfcfung-\xff.json"),
    "quotes": "a'b\"c;--%_?.json",
    "long": "ü" * 125 + ".json",
}


# --- routes ----------------------------------------------------------------------------------------


def test_a_route_is_unknown_before_it_is_registered_and_known_ever_after(reopen: Reopen) -> None:
    ledger = reopen()
    assert ledger.route_id("clinic-a") is None

    ledger.register_route("clinic-a", ROUTE)

    assert ledger.route_id("clinic-a") == ROUTE
    assert ledger.route_id("clinic-b") is None
    assert reopen().route_id("clinic-a") == ROUTE


def test_registering_a_route_again_changes_nothing(ledger: Ledger) -> None:
    ledger.register_route("clinic-a", ROUTE)
    ledger.register_route("clinic-a", ROUTE)

    assert ledger.route_id("clinic-a") == ROUTE


def test_a_route_keeps_its_id_when_another_one_comes_with_the_same(ledger: Ledger) -> None:
    """A drop folder that was copied, marker and all, for a second route."""
    ledger.register_route("clinic-a", ROUTE)
    assert ledger.route_id("clinic-a") == ROUTE

    with pytest.raises(SetupError, match="copy"):
        ledger.register_route("clinic-b", ROUTE)

    assert ledger.route_id("clinic-a") == ROUTE


def test_a_route_that_is_renamed_keeps_its_id_and_its_entries(reopen: Reopen) -> None:
    ledger = reopen()
    ledger.register_route("clinic-a", ROUTE)
    entry = claim(ledger, draft("visit.json"))

    renamed = reopen()
    renamed.register_route("clinic-b", ROUTE)

    assert renamed.routes() == {"clinic-b": ROUTE}
    assert renamed.open_entries(ROUTE) == [entry]


def test_a_route_is_on_hold_until_it_is_released(reopen: Reopen) -> None:
    ledger = reopen()
    ledger.hold(ROUTE, Hold(at(0), "anna", "wrong export"))
    ledger.hold(ROUTE, Hold(at(1), "ben"))

    assert reopen().hold_on(ROUTE) == Hold(at(1), "ben", "")
    assert reopen().hold_on(OTHER_ROUTE) is None

    ledger = reopen()
    ledger.release(ROUTE)
    ledger.release(ROUTE)
    assert reopen().hold_on(ROUTE) is None


# --- the way of an entry ---------------------------------------------------------------------------


def test_an_intent_records_the_draft_and_counts_its_attempt(ledger: Ledger) -> None:
    new = draft()

    entry = claim(ledger, new, at(3))

    expected = Entry(
        entry.id, ROUTE, "visit.json", new.sha256, SIGNATURE, State.INTENDED, at(3), at(3), attempts=1,
        assessment_id=ASSESSMENT, identity=new.identity,
    )  # fmt: skip
    assert entry == expected
    assert ledger.entry(entry.id) == ledger.open_entry(ROUTE, "visit.json") == entry
    assert list(ledger.open_entries(ROUTE)) == [entry]


def test_a_deferred_entry_says_why_and_until_when(ledger: Ledger) -> None:
    entry = ledger.defer(claim(ledger, draft()), "HTTP 429", at(30), at(1))

    assert (entry.state, entry.reason, entry.retry_at) == (State.DEFERRED, "HTTP 429", at(30))
    assert entry.attempts == 1


def test_a_doubt_keeps_the_first_look_and_the_refusal(ledger: Ledger) -> None:
    entry = ledger.doubt(claim(ledger, draft()), "reset", at(30), at(1), first_look=LOOK, status=409)

    assert (entry.state, entry.reason, entry.retry_at) == (State.IN_DOUBT, "reset", at(30))
    assert (entry.first_look, entry.status) == (LOOK, 409)


def test_a_new_doubt_forgets_the_look_of_the_one_before(ledger: Ledger) -> None:
    entry = ledger.doubt(claim(ledger, draft()), "reset", at(30), at(1), first_look=LOOK)

    assert ledger.doubt(entry, "reset", at(60), at(31)).first_look is None


def test_trying_again_counts_and_forgets_what_was_waited_for(ledger: Ledger) -> None:
    doubted = ledger.doubt(claim(ledger, draft()), "reset", at(30), at(1), first_look=LOOK)

    entry = ledger.intend_again(doubted, at(40), resent=True)

    assert (entry.state, entry.attempts, entry.resent) == (State.INTENDED, 2, True)
    assert (entry.reason, entry.retry_at, entry.first_look) == ("", None, None)


def test_what_was_sent_twice_once_stays_so(ledger: Ledger) -> None:
    entry = ledger.intend_again(entry_in(ledger, State.IN_DOUBT), at(1), resent=True)
    entry = ledger.intend_again(ledger.defer(entry, "HTTP 429", at(3), at(2)), at(3), resent=False)

    assert entry.resent
    assert entry.attempts == 3


def test_an_upload_records_proof_and_target(ledger: Ledger) -> None:
    entry = ledger.upload(entry_in(ledger, State.IN_DOUBT), uuid_of(7), Proof.READ_BACK, "visit.2.json", at(5))

    assert (entry.state, entry.uuid, entry.proof) == (State.UPLOADED, uuid_of(7), Proof.READ_BACK)
    assert (entry.target, entry.reason, entry.retry_at) == ("visit.2.json", "", None)
    assert entry.changed_at == at(5)


def test_a_failure_records_code_status_and_target(ledger: Ledger) -> None:
    entry = ledger.fail(claim(ledger, draft()), State.REFUSED, Code.REFUSED, 422, "visit.2.json", at(5))

    assert (entry.state, entry.code, entry.status, entry.target) == (State.REFUSED, Code.REFUSED, 422, "visit.2.json")


def test_a_duplicate_has_the_uuid_and_proof_of_its_owner(reopen: Reopen) -> None:
    ledger = reopen()
    owner = ledger.upload(claim(ledger, draft("a.json", 1)), uuid_of(7), Proof.READ_BACK, "a.json", at(1))

    twin = ledger.duplicate(draft("b.json", 1), owner, "b.json", at(2))

    assert (twin.state, twin.uuid, twin.proof) == (State.DUPLICATE, uuid_of(7), Proof.READ_BACK)
    assert (twin.attempts, twin.target) == (0, "b.json")
    assert reopen().entry(twin.id) == twin


def test_a_withdrawn_entry_is_open_no_more(ledger: Ledger) -> None:
    ledger.withdraw(entry_in(ledger, State.DEFERRED), at(5))

    assert list(ledger.open_entries(ROUTE)) == []
    assert ledger.open_entry(ROUTE, "visit.json") is None


def test_rebinding_changes_the_bytes_and_nothing_else(ledger: Ledger) -> None:
    entry = entry_in(ledger, State.DEFERRED)
    other = SIGNATURE._replace(size_bytes=171, inode=78)

    assert ledger.rebind(entry, "ab" * 32, other) == entry._replace(sha256="ab" * 32, signature=other)


def test_retargeting_changes_the_target_and_nothing_else(ledger: Ledger) -> None:
    entry = entry_in(ledger, State.UPLOADED)

    assert ledger.retarget(entry, "other.json") == entry._replace(target="other.json")


@pytest.mark.parametrize("doubtful", [True, False])
def test_the_look_for_twins_is_made_once(ledger: Ledger, doubtful: bool) -> None:
    entry = entry_in(ledger, State.UPLOADED)

    checked = ledger.twins_checked(entry, possible_duplicate=doubtful)

    assert checked == entry._replace(possible_duplicate=doubtful, resent=False)


# --- names and numbers -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
def test_any_name_a_file_can_have_comes_back_as_it_was(reopen: Reopen, name: str) -> None:
    ledger = reopen()
    ledger.upload(claim(ledger, draft(name)), uuid_of(1), Proof.RESPONSE, name, at(1))

    entry = reopen().open_entry(ROUTE, name)

    assert entry is not None
    assert (entry.name, entry.target) == (name, name)


@pytest.mark.parametrize("number", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_inode_and_device_are_unsigned_64_bit_numbers(reopen: Reopen, number: int) -> None:
    signature = SIGNATURE._replace(inode=number, device=number)
    entry = claim(reopen(), draft(signature=signature))

    assert reopen().entry(entry.id).signature == signature


@pytest.mark.parametrize("year", [1901, 1969, 1970, 2026, 2261, 2263, 2400])
def test_any_mtime_that_a_file_system_gives_can_be_recorded(ledger: Ledger, year: int) -> None:
    """ext4 goes to 2446 and XFS to 2486: from 2263 on, the nanoseconds take more than 63 bits."""
    since_1970 = datetime(year, 6, 1, tzinfo=UTC) - datetime(1970, 1, 1, tzinfo=UTC)
    signature = SIGNATURE._replace(mtime_ns=since_1970 // timedelta(microseconds=1) * 1000 + 1)

    assert claim(ledger, draft(signature=signature)).signature == signature


def test_times_are_instants_to_the_millisecond(reopen: Reopen) -> None:
    ledger = reopen()
    there = datetime(2026, 1, 1, 13, 0, 0, 123_987, tzinfo=timezone(timedelta(hours=1)))
    entry = ledger.doubt(claim(ledger, draft(), there), "reset", there, there, first_look=Moment(there, "", 7.25))

    stored = reopen().entry(entry.id)

    instant = datetime(2026, 1, 1, 12, 0, 0, 123_000, tzinfo=UTC)
    assert [stored.created_at, stored.changed_at, stored.retry_at] == [instant] * 3
    assert stored.first_look == Moment(instant, "", 7.25)
    assert stored.created_at.utcoffset() == timedelta(0)
