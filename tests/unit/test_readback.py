"""What a look at the API says of a score in doubt (DESIGN §6, "Read-back")."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from canarysync.encode import encode
from canarysync.identity import identify
from canarysync.model import JsonValue, Moment, Number
from canarysync.readback import (
    Absent,
    Adopt,
    LookAgain,
    Near,
    RemoteScore,
    judge_look,
    possible_duplicate,
    scores_in,
)

ASSESSMENT = "0192530c-4ce5-7aa1-be9b-bc52dec8a184"
ONE, TWO, THREE = (f"7f0c3b1a-9c1e-4c55-8a39-00000000000{n}" for n in (1, 2, 3))
BODY: dict[str, JsonValue] = {
    "dateRecorded": "2026-01-01T12:00:00Z",
    "scoreId": "PHQ9",
    "scoreType": "sum",
    "scoreData": {"value": Number("12")},
}
OURS = identify(ASSESSMENT, BODY)

BOOT, OTHER_BOOT = "1df4fd3c-7a0e-4d39-9d3b-000000000001", "1df4fd3c-7a0e-4d39-9d3b-000000000002"
NOW = Moment(datetime(2026, 1, 1, 13, tzinfo=UTC), BOOT, 1e7)
WAIT_S = 60.0


def ago(seconds: float, by_boot_s: float | None = None, boot: str = BOOT) -> Moment:
    """So long ago by the wall clock, and as long, or ``by_boot_s``, by the other one."""
    passed_s = seconds if by_boot_s is None else by_boot_s
    return Moment(NOW.at - timedelta(seconds=seconds), boot, NOW.boot_s - passed_s)


def match(uuid: str) -> RemoteScore:
    return RemoteScore(uuid, OURS.match_key, OURS.near_key)


def near(uuid: str) -> RemoteScore:
    return RemoteScore(uuid, "other", OURS.near_key)


def stranger(uuid: str) -> RemoteScore:
    return RemoteScore(uuid, "other", "other")


FIRST = LookAgain(WAIT_S, first=True)

LOOKS = [
    # (case, listed, owned by other entries, the first look, what follows)
    ("a match is adopted", [match(ONE)], set(), None, Adopt(ONE)),
    ("a match among others", [stranger(THREE), near(TWO), match(ONE)], set(), None, Adopt(ONE)),
    ("a match at a later look", [match(ONE)], set(), ago(1e6), Adopt(ONE)),
    ("a match that another entry owns is not ours", [match(ONE)], {ONE}, None, FIRST),
    ("two matches, one owned", [match(ONE), match(TWO)], {ONE}, None, Adopt(TWO)),
    ("two free matches: either is as good", [match(ONE), match(TWO)], set(), None, Adopt(ONE)),
    ("a match wins over a near one before it", [near(TWO), match(ONE)], set(), None, Adopt(ONE)),
    ("a near match is for a person", [near(ONE)], set(), None, Near()),
    ("a near match at the second look too", [near(ONE)], set(), ago(1e6), Near()),
    ("a near match that another entry owns is its own score", [near(ONE)], {ONE}, None, FIRST),
    ("an owned match and a free near one", [match(ONE), near(TWO)], {ONE}, ago(1e6), Near()),
    ("nothing listed, first look", [], set(), None, FIRST),
    ("strangers only", [stranger(ONE)], set(), None, FIRST),
    ("too soon", [], set(), ago(59.75), LookAgain(0.25, first=False)),
    ("the same moment", [], set(), NOW, LookAgain(WAIT_S, first=False)),
    ("far enough apart", [], set(), ago(60), Absent()),
    ("much later", [stranger(ONE)], set(), ago(1e6), Absent()),
    ("the clock jumped back: the wait starts anew", [], set(), ago(-1), FIRST),
    ("the clock jumped back a year", [], set(), ago(-365 * 86_400), FIRST),
    ("the clock was set forward", [], set(), ago(3600, by_boot_s=20), LookAgain(40.0, first=False)),
    ("it was set forward, and the wait is over", [], set(), ago(3600, by_boot_s=60), Absent()),
    ("it was set back within the wait", [], set(), ago(20, by_boot_s=70), LookAgain(40.0, first=False)),
    ("after another boot only the wall clock knows", [], set(), ago(60, by_boot_s=9e6, boot=OTHER_BOOT), Absent()),
    ("and may say that it is too soon", [], set(), ago(50, 9e6, OTHER_BOOT), LookAgain(10.0, first=False)),
    ("the same boot, earlier: a machine's state restored", [], set(), ago(3600, by_boot_s=-1), FIRST),
]


@pytest.mark.parametrize(("case", "listed", "owned", "first_look", "expected"), LOOKS, ids=[row[0] for row in LOOKS])
def test_a_look(
    case: str,
    listed: list[RemoteScore],
    owned: set[str],
    first_look: Moment | None,
    expected: Adopt | Near | LookAgain | Absent,
) -> None:
    assert judge_look(OURS, listed, owned, first_look, NOW, WAIT_S) == expected


@pytest.mark.parametrize("wait_s", [0.001, 1.0, 60.0, 86_400.0])
def test_absence_is_believed_at_the_second_look_only(wait_s: float) -> None:
    first = judge_look(OURS, [], set(), None, NOW, wait_s)
    assert first == LookAgain(wait_s, first=True)
    assert judge_look(OURS, [], set(), ago(wait_s), NOW, wait_s) == Absent()


def test_where_no_boot_has_an_id_the_wall_clock_is_believed() -> None:
    """In a container without /proc."""
    asked = Moment(NOW.at, "", 5.0)
    assert judge_look(OURS, [], set(), Moment(ago(60).at, "", 1.0), asked, WAIT_S) == Absent()


@pytest.mark.parametrize(
    ("listed", "owned", "expected"),
    [
        ([], set(), False),
        ([match(ONE)], set(), False),
        ([match(ONE), match(TWO)], set(), True),
        ([match(ONE), match(TWO)], {TWO}, False),
        ([match(ONE), match(TWO), match(THREE)], {TWO}, True),
        ([match(ONE), near(TWO), stranger(THREE)], set(), False),
        ([match(TWO)], set(), True),
        ([match(ONE), match(ONE)], set(), False),
        ([match(None)], set(), False),
        ([match(ONE), match(None)], set(), True),
        ([match(None), match(None)], set(), True),
    ],
    ids=[
        "not there",
        "ours",
        "two matches",
        "the other one is another entry's",
        "one of three is",
        "no other match",
        "only the other one is listed yet",
        "listed twice",
        "ours, it may be",
        "ours, and one more",
        "one more at least",
    ],
)
def test_a_possible_duplicate(listed: list[RemoteScore], owned: set[str], expected: bool) -> None:
    assert possible_duplicate(OURS, listed, owned, ONE) is expected


# --- reading the listing (API.md, get-scores) --------------------------------------------------------------


def listing(*scores: JsonValue) -> bytes:
    return encode({"scores": list(scores)})


def test_a_listed_score_matches_what_was_sent() -> None:
    listed: dict[str, JsonValue] = {
        "uuid": ONE.upper(),
        "assessmentUUIDs": [ASSESSMENT],
        **BODY,
        "dateRecorded": "2026-01-01T12:00:00.000+00:00",
        "scoreData": {"value": Number("12.0")},
        "extraData": {},
    }
    assert scores_in(listing(listed), ASSESSMENT.upper()) == [match(ONE)]


@pytest.mark.parametrize(
    "element", [None, True, "x", Number("1"), []], ids=["null", "true", "string", "number", "list"]
)
def test_an_element_that_is_no_object_is_passed_over(element: JsonValue) -> None:
    assert scores_in(listing(element, {"uuid": ONE, **BODY}), ASSESSMENT) == [match(ONE)]


@pytest.mark.parametrize("uuid", [{}, {"uuid": None}, {"uuid": Number("1")}, {"uuid": [ONE]}, {"uuid": "x"}])
def test_our_score_without_a_uuid_is_for_a_person(uuid: dict[str, JsonValue]) -> None:
    """It is there, so it must not be sent again; and there is nothing to put into a receipt."""
    listed = scores_in(listing({**uuid, **BODY}), ASSESSMENT)
    assert listed is not None
    assert judge_look(OURS, listed, set(), None, NOW, WAIT_S) == Near()


@pytest.mark.parametrize("uuid", ["", " ", "abc123", "../../etc/passwd", ONE + "\n", "7f0c" * 100_000])
def test_what_is_no_uuid_is_never_adopted(uuid: str) -> None:
    """As with the answer to a PUT ("2xx without a valid uuid"): the receipt and the ledger hold uuids only."""
    listed = scores_in(listing({"uuid": uuid, **BODY}), ASSESSMENT)
    assert listed is not None
    assert not isinstance(judge_look(OURS, listed, set(), None, NOW, WAIT_S), Adopt)


@pytest.mark.parametrize("respelt", [{"scoreId": "phq9"}, {"scoreType": "SUM"}])
def test_our_score_with_its_kind_in_another_case_is_for_a_person(respelt: dict[str, JsonValue]) -> None:
    """An API that writes them its own way: neither ours for certain, nor to be sent again."""
    listed = scores_in(listing({**BODY, **respelt, "uuid": ONE}), ASSESSMENT)
    assert listed is not None
    assert judge_look(OURS, listed, set(), None, NOW, WAIT_S) == Near()


def test_an_empty_list_is_an_answer() -> None:
    assert scores_in(listing(), ASSESSMENT) == []


NOT_A_LISTING = {
    "empty": b"",
    "HTML": b"<html>",
    "null": b"null",
    "a bare list": b"[]",
    "no scores": b"{}",
    "scores null": b'{"scores": null}',
    "scores an object": b'{"scores": {}}',
    "cut": b'{"scores": [',
    "two documents": b'{"scores": []}{"scores": []}',
    "scores twice": b'{"scores": [1], "scores": []}',
    "too deep": b'{"scores": ' + b"[" * 60_000 + b"]" * 60_000 + b"}",
}


@pytest.mark.parametrize("body", NOT_A_LISTING.values(), ids=list(NOT_A_LISTING))
def test_what_is_no_listing_is_no_absence(body: bytes) -> None:
    assert scores_in(body, ASSESSMENT) is None


@pytest.mark.parametrize(
    "more",
    [
        {"next": "/v2/org/scores?page=2"}, {"nextPage": Number("2")}, {"next_page_token": "x"}, {"nextToken": "x"},
        {"cursor": "x"}, {"continuationToken": "x"}, {"hasMore": True}, {"has_more": True}, {"hasNextPage": True},
        {"@odata.nextLink": "https://"}, {"isTruncated": True}, {"links": {"self": "/", "next": {"href": "/?page=2"}}},
        {"paging": {"cursor": "x"}},
    ],
    ids=str,
)  # fmt: skip
def test_a_list_that_goes_on_elsewhere_is_no_absence(more: dict[str, JsonValue]) -> None:
    assert scores_in(encode({"scores": [], **more}), ASSESSMENT) is None


@pytest.mark.parametrize(
    "last",
    [
        {"next": None, "hasMore": False, "cursor": "", "nextPage": Number("0")}, {"links": {"next": None, "self": "/"}},
        {"previous": "/?page=1", "page": Number("1"), "count": Number("0"), "status": "ok"},
    ],
    ids=["nothing follows", "no link follows", "what else there is"],
)  # fmt: skip
def test_a_last_page_is_an_answer(last: dict[str, JsonValue]) -> None:
    assert scores_in(encode({"scores": [], **last}), ASSESSMENT) == []


@pytest.mark.parametrize(
    "odd",
    [b"NaN", b'"\xff"', b'"\n"', b'{"value": 1' + b"0" * 5000 + b"}", b'{"value": 1e' + b"9" * 5000 + b"}"],
    ids=["NaN", "not UTF-8", "control character", "long number", "long exponent"],
)
def test_what_others_have_written_does_not_hide_our_score(odd: bytes) -> None:
    """An API that takes such things from others lists them to us."""
    theirs = b'{"uuid": "0192530c-4ce5-7aa1-be9b-bc52dec8a184", "scoreData": ' + odd + b"}"
    ours = b'{"uuid": "2b1f8a8e-9a55-4b0a-b1e5-000000000001", "scoreData": {"value": 1.10}}'
    [_, found] = scores_in(b'{"scores": [' + theirs + b", " + ours + b"]}", ASSESSMENT) or [None, None]

    assert found is not None
    assert found.uuid == "2b1f8a8e-9a55-4b0a-b1e5-000000000001"
    assert found.match_key == identify(ASSESSMENT, {"scoreData": {"value": Number("1.1")}}).match_key


@pytest.mark.parametrize(
    ("recorded", "expected"),
    [
        ("2026-01-01T12:00:00Z", Adopt),
        ("2026-01-01T13:00:00.000+01:00", Adopt),
        ("2026-01-01 12:00:00+0000", Adopt),
        ("2026-01-01T12:00:00+00", Adopt),
        ("2026-01-01 12:00:00 UTC", Adopt),
        ("2026-01-01T12:00:00", Adopt),  # without a zone: as UTC it is ours
        ("2026-01-01T12:00:00,000", Adopt),
        ("2026-01-01T13:00:00", Near),  # perhaps ours, in somebody's local time
        ("2026-01-01T12:00Z", Near),
        ("Thu, 01 Jan 2026 12:00:00 GMT", Near),
        (Number("1767268800"), Near),
        (None, Near),
        ("2026-01-01 13:00:00+0000", LookAgain),  # certainly another second
        ("2026-01-01T12:00:01Z", LookAgain),
    ],
    ids=str,
)
def test_a_time_in_another_spelling_is_no_absence(recorded: JsonValue, expected: type) -> None:
    """API.md: assume that the server may re-format dateRecorded."""
    body: dict[str, JsonValue] = {
        "dateRecorded": "2026-01-01T12:00:00Z", "scoreId": "PHQ9", "scoreType": "sum",
        "scoreData": {"value": Number("12")},
    }  # fmt: skip
    listed = scores_in(encode({"scores": [{**body, "dateRecorded": recorded, "uuid": ONE}]}), ASSESSMENT)
    assert listed is not None

    assert isinstance(judge_look(identify(ASSESSMENT, body), listed, set(), None, NOW, WAIT_S), expected)
