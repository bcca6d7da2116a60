"""Files that say the same score, and names that come again: one request for one score, and nothing is overwritten."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from canarysync.errors import Exit
from canarysync.sandbox import Endpoint, Sandbox
from canarysync.step import Outcome
from tests.support import PATIENCE_S, Site, make_site, score, stored

NAME = "visit.json"
ERROR = f"{NAME}.error.json"


def puts(sandbox: Sandbox) -> int:
    """All PUTs that the sandbox has answered, or dropped."""
    return sum(count for (endpoint, _), count in sandbox.requests.items() if endpoint == Endpoint.PUT)


def outcomes(site: Site, names: list[str]) -> list[str]:
    """What the receipts say, sorted."""
    return sorted(site.receipt(name)["outcome"] for name in names)


def assert_receipts_are_true(site: Site) -> None:
    """Each file in done/ has a receipt with its hash, and no receipt stands alone."""
    assert sorted(os.listdir(site.done)) == sorted([*site.filed(), *(f"{name}.receipt.json" for name in site.filed())])
    for name in site.filed():
        assert site.receipt(name)["sha256"] == hashlib.sha256((site.done / name).read_bytes()).hexdigest(), name


# --- at once -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [2, 3, 50])
def test_files_with_one_score_give_one_request_and_one_uuid(site: Site, sandbox: Sandbox, number: int) -> None:
    names = [f"{index:02}.json" for index in range(number)]
    for name in names:
        site.put(name, score(1))
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    ((uuid, _),) = stored(sandbox)
    assert puts(sandbox) == 1
    assert (site.waiting(), site.filed()) == ([], names)
    assert {site.receipt(name)["uuid"] for name in names} == {uuid}
    assert outcomes(site, names) == ["duplicate"] * (number - 1) + ["uploaded"]
    assert_receipts_are_true(site)


def test_one_pass_is_enough_for_twins_that_meet(site: Site, sandbox: Sandbox) -> None:
    """The other file waits for its owner's answer within the run, not for the next run."""
    sandbox.faults.add("put:delay,delay=0.1")
    names = ["a.json", "b.json", "c.json"]
    for name in names:
        site.put(name, score(1))
    assert site.once().exit_code() == Exit.OK
    assert outcomes(site, names) == ["duplicate", "duplicate", "uploaded"]


def two_routes(site: Site) -> Path:
    """A second route in the site's config; its folder, made."""
    folder = site.home / "other"
    for name in ("drop", "done", "failed"):
        (folder / name).mkdir(parents=True)
    text = site.config_path.read_text()
    before, routes, after = text.partition("\nroutes:\n")
    site.config_path.write_text(f"{before}{routes}  - folder: other\n    settle: 100ms\n{after}")
    return folder


def test_twins_in_two_routes_are_one_score_and_one_pass_is_enough(site: Site, sandbox: Sandbox) -> None:
    other = two_routes(site)
    sandbox.faults.add("put:delay,delay=0.1")
    site.put(NAME, score(1))
    shutil.copy(site.drop / NAME, other / "drop" / NAME)
    summary = site.once()
    assert puts(sandbox) == 1
    assert (summary.exit_code(), summary.outcomes) == (Exit.OK, {Outcome.UPLOADED: 1, Outcome.DUPLICATE: 1})
    receipt = json.loads((other / "done" / f"{NAME}.receipt.json").read_bytes())
    assert receipt["uuid"] == site.receipt(NAME)["uuid"] == sandbox.scores[0].uuid


def test_the_same_score_in_other_words_is_a_twin_too(site: Site, sandbox: Sandbox) -> None:
    """Key order, number spelling and the case of the assessment are no part of a score; its strings are."""
    content: dict[str, Any] = score(1, scoreData={"value": 1, "unit": "point"})
    site.put("a.json", content)
    text = json.dumps(dict(reversed(content.items()))).replace('"value": 1', '"value": 1.0e0')
    site.put("b.json", text.replace(str(content["assessmentId"]), str(content["assessmentId"]).upper()))
    site.put("c.yaml", "".join(f"{key}: {json.dumps(value)}\n" for key, value in content.items()))
    site.put("d.json", score(1, scoreData={"value": "1", "unit": "point"}))
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert puts(sandbox) == 2
    assert outcomes(site, ["a.json", "b.json", "c.yaml"]) == ["duplicate", "duplicate", "uploaded"]
    assert site.receipt("d.json")["outcome"] == "uploaded"


# --- a twin of what did not go well ------------------------------------------------------------------


def test_the_twin_of_a_refused_score_may_try(site: Site, sandbox: Sandbox) -> None:
    sandbox.faults.add("put:status=422,delay=0.1,times=1")
    site.put("a.json", score(1))
    site.put("b.json", score(1))
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.NEEDS_A_PERSON
    assert (puts(sandbox), len(sandbox.scores)) == (2, 1)
    (done,) = site.filed()
    assert site.receipt(done)["outcome"] == "uploaded"
    assert len(os.listdir(site.failed)) == 2


@pytest.mark.parametrize("fault", ["put:drop_after,times=1", "put:drop_before,times=1"], ids=["taken", "lost"])
def test_the_twin_of_a_score_in_doubt_waits_for_its_outcome(site: Site, sandbox: Sandbox, fault: str) -> None:
    sandbox.faults.add(fault, "scores:status=500")
    site.put("a.json", score(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    site.put("b.json", score(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    assert (site.waiting(), puts(sandbox)) == (["a.json", "b.json"], 1)
    sandbox.faults.clear()
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert {site.receipt(name)["uuid"] for name in ("a.json", "b.json")} == {sandbox.scores[0].uuid}
    assert len(sandbox.scores) == 1
    assert site.receipt("b.json")["outcome"] == "duplicate"


@pytest.mark.parametrize("fault", ["put:drop_after,times=1", "put:drop_before,times=1"], ids=["taken", "lost"])
def test_taken_away_in_doubt_and_dropped_again_it_is_still_one_score(site: Site, sandbox: Sandbox, fault: str) -> None:
    """The first entry goes on without its file; the file that comes back is its twin."""
    sandbox.faults.add(fault, "scores:status=500")
    path = site.put(NAME, score(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    path.unlink()
    assert site.once().exit_code() == Exit.TRY_AGAIN
    site.put(NAME, score(1))
    sandbox.faults.clear()
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert (site.waiting(), len(sandbox.scores)) == ([], 1)
    (there,) = site.filed()
    assert site.receipt(there)["uuid"] == sandbox.scores[0].uuid


def test_the_twin_of_a_deferred_score_that_was_taken_back_goes_at_once(site: Site, sandbox: Sandbox) -> None:
    sandbox.faults.add("put:status=408,retry_after=30,times=1")
    path = site.put("a.json", score(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    site.put("b.json", score(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    assert puts(sandbox) == 1, "b waits for a's turn"
    path.unlink()
    assert site.once().exit_code() == Exit.OK
    assert (site.filed(), site.receipt("b.json")["outcome"]) == (["b.json"], "uploaded")


# --- again, later ------------------------------------------------------------------------------------


def test_a_score_that_is_dropped_again_is_a_duplicate(site: Site, sandbox: Sandbox) -> None:
    for name in ("first.json", "second.json"):
        site.put(name, score(1))
        assert site.once().exit_code() == Exit.OK
    assert puts(sandbox) == 1
    first, second = site.receipt("first.json"), site.receipt("second.json")
    assert (second["outcome"], second["uuid"], second["proof"]) == ("duplicate", first["uuid"], "response")
    assert second["entryId"] != first["entryId"]
    assert_receipts_are_true(site)


@pytest.mark.parametrize("number", [1, 2], ids=["the same score", "another score"])
def test_a_name_that_comes_again_takes_nobodys_place(site: Site, sandbox: Sandbox, number: int) -> None:
    site.put(NAME, score(1))
    assert site.once().exit_code() == Exit.OK
    before = {name: (site.done / name).read_bytes() for name in os.listdir(site.done)}
    site.put(NAME, json.dumps(score(number), indent=1))
    assert site.once().exit_code() == Exit.OK
    assert {name: (site.done / name).read_bytes() for name in before} == before
    (again,) = set(site.filed()) - {NAME}
    assert again.startswith("visit.")
    assert again.endswith(".json")
    assert json.loads((site.done / again).read_bytes()) == score(number)
    assert site.receipt(again)["file"] == NAME
    assert len(sandbox.scores) == number
    assert_receipts_are_true(site)


def test_a_stranger_in_done_is_not_overwritten(site: Site, sandbox: Sandbox) -> None:
    (site.done / "a.json").write_text("somebody's")
    (site.done / "b.json.receipt.json").write_text("somebody's")
    site.put("a.json", score(1))
    site.put("b.json", score(2))
    assert site.once().exit_code() == Exit.OK
    assert (site.done / "a.json").read_text() == (site.done / "b.json.receipt.json").read_text() == "somebody's"
    assert len(os.listdir(site.done)) == 6


# --- failed/ and back --------------------------------------------------------------------------------


def reject(site: Site) -> None:
    """``NAME`` in failed/, with its error sidecar."""
    site.put(NAME, json.dumps(score(1, dateRecorded="yesterday")))
    assert site.once().exit_code() == Exit.NEEDS_A_PERSON
    assert sorted(os.listdir(site.failed)) == [NAME, ERROR]


def test_a_mended_file_clears_its_stale_error(site: Site, sandbox: Sandbox) -> None:
    reject(site)
    (site.failed / NAME).unlink()
    site.put(NAME, score(1))
    assert site.once().exit_code() == Exit.OK
    assert os.listdir(site.failed) == []
    assert site.filed() == [NAME]


def test_a_mended_copy_leaves_the_failed_file_its_reason(site: Site, sandbox: Sandbox) -> None:
    """Nothing in failed/ is without a reason beside it."""
    reject(site)
    site.put(NAME, score(1))
    assert site.once().exit_code() == Exit.OK
    assert sorted(os.listdir(site.failed)) == [NAME, ERROR]


def test_a_file_that_fails_again_has_one_error_not_two(site: Site, sandbox: Sandbox) -> None:
    """Moved back without being mended: the first sidecar says nothing of any file in failed/ any more."""
    reject(site)
    (site.failed / NAME).rename(site.drop / NAME)
    assert site.once().exit_code() == Exit.NEEDS_A_PERSON
    names = os.listdir(site.failed)
    alone = [name for name in names if name.endswith(".error.json") and name.removesuffix(".error.json") not in names]
    assert alone == []
    assert len(names) == 2


def test_two_failures_of_one_name_are_both_kept(site: Site, sandbox: Sandbox) -> None:
    reject(site)
    site.put(NAME, "{")
    assert site.once().exit_code() == Exit.NEEDS_A_PERSON
    errors = sorted(json.loads(path.read_bytes())["code"] for path in site.failed.glob("*.error.json"))
    assert errors == ["invalid", "syntax"]
    assert len(os.listdir(site.failed)) == 4


def test_a_refused_file_may_be_dropped_again(site: Site, sandbox: Sandbox) -> None:
    """The survey was unknown to the API, and is not any more: the same bytes go well now."""
    sandbox.faults.add("put:status=404,times=1")
    site.put(NAME, score(1))
    assert site.once().exit_code() == Exit.NEEDS_A_PERSON
    (site.failed / NAME).rename(site.drop / NAME)
    assert site.once().exit_code() == Exit.OK
    assert os.listdir(site.failed) == []
    site.assert_all_done_once([NAME], stored(sandbox))


def test_a_file_that_waits_too_long_gives_up_and_may_come_again(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_site(tmp_path, sandbox.url, routes__retry__give_up_after="1s", routes__retry__most="100ms")
    sandbox.faults.add("put:status=408")
    site.put(NAME, score(1))
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.NEEDS_A_PERSON
    assert site.error(NAME)["code"] == "gave_up"
    sandbox.faults.clear()
    (site.failed / NAME).rename(site.drop / NAME)
    assert site.once().exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))
    assert os.listdir(site.failed) == []
