"""An API that lists, or names, what it holds in odd ways: each score keeps to the uuid that is its own."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from canarysync.errors import Exit
from canarysync.step import Outcome
from tests.support import ASSESSMENT, PATIENCE_S, Site, make_site, score, wait_for
from tests.system.evils import MIB
from tests.system.raw_api import HANG_UP, Asked, RawApi, Says, assert_all_there_once, honest, plain

# --- uuids -------------------------------------------------------------------------------------------


def saying_uuid(api: RawApi, spell: Callable[[str], str]) -> Says:
    """Every uuid of the honest API, spelt otherwise, in the answer to a PUT and in the list alike."""

    def says(asked: Asked) -> Iterable[bytes] | None:
        body = api.carry_out(asked).decode()
        for known, _, _ in api.scores:
            body = body.replace(known, spell(known))
        return plain(body.encode())

    return says


def test_a_uuid_in_capitals_is_the_same_uuid(tmp_path: Path) -> None:
    with RawApi() as api:
        api.says = saying_uuid(api, str.upper)
        site = make_site(tmp_path, api.url)
        site.put("a.json", score(1))
        assert site.once().exit_code() == Exit.OK
        owned = b'{"uuid": "%s"}' % api.scores[0][0].upper().encode()
        api.says = lambda asked: plain(owned) if asked.endpoint == "put" else None
        site.put("b.json", score(2))
        summary = site.once()
    assert site.receipt("a.json")["uuid"] == api.scores[0][0]
    assert (summary.held, site.waiting()) == (1, ["b.json"]), "the owner of the uuid is known in capitals, too"


@pytest.mark.parametrize("form", ["{%s}", "urn:uuid:%s"])
def test_a_uuid_in_another_form_is_no_proof_and_is_for_a_person(tmp_path: Path, form: str) -> None:
    with RawApi() as api:
        api.says = saying_uuid(api, lambda known: json.dumps(form % known)[1:-1])
        site = make_site(tmp_path, api.url)
        site.put("visit.json", score(1))
        summary = site.once(wait_s=PATIENCE_S)
        assert (summary.exit_code(), summary.held) == (Exit.NEEDS_A_PERSON, 1)
        api.says = honest
        wait_for(lambda: site.once().exit_code() == Exit.OK, "another look")
    assert_all_there_once(site, api, ["visit.json"])
    assert api.count("put") == 1


# --- lists -------------------------------------------------------------------------------------------


def in_doubt(tmp_path: Path, api: RawApi, *, taken: bool) -> Site:
    """A site with one file whose PUT was ``taken``, or not, and whose looks begin with the next run."""
    site = make_site(tmp_path, api.url, routes__retry__most="200ms")
    site.put("visit.json", score(1))
    api.says = lambda asked: (taken and api.carry_out(asked), [HANG_UP])[1] if asked.endpoint == "put" else None
    assert site.once().exit_code() == Exit.TRY_AGAIN
    api.says = honest
    return site


def elsewhere_too(api: RawApi, number: int, **changes: object) -> str:
    """A score that another system has written into the assessment; its uuid."""
    body = {key: value for key, value in score(number, **changes).items() if key != "assessmentId"}
    api.scores.append((str(uuid.uuid4()), ASSESSMENT, json.dumps(body).encode()))
    return api.scores[-1][0]


def test_ours_is_found_among_thousands(tmp_path: Path) -> None:
    with RawApi() as api:
        site = in_doubt(tmp_path, api, taken=True)
        ours = api.scores.pop()
        for number in range(3000):
            elsewhere_too(api, number, dateRecorded="2026-02-01T00:00:00Z")
        api.scores.insert(1500, ours)
        assert site.once(wait_s=PATIENCE_S).outcomes == {Outcome.RECOVERED: 1}
    assert site.receipt("visit.json")["uuid"] == ours[0]


def test_each_of_many_alike_gets_a_uuid_of_its_own_among_the_scores_of_others(tmp_path: Path) -> None:
    """Apart by less than a millisecond, all are alike to the API; two of ours were lost, twenty foreign ones fit."""
    names = [f"{number}.json" for number in range(4)]
    with RawApi() as api:
        silent = iter([True, False] * 2)
        api.says = lambda asked: (
            (next(silent) and api.carry_out(asked), [HANG_UP])[1] if asked.endpoint == "put" else None
        )
        site = make_site(tmp_path, api.url)
        for number, name in enumerate(names):
            site.put(name, score(1, dateRecorded=f"2026-01-01T12:00:00.123{number}Z"))
        site.once()
        for _ in range(20):
            elsewhere_too(api, 1, dateRecorded="2026-01-01T14:00:00.123+02:00")
        api.says = honest
        assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert site.filed() == names
    assert len({site.receipt(name)["uuid"] for name in names}) == 4
    assert (api.count("put"), len(api.scores)) == (4, 22)


def test_one_score_that_is_listed_twice_is_no_duplicate(tmp_path: Path) -> None:
    """As between two pages of a list that grows."""

    def twice(asked: Asked) -> Iterable[bytes] | None:
        listed = json.loads(api.carry_out(asked)).get("scores") if asked.endpoint == "scores" else None
        return None if listed is None else plain(json.dumps({"scores": listed * 2}).encode())

    with RawApi() as api:
        site = in_doubt(tmp_path, api, taken=False)
        api.says = twice
        assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert_all_there_once(site, api, ["visit.json"])
    assert "possibleDuplicate" not in site.receipt("visit.json")


UNREADABLE = {
    "beyond all bounds": b" " * 9 * MIB,
    "deeply nested": b'{"extraData": ' + b"[" * 200 + b"]" * 200 + b"}, ",
    "one key twice": b'{"scoreId": "A", "scoreId": "B"}, ',
}


@pytest.mark.parametrize("more", UNREADABLE.values(), ids=UNREADABLE)
def test_a_list_that_stays_unreadable_is_no_absence_and_is_for_a_person(tmp_path: Path, more: bytes) -> None:
    """What another system wrote into the assessment is nothing that goes away by waiting."""

    def says(asked: Asked) -> Iterable[bytes] | None:
        body = api.carry_out(asked)
        return plain(body.replace(b"[", b"[" + more, 1)) if asked.endpoint == "scores" else plain(body)

    with RawApi() as api:
        site = in_doubt(tmp_path, api, taken=True)
        api.says = says
        summary = site.once(wait_s=PATIENCE_S)
        assert (summary.exit_code(), summary.held) == (Exit.NEEDS_A_PERSON, 1)
        assert api.count("put") == 1
        api.says = honest
        wait_for(lambda: site.once().exit_code() == Exit.OK, "another look")
    assert_all_there_once(site, api, ["visit.json"])
