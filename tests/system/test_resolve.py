"""`canarysync resolve`: a person decides on a score in doubt (README, "What is promised, and what is not")."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import Any

import pytest

from canarysync.errors import Exit
from canarysync.sandbox import Endpoint, Sandbox
from canarysync.step import Outcome
from tests.support import Site, make_site, score, stored, wait_for

UNANSWERABLE = "scores:status=403"


def resolve(site: Site, *arguments: str) -> str:
    """The command; what it printed."""
    ended = site.told("resolve", *arguments)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def refused(site: Site, *arguments: str) -> tuple[int, str]:
    """The command, which is expected to say no: its exit code, and what it said."""
    ended = site.told("resolve", *arguments)
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


def hold(site: Site, sandbox: Sandbox, name: str = "visit.json", number: int = 0, *, taken: bool = True) -> None:
    """A file that is held for a person: sent, the answer lost, and the API does not tell what it has."""
    sandbox.faults.replace(f"put:{'drop_after' if taken else 'drop_before'},times=1", UNANSWERABLE)
    site.put(name, score(number))
    assert site.once(wait_s=5.0).held >= 1


def status(site: Site) -> dict[str, Any]:
    return dict(json.loads(site.told("status", "--json").stdout)["routes"][0])


def test_it_is_there_says_the_person(site: Site, sandbox: Sandbox) -> None:
    hold(site, sandbox)
    [(found, _)] = stored(sandbox)

    said = resolve(site, "visit.json", "--uploaded", found.upper())
    assert site.waiting() == ["visit.json"], "the command itself moves nothing"
    assert site.once().outcomes == {Outcome.RECOVERED: 1}

    assert said == (
        f"Noted for visit.json: it is at the API, under the uuid\n  {found}\n"
        "It will be filed at the next rescan, or by the next run-once.\n"
    )
    receipt = site.receipt("visit.json")
    assert (receipt["uuid"], receipt["proof"], receipt["outcome"]) == (found, "person", "recovered")
    assert len(stored(sandbox)) == 1


def test_it_is_not_there_says_the_person(site: Site, sandbox: Sandbox) -> None:
    hold(site, sandbox, taken=False)

    resolve(site, "clinic/drop/visit.json", "--send-again")
    assert site.once().outcomes == {Outcome.UPLOADED: 1}

    assert site.receipt("visit.json")["attempts"] == 2
    assert site.receipt("visit.json")["possibleDuplicate"] is True, "nobody could look"
    assert len(stored(sandbox)) == 1


def test_a_decision_needs_no_api_to_file_what_is_there(site: Site, sandbox: Sandbox) -> None:
    hold(site, sandbox)
    [(found, _)] = stored(sandbox)
    sandbox.faults.replace("any:status=503")

    resolve(site, "visit.json", "--uploaded", found)

    assert site.once().outcomes == {Outcome.RECOVERED: 1}


def test_a_running_daemon_carries_it_out_at_its_next_rescan(tmp_path: Path, sandbox: Sandbox) -> None:
    """Its own next look would be five minutes away."""
    site = make_site(tmp_path, sandbox.url)
    hold(site, sandbox)
    [(found, _)] = stored(sandbox)
    site.config_path.write_text(site.config_path.read_text().replace("most: 500ms", "most: 5m"))
    looks = sandbox.requests["scores", 403]
    daemon = site.start()
    try:
        wait_for(lambda: sandbox.requests["scores", 403] > looks, "the daemon's own look")
        beside = site.cli("resolve", "visit.json", "--uploaded", found, "-c", str(site.config_path))
        assert beside.returncode == 0, beside.stderr
        wait_for(lambda: site.filed() == ["visit.json"], "the file in done/")
    finally:
        daemon.terminate()
        daemon.wait()
    assert site.receipt("visit.json")["proof"] == "person"


def test_the_twin_that_waits_follows(site: Site, sandbox: Sandbox) -> None:
    hold(site, sandbox)
    site.put("twin.json", json.dumps(score(0), indent=1))
    [(found, _)] = stored(sandbox)

    resolve(site, "visit.json", "--uploaded", found)
    summary = site.once(wait_s=5.0)

    assert summary.outcomes == {Outcome.RECOVERED: 1, Outcome.DUPLICATE: 1}
    assert site.receipt("twin.json")["uuid"] == found


def test_the_uuid_of_another_files_score_may_be_shared(site: Site, sandbox: Sandbox) -> None:
    site.put("first.json", score(1))
    site.once()
    found = site.receipt("first.json")["uuid"]
    hold(site, sandbox, number=2, taken=False)

    resolve(site, "visit.json", "--uploaded", found)
    assert site.once().outcomes == {Outcome.RECOVERED: 1}

    receipt = site.receipt("visit.json")
    assert (receipt["uuid"], receipt["proof"], receipt["outcome"]) == (found, "person", "recovered")
    site.put("again.json", score(2))
    assert site.once().outcomes == {Outcome.DUPLICATE: 1}, "it is not sent again"


def test_what_has_lost_its_file_ends_when_it_is_not_there(site: Site, sandbox: Sandbox) -> None:
    hold(site, sandbox, taken=False)
    (site.drop / "visit.json").unlink()
    assert site.once().held == 1

    assert "Its file is gone: drop it again to send it." in resolve(site, "visit.json", "--send-again")
    assert site.once().outcomes == {Outcome.WITHDRAWN: 1}

    sandbox.faults.clear()
    site.put("visit.json", score())
    assert site.once().outcomes == {Outcome.UPLOADED: 1}
    assert len(stored(sandbox)) == 1


def test_what_has_lost_its_file_gets_a_receipt_that_stands_alone(site: Site, sandbox: Sandbox) -> None:
    hold(site, sandbox)
    (site.drop / "visit.json").unlink()
    [(found, _)] = stored(sandbox)
    site.once()

    resolve(site, "visit.json", "--uploaded", found)
    site.once()

    assert site.receipt("visit.json")["fileMissing"] is True
    assert site.receipt("visit.json")["uuid"] == found


def test_several_of_one_name_are_told_apart_by_their_ids(site: Site, sandbox: Sandbox) -> None:
    hold(site, sandbox, number=0, taken=False)
    hold(site, sandbox, number=1, taken=False)

    code, told = refused(site, "visit.json", "--send-again")
    ids = [doubt["entryId"] for doubt in status(site)["doubts"]]
    assert code == Exit.NEEDS_A_PERSON
    assert all(entry_id in told for entry_id in ids)

    resolve(site, ids[1], "--send-again")
    assert status(site)["doubts"][1]["why"] == "a person has decided: done at the next scan"
    assert status(site)["held"] == 1, "of two"
    assert site.once().outcomes.total() == 1


@pytest.mark.parametrize("word", ["uploaded", "send-again"])
def test_what_a_route_that_left_the_config_has_in_doubt_can_be_resolved(
    site: Site, sandbox: Sandbox, word: str
) -> None:
    """A file of another route says the same score, and waits for it."""
    hold(site, sandbox, taken=word == "uploaded")
    sandbox.faults.clear()
    of_old = site.config_path.read_text()
    new = make_site(site.home, sandbox.url, routes__folder="new")
    twin = site.home / "new" / "drop" / "twin.json"
    twin.write_text(json.dumps(score()))
    assert new.once().outcomes == {}

    code, told = refused(new, "other.json", "--send-again")
    [entry_id] = [line.split()[0] for line in told.splitlines() if line.endswith("clinic  visit.json")]
    found = stored(sandbox)[0][0] if word == "uploaded" else ""
    said = resolve(new, entry_id, *(["--uploaded", found] if found else ["--send-again"]))
    assert new.once().outcomes == {Outcome.DUPLICATE if found else Outcome.UPLOADED: 1}
    site.config_path.write_text(of_old)
    summary = site.once()

    assert (code, said.splitlines()[-1].partition(" when ")[2]) == (
        Exit.NEEDS_A_PERSON,
        "canarysync starts next; its route clinic is not in the config.",
    )
    assert summary.outcomes == {Outcome.RECOVERED if found else Outcome.DUPLICATE: 1}
    assert site.receipt("visit.json")["uuid"] == stored(sandbox)[0][0]
    assert len(stored(sandbox)) == 1


def test_send_again_that_cannot_go_out_now_is_not_forgotten(site: Site, sandbox: Sandbox) -> None:
    hold(site, sandbox, taken=False)
    resolve(site, "visit.json", "--send-again")
    sandbox.faults.replace("token:status=503", UNANSWERABLE)
    assert site.once().exit_code() == Exit.TRY_AGAIN

    sandbox.faults.replace(UNANSWERABLE)

    assert site.once().outcomes == {Outcome.UPLOADED: 1}


def test_a_decision_stands_until_the_file_is_sent_and_no_longer(site: Site, sandbox: Sandbox) -> None:
    """Sent again, and again in doubt: that is a new doubt, for a new decision."""
    hold(site, sandbox, taken=False)
    resolve(site, "visit.json", "--send-again")
    sandbox.faults.replace("put:drop_before,times=1", UNANSWERABLE)

    assert site.once(wait_s=2.0).held == 1
    assert sum(count for (on, _), count in sandbox.requests.items() if on == Endpoint.PUT) == 2


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["other.json", "--send-again"], Exit.NEEDS_A_PERSON, "no score of that name is in doubt"),
        (["visit.json"], Exit.USAGE, "give either --uploaded UUID or --send-again"),
        (["visit.json", "--send-again", "--uploaded", str(uuid.uuid4())], Exit.USAGE, "give either"),
        (["visit.json", "--uploaded", "abc123"], Exit.USAGE, "--uploaded wants the score's uuid"),
        (["visit.json", "--send-again", "--route", "other"], Exit.USAGE, "there is no route other; there are: clinic"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    site: Site, sandbox: Sandbox, arguments: list[str], code: Exit, told: str
) -> None:
    hold(site, sandbox)

    found, said = refused(site, *arguments)

    assert found == code
    assert told in said
    assert status(site)["held"] == 1


def test_what_is_done_cannot_be_resolved(site: Site) -> None:
    site.put("visit.json", score())
    site.once()

    assert refused(site, "visit.json", "--send-again")[0] == Exit.NEEDS_A_PERSON


def test_before_the_first_start_nothing_is_in_doubt(site: Site) -> None:
    assert refused(site, "visit.json", "--send-again")[0] == Exit.NEEDS_A_PERSON
    assert not (site.home / "state").exists()
