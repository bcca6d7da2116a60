"""Scores in doubt, and how a look at the API settles them (DESIGN §6, "Read-back"), from the drop to the receipt."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from canarysync.errors import Exit
from canarysync.report import Summary
from canarysync.sandbox import Endpoint, Sandbox
from canarysync.step import Outcome
from tests.support import ASSESSMENT, PATIENCE_S, Site, make_site, score, stored, wait_for

NAME = "visit.json"
LOST = "put:drop_before,times=1"
TAKEN = "put:drop_after,times=1"


def puts(sandbox: Sandbox) -> int:
    """All PUTs that the sandbox has answered, or dropped."""
    return sum(count for (endpoint, _), count in sandbox.requests.items() if endpoint == Endpoint.PUT)


def looks(sandbox: Sandbox) -> int:
    """All read-backs that the sandbox has answered with a list."""
    return sandbox.requests["scores", 200]


def asked(sandbox: Sandbox) -> int:
    """All read-backs that the sandbox was asked for."""
    return sum(count for (endpoint, _), count in sandbox.requests.items() if endpoint == Endpoint.SCORES)


def run_until(site: Site, code: Exit) -> Summary:
    """Single runs, as cron makes them, until one ends with ``code``."""
    ended: list[Summary] = []

    def ends_well() -> bool:
        ended.append(site.once())
        return ended[-1].exit_code() == code

    wait_for(ends_well, f"a run that ends with {code}")
    return ended[-1]


def put_by_another_system(sandbox: Sandbox, content: dict[str, Any]) -> str:
    """A score that somebody else writes into the assessment; its uuid."""
    body = {key: value for key, value in content.items() if key != "assessmentId"}
    headers = {"Authorization": f"Bearer {sandbox.access_token()}", "Content-Type": "application/json"}
    url = f"{sandbox.url}/v2/org/assessment/{ASSESSMENT}/put-score"
    request = urllib.request.Request(url, json.dumps(body).encode(), headers, method="PUT")
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return str(json.loads(answer.read())["uuid"])


def in_doubt(site: Site, sandbox: Sandbox, fault: str, content: dict[str, Any] | None = None) -> Path:
    """A file whose first PUT ended with ``fault``, in a run that then ended too, without an answer to any look."""
    sandbox.faults.replace(fault, "scores:status=500")
    path = site.put(NAME, content or score(1))
    summary = site.once()
    assert (summary.exit_code(), dict(summary.left)) == (Exit.TRY_AGAIN, {"in_doubt": 1})
    sandbox.faults.clear()
    return path


def text_of(**fields: str) -> str:
    """A score file whose values are spelt exactly as given."""
    spelt = {
        "assessmentId": f'"{ASSESSMENT}"',
        "dateRecorded": '"2026-01-01T12:00:00Z"',
        "scoreId": '"PHQ9"',
        "scoreType": '"sum"',
        "scoreData": '{"value": 12}',
        **fields,
    }
    return "{" + ", ".join(f'"{key}": {value}' for key, value in spelt.items()) + "}"


# --- what the API may make of a score ----------------------------------------------------------------

SPELLINGS = [
    text_of(),
    text_of(extraData="{}"),
    text_of(extraData='{"empty": {}, "none": null, "list": [1.0, 2e0, -0.0]}'),
    text_of(dateRecorded='"2026-01-01T12:00:00.123987+05:30"'),
    text_of(dateRecorded='"2026-01-01t00:00:00.9999999z"'),
    text_of(dateRecorded='"1969-12-31T23:59:59.9995-00:00"'),
    text_of(dateRecorded='"2016-12-31T23:59:60.5Z"'),
    text_of(scoreData='{"value": 1.10}'),
    text_of(scoreData='{"value": 12345678901234567890123456789}'),
    text_of(scoreData='{"value": [0.1, 1E-3, 5e-324, 1e-400, 1.7976931348623157e308, 9007199254740993]}'),
    text_of(scoreData='{"value": "\\u00e9 \\ud83d\\ude00 \\u2028 \\\\ \\/"}'),
]


@pytest.mark.parametrize("text", SPELLINGS)
def test_a_reformatted_score_is_known_again(tmp_path: Path, text: str) -> None:
    with Sandbox(normalise=True) as sandbox:
        sandbox.faults.add(TAKEN)
        site = make_site(tmp_path, sandbox.url)
        site.put(NAME, text)
        assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
        site.assert_all_done_once([NAME], stored(sandbox))
        assert site.receipt(NAME)["outcome"] == "recovered"


# --- other writers -----------------------------------------------------------------------------------


def test_an_identical_score_of_another_system_is_adopted(site: Site, sandbox: Sandbox) -> None:
    same = score(1, dateRecorded="2026-01-01T02:00:01.000+02:00", scoreData={"value": 1.0}, extraData={})
    foreign = put_by_another_system(sandbox, same)
    in_doubt(site, sandbox, LOST)
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert (site.receipt(NAME)["uuid"], site.receipt(NAME)["proof"]) == (foreign, "read-back")
    assert len(sandbox.scores) == 1


def test_without_doubt_nothing_foreign_is_adopted(site: Site, sandbox: Sandbox) -> None:
    foreign = put_by_another_system(sandbox, score(1))
    site.put(NAME, score(1))
    assert site.once().exit_code() == Exit.OK
    assert site.receipt(NAME)["uuid"] != foreign
    assert (len(sandbox.scores), looks(sandbox)) == (2, 0)


def test_a_like_score_with_other_data_is_for_a_person(site: Site, sandbox: Sandbox) -> None:
    put_by_another_system(sandbox, score(1, scoreData={"value": 99}))
    in_doubt(site, sandbox, LOST)
    for _ in range(2):
        summary = run_until(site, Exit.NEEDS_A_PERSON)
        assert (summary.held, dict(summary.left)) == (1, {})
    assert (site.waiting(), len(sandbox.scores)) == ([NAME], 1)
    assert os.listdir(site.failed) == []


def test_a_held_score_goes_on_by_itself_once_it_appears(site: Site, sandbox: Sandbox) -> None:
    put_by_another_system(sandbox, score(1, scoreData={"value": 99}))
    in_doubt(site, sandbox, LOST)
    run_until(site, Exit.NEEDS_A_PERSON)
    ours = put_by_another_system(sandbox, score(1))
    run_until(site, Exit.OK)
    assert site.receipt(NAME)["uuid"] == ours


def test_scores_of_our_own_entries_are_nobody_elses(tmp_path: Path, sandbox: Sandbox) -> None:
    """A correction in the same second, and a repetition below the millisecond: both are other scores, both are ours."""
    site = make_site(tmp_path, sandbox.url)
    site.put("first.json", score(1, dateRecorded="2026-01-01T12:00:00.1231Z"))
    assert site.once().exit_code() == Exit.OK
    sandbox.faults.add("put:drop_before,times=2")
    site.put("corrected.json", score(1, dateRecorded="2026-01-01T12:00:00.1231Z", scoreData={"value": 2}))
    site.put("repeated.json", score(1, dateRecorded="2026-01-01T12:00:00.1239Z"))
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    names = ["corrected.json", "first.json", "repeated.json"]
    site.assert_all_done_once(names, stored(sandbox))
    assert [site.receipt(name)["outcome"] for name in names] == ["uploaded"] * 3
    assert not any("possibleDuplicate" in site.receipt(name) for name in names)


def test_a_like_score_of_ours_that_is_just_being_sent_holds_nobody(site: Site, sandbox: Sandbox) -> None:
    in_doubt(site, sandbox, LOST)
    sandbox.faults.add("put:delay_after,delay=1,times=1")  # the API has it, and we do not know that yet
    site.put("corrected.json", score(1, scoreData={"value": 2}))
    told: list[str] = []
    assert site.once(wait_s=PATIENCE_S, observer=lambda event: told.append(event.step.reason)).exit_code() == Exit.OK
    assert site.filed() == ["corrected.json", NAME]
    assert "a like score is on its way" in told
    assert not any(reason.startswith("held") for reason in told)


@pytest.mark.parametrize(
    "faults", [["put:drop_after,times=2"], [TAKEN, LOST]], ids=["both taken", "one taken, one lost"]
)
def test_two_scores_apart_by_less_than_a_millisecond_get_two_uuids(
    site: Site, sandbox: Sandbox, faults: list[str]
) -> None:
    sandbox.faults.add(*faults)
    names = ["a.json", "b.json"]
    for name, digit in zip(names, "49", strict=True):
        site.put(name, score(1, dateRecorded=f"2026-01-01T12:00:00.123{digit}Z"))
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert site.filed() == names
    assert {site.receipt(name)["uuid"] for name in names} == {uuid for uuid, _ in stored(sandbox)}
    assert len(sandbox.scores) == 2


# --- a second sending --------------------------------------------------------------------------------


def test_a_409_to_a_second_sending_may_mean_that_it_is_there(site: Site, sandbox: Sandbox) -> None:
    in_doubt(site, sandbox, LOST)
    sandbox.faults.add("put:status_after,status=409")
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    receipt = site.receipt(NAME)
    assert (receipt["outcome"], receipt["attempts"]) == ("recovered", 2)
    site.assert_all_done_once([NAME], stored(sandbox))


@pytest.mark.parametrize(
    "look", [None, "scores:status=500,skip=2,times=1"], ids=["at once", "though the look failed first"]
)
def test_a_409_to_a_second_sending_is_believed_after_two_looks(site: Site, sandbox: Sandbox, look: str | None) -> None:
    in_doubt(site, sandbox, LOST)
    sandbox.faults.add("put:status=409", *([look] if look else []))
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.NEEDS_A_PERSON
    assert (site.error(NAME)["code"], site.error(NAME)["status"]) == ("refused", 409)
    assert (puts(sandbox), looks(sandbox)) == (2, 4)
    assert (site.waiting(), site.filed()) == ([], [])


def test_a_second_sending_that_made_a_second_score_says_so(tmp_path: Path, sandbox: Sandbox) -> None:
    """The first PUT arrives after both looks: nobody can prevent that, but the receipt must not hide it."""
    site = make_site(tmp_path, sandbox.url, routes__in_doubt="resend")
    in_doubt(site, sandbox, TAKEN)
    sandbox.faults.add("scores:status=501,times=1")
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert len(sandbox.scores) == 2
    assert site.receipt(NAME)["possibleDuplicate"] is True


# --- an API that cannot say --------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_hold_waits_for_a_person_when_the_api_cannot_say(site: Site, sandbox: Sandbox, status: int) -> None:
    in_doubt(site, sandbox, TAKEN)
    sandbox.faults.add(f"scores:status={status}")
    for _ in range(2):
        assert run_until(site, Exit.NEEDS_A_PERSON).held == 1
    assert (site.waiting(), puts(sandbox)) == ([NAME], 1)
    sandbox.faults.clear()
    run_until(site, Exit.OK)
    site.assert_all_done_once([NAME], stored(sandbox))


@pytest.mark.parametrize("status", [403, 404, 405, 501])
def test_resend_sends_when_the_api_cannot_say_and_admits_it(tmp_path: Path, sandbox: Sandbox, status: int) -> None:
    site = make_site(tmp_path, sandbox.url, routes__in_doubt="resend")
    in_doubt(site, sandbox, LOST)
    sandbox.faults.add(f"scores:status={status}")
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))
    assert (site.receipt(NAME)["attempts"], site.receipt(NAME)["possibleDuplicate"]) == (2, True)


@pytest.mark.parametrize("policy", ["hold", "resend"])
@pytest.mark.parametrize(
    "fault",
    ["scores:status=500", "scores:garbage", "scores:cut", "scores:drop_after", "scores:status=429", "scores:status=302",
     "scores:html,status=404", "scores:status=401", "scores:no_uuid"],
)  # fmt: skip
def test_a_look_that_fails_leaves_the_doubt_as_it_was(
    tmp_path: Path, sandbox: Sandbox, policy: str, fault: str
) -> None:
    site = make_site(tmp_path, sandbox.url, routes__in_doubt=policy, routes__retry__most="1h")
    in_doubt(site, sandbox, TAKEN)
    before = asked(sandbox)
    sandbox.faults.add(fault)
    for _ in range(3):
        assert site.once().exit_code() == Exit.TRY_AGAIN
    wait_for(lambda: site.once() and asked(sandbox) > before, "a look that fails")
    assert (site.waiting(), puts(sandbox)) == ([NAME], 1)
    sandbox.faults.clear()
    assert site.once(wait_s=PATIENCE_S).outcomes == {Outcome.RECOVERED: 1}


# --- crashes -----------------------------------------------------------------------------------------


def state_in_ledger(site: Site) -> object:
    """The state of the only score in the ledger, looked at from outside; None while there is none."""
    path = site.home / "state" / "ledger.sqlite3"
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            rows = connection.execute("SELECT state FROM scores").fetchall()
    except sqlite3.OperationalError:  # not made yet
        return None
    return rows[0][0] if rows else None


def kill_when(site: Site, condition: Callable[[], object], what: str) -> None:
    """Start the real daemon, and kill it without warning as soon as ``condition`` holds."""
    process = site.start()
    try:
        wait_for(lambda: condition() or process.poll() is not None, what)
        assert process.poll() is None, site.log()
    finally:
        process.kill()
        process.wait()


def test_killed_after_the_server_took_the_score(site: Site, sandbox: Sandbox) -> None:
    sandbox.faults.add("put:delay_after,delay=60")
    site.put(NAME, score(1))
    kill_when(site, lambda: sandbox.scores, "the score to arrive")
    assert site.waiting() == [NAME]
    sandbox.faults.clear()
    assert site.once(wait_s=PATIENCE_S).outcomes == {Outcome.RECOVERED: 1}
    site.assert_all_done_once([NAME], stored(sandbox))
    assert site.receipt(NAME)["attempts"] == 1


def test_killed_before_the_server_had_the_score(site: Site, sandbox: Sandbox) -> None:
    sandbox.faults.add("put:drop_before,delay=60")
    site.put(NAME, score(1))
    kill_when(site, lambda: state_in_ledger(site) == "intended", "the intent")
    sandbox.faults.clear()
    assert site.once(wait_s=PATIENCE_S).outcomes == {Outcome.UPLOADED: 1}
    site.assert_all_done_once([NAME], stored(sandbox))
    assert (site.receipt(NAME)["attempts"], looks(sandbox)) == (2, 3)


# --- the file goes its own way meanwhile -------------------------------------------------------------


def test_deleted_while_in_doubt_the_receipt_stands_alone(site: Site, sandbox: Sandbox) -> None:
    in_doubt(site, sandbox, TAKEN).unlink()
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert os.listdir(site.done) == [f"{NAME}.receipt.json"]
    receipt = site.receipt(NAME)
    assert (receipt["fileMissing"], receipt["outcome"], receipt["uuid"]) == (True, "recovered", sandbox.scores[0].uuid)


def test_deleted_while_in_doubt_and_never_taken_it_is_withdrawn(site: Site, sandbox: Sandbox) -> None:
    in_doubt(site, sandbox, LOST).unlink()
    summary = site.once(wait_s=PATIENCE_S)
    assert (summary.exit_code(), summary.outcomes) == (Exit.OK, {Outcome.WITHDRAWN: 1})
    assert (os.listdir(site.done), os.listdir(site.failed), stored(sandbox)) == ([], [], [])


@pytest.mark.parametrize("fault", [TAKEN, LOST])
def test_other_bytes_with_the_same_score_are_the_same_entry(site: Site, sandbox: Sandbox, fault: str) -> None:
    path = in_doubt(site, sandbox, fault)
    path.write_text(json.dumps(dict(reversed(score(1).items())), indent=4) + "\n")
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))
    assert site.receipt(NAME)["sha256"] == hashlib.sha256((site.done / NAME).read_bytes()).hexdigest()
    assert "fileMissing" not in site.receipt(NAME)


def receipts(site: Site) -> Iterator[dict[str, Any]]:
    return (json.loads(path.read_bytes()) for path in sorted(site.done.glob("*.receipt.json")))


def test_replaced_by_another_score_while_in_doubt_both_are_accounted_for(site: Site, sandbox: Sandbox) -> None:
    path = in_doubt(site, sandbox, TAKEN)
    path.write_text(json.dumps(score(2)))
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert site.waiting() == []
    (there,) = site.filed()
    assert json.loads((site.done / there).read_bytes()) == score(2)
    missing = {receipt["uuid"]: receipt.get("fileMissing", False) for receipt in receipts(site)}
    assert missing == {sandbox.scores[0].uuid: True, sandbox.scores[1].uuid: False}
    assert site.receipt(there)["uuid"] == sandbox.scores[1].uuid


def test_replaced_by_rubbish_while_in_doubt_both_are_accounted_for(site: Site, sandbox: Sandbox) -> None:
    in_doubt(site, sandbox, TAKEN).write_text("{")
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.NEEDS_A_PERSON
    assert sorted(os.listdir(site.failed)) == [NAME, f"{NAME}.error.json"]
    assert [receipt["fileMissing"] for receipt in receipts(site)] == [True]
    assert len(sandbox.scores) == 1


# --- time --------------------------------------------------------------------------------------------


def test_the_second_look_keeps_its_distance_across_runs(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_site(tmp_path, sandbox.url, api__read_back__wait="30s")
    in_doubt(site, sandbox, LOST)
    wait_for(lambda: site.once() and looks(sandbox) == 1, "the first look")
    for _ in range(3):
        assert site.once().exit_code() == Exit.TRY_AGAIN
    assert (looks(sandbox), puts(sandbox)) == (1, 1)


@pytest.mark.parametrize("rebooted", [False, True])
def test_a_clock_that_was_set_forward_between_two_runs_brings_no_look_nearer(
    tmp_path: Path, sandbox: Sandbox, rebooted: bool
) -> None:
    """After a boot, when only the wall clock says how much time has passed, it is believed."""
    site = make_site(tmp_path, sandbox.url, api__read_back__wait="30s")
    in_doubt(site, sandbox, LOST)
    wait_for(lambda: site.once() and looks(sandbox) == 1, "the first look")
    long_ago = "2020-01-01T00:00:00.000Z"
    with closing(sqlite3.connect(site.home / "state" / "ledger.sqlite3")) as connection, connection:
        look = connection.execute("SELECT first_look FROM scores").fetchone()[0]
        _, boot, boot_s = look.split(" ")
        look = f"{long_ago} {'another' if rebooted else boot} {boot_s}"
        connection.execute("UPDATE scores SET retry_at = ?, first_look = ?", (long_ago, look))

    assert site.once().exit_code() == (Exit.OK if rebooted else Exit.TRY_AGAIN)

    assert looks(sandbox) >= 2
    assert puts(sandbox) == 1 + rebooted


@pytest.mark.parametrize("fault", ["put:status=408", "put:drop_before"], ids=["deferred", "in doubt"])
def test_a_clock_that_jumped_back_strands_nobody(site: Site, sandbox: Sandbox, fault: str) -> None:
    """The clock was in 2099 when these times were written, and has been set right since."""
    sandbox.faults.add(fault, "scores:status=500")
    site.put(NAME, score(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    sandbox.faults.clear()
    late = "2099-01-01T00:00:00.000Z"
    with closing(sqlite3.connect(site.home / "state" / "ledger.sqlite3")) as connection, connection:
        connection.execute("UPDATE scores SET retry_at = ?, first_look = ?", (late, f"{late} boot 1.5"))
        connection.execute("UPDATE entries SET created_at = ?, changed_at = ?", (late, late))
    assert site.once(wait_s=2).exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))


def test_a_look_for_twins_that_fails_is_made_again(site: Site, sandbox: Sandbox) -> None:
    """After a second sending: a 500 or a pause is no reason to tell anyone of a possible duplicate."""
    in_doubt(site, sandbox, LOST)
    sandbox.faults.add("scores:status=500,skip=2,times=1", "scores:status=429,retry_after=0,skip=3,times=1")

    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK

    site.assert_all_done_once([NAME], stored(sandbox))
    assert site.receipt(NAME)["attempts"] == 2
    assert "possibleDuplicate" not in site.receipt(NAME)
    assert looks(sandbox) == 3


def test_while_the_api_is_down_it_waits_with_its_outcome_recorded(site: Site, sandbox: Sandbox) -> None:
    in_doubt(site, sandbox, LOST)
    sandbox.faults.add("scores:status=503,retry_after=1,skip=2")
    wait_for(lambda: site.once() and stored(sandbox), "the second sending")
    assert site.once().exit_code() == Exit.TRY_AGAIN
    assert (site.waiting(), puts(sandbox)) == ([NAME], 2)

    sandbox.faults.clear()
    assert site.once(wait_s=PATIENCE_S).outcomes == {Outcome.UPLOADED: 1}
    assert puts(sandbox) == 2
