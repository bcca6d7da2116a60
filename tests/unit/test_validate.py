"""The put-score contract as a table: what is a score, and what is said of all that is none."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canarysync.identity import identify
from canarysync.model import Code, Document, JsonValue, Number, Problem, Rejection, Score, Syntax
from canarysync.parse import parse
from canarysync.validate import validate

BASE = {
    "assessmentId": "0192530c-4ce5-7aa1-be9b-bc52dec8a184",
    "dateRecorded": "2026-01-01T12:00:00Z",
    "scoreId": "PHQ9",
    "scoreType": "sum",
    "scoreData": {"value": 12},
}


def read(text: str, syntax: Syntax = Syntax.YAML) -> Score | Rejection:
    document = parse(text.encode(), syntax)
    assert isinstance(document, Document), document
    return validate(document)


def problems_of(text: str, syntax: Syntax = Syntax.YAML) -> tuple[Problem, ...]:
    rejection = read(text, syntax)
    assert isinstance(rejection, Rejection), rejection
    assert rejection.code is Code.INVALID
    return rejection.problems


def changed(**changes: object) -> str:
    return json.dumps({key: value for key, value in {**BASE, **changes}.items() if value is not ...})


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"extraData": {}},
        {"extraData": {"anything": [None, True, {"x": 1}]}},
        {"scoreData": {"value": "low", "more": None}},
        {"scoreData": {"value": False}},
        {"scoreData": {"value": 0}},
        {"scoreData": {"value": ""}},
        {"scoreData": {"value": []}},
        {"scoreData": {"value": 1, "data": None}},
        {"scoreType": "OVERSEER", "scoreData": {"data": {}}},
        {"scoreType": "OVERSEER_V2", "scoreData": {"data": [1], "value": None}},
        {"scoreType": "overseer"},
        {"scoreType": "xOVERSEER"},
        {"scoreType": "x\nOVERSEER"},
        {"dateRecorded": "1990-12-31T15:59:60-08:00"},
        {"assessmentId": "00000000-0000-0000-0000-000000000000"},
    ],
)
def test_is_a_score(changes: dict[str, object]) -> None:
    assert isinstance(read(changed(**changes), Syntax.JSON), Score)


@pytest.mark.parametrize(
    ("changes", "path", "message"),
    [
        ({"assessmentId": ...}, "", "The document needs `assessmentId`."),
        ({"scoreData": ...}, "", "The document needs `scoreData`."),
        ({"assessmentId": "abc123"}, "/assessmentId", "`assessmentId` is not a UUID."),
        (
            {"dateRecorded": "2026-01-01"},
            "/dateRecorded",
            "`dateRecorded` is not an RFC 3339 date-time (date, time and offset).",
        ),
        (
            {"dateRecorded": "2026-02-30T12:00:00Z"},
            "/dateRecorded",
            "`dateRecorded` is not an RFC 3339 date-time (date, time and offset).",
        ),
        ({"scoreId": ""}, "/scoreId", "`scoreId` is empty."),
        ({"scoreId": 9}, "/scoreId", "`scoreId` must be a string, but is a number."),
        ({"scoreId": True}, "/scoreId", "`scoreId` must be a string, but is true or false."),
        ({"scoreType": None}, "/scoreType", "`scoreType` must be a string, but is null."),
        ({"scoreType": ""}, "/scoreType", "`scoreType` is empty."),
        ({"scoreData": []}, "/scoreData", "`scoreData` must be an object, but is an array."),
        ({"extraData": None}, "/extraData", "`extraData` must be an object, but is null."),
        ({"extraData": "x"}, "/extraData", "`extraData` must be an object, but is a string."),
        ({"comment": 1}, "/comment", "`comment` is not a known key."),
        (
            {"scoreData": {"score": 1}},
            "/scoreData",
            "`scoreData` needs `value`, since scoreType does not start with OVERSEER.",
        ),
        (
            {"scoreType": "OVERSEER", "scoreData": {"value": 1}},
            "/scoreData",
            "`scoreData` needs `data`, since scoreType starts with OVERSEER.",
        ),
        (
            {"scoreData": {"value": None}},
            "/scoreData/value",
            "`scoreData.value` must be a number, a string, true or false, an object or an array, but is null.",
        ),
    ],
)
def test_is_no_score(changes: dict[str, object], path: str, message: str) -> None:
    (problem,) = problems_of(changed(**changes), Syntax.JSON)
    assert (problem.path, problem.message) == (path, message)
    assert problem.line == 1


def test_without_a_score_type_nothing_is_asked_of_the_score_data() -> None:
    (problem,) = problems_of(changed(scoreType=..., scoreData={}), Syntax.JSON)
    assert problem.message == "The document needs `scoreType`."


@pytest.mark.parametrize("text", ["[]", "12", '"x"', "null"])
def test_a_document_that_is_no_object(text: str) -> None:
    (problem,) = problems_of(text, Syntax.JSON)
    assert problem.message.startswith("The document must be an object")


def test_all_problems_are_told_at_once_in_file_order_with_their_places() -> None:
    problems = problems_of(
        "dateRecorded: 2026-01-01\n"
        "assessmentId: abc123\n"
        "scoreid: PHQ9\n"
        "scoreType: sum\n"
        "scoreData:\n"
        "  Value: 3\n"
        "extradata: {}\n"
        "scoretype: sum\n"
    )
    assert [(p.line, p.column, p.path, p.hint) for p in problems] == [
        (
            1,
            15,
            "/dateRecorded",
            "It has a date only: add the time and its offset, as in 2026-01-01T12:00:00Z.",
        ),
        (
            2,
            15,
            "/assessmentId",
            "Write 32 hexadecimal digits as 8-4-4-4-12, with hyphens.",
        ),
        (3, 1, "/scoreid", "Did you mean `scoreId`?"),
        (6, 3, "/scoreData", "Did you mean `value` by `Value`?"),
        (7, 1, "/extradata", "Did you mean `extraData`?"),
        (8, 1, "/scoretype", "Remove it, or correct its name."),
    ]


def test_the_message_counts_the_problems() -> None:
    assert isinstance(one := read(changed(scoreId=""), Syntax.JSON), Rejection)
    assert isinstance(two := read(changed(scoreId="", scoreData=1), Syntax.JSON), Rejection)
    assert one.message == "The file is not a valid score: 1 problem."
    assert two.message == "The file is not a valid score: 2 problems."


def test_the_body_is_the_other_fields_as_written() -> None:
    score = read(
        "scoreData: {value: 1.10, b: 1e2}\n"
        "scoreType: sum\n"
        "assessmentId: 0192530C-4CE5-7AA1-BE9B-BC52DEC8A184\n"
        "scoreId: PHQ9\n"
        "dateRecorded: 2026-01-01t12:00:00.50+00:00\n"
    )
    assert isinstance(score, Score)
    assert score.body == (
        b'{"scoreData":{"value":1.10,"b":1e2},"scoreType":"sum","scoreId":"PHQ9",'
        b'"dateRecorded":"2026-01-01t12:00:00.50+00:00"}'
    )
    assert score.assessment_id == "0192530c-4ce5-7aa1-be9b-bc52dec8a184"
    assert score.score_id == "PHQ9"


def test_the_identity_is_that_of_the_body() -> None:
    score = read(changed(), Syntax.JSON)
    assert isinstance(score, Score)
    body: dict[str, JsonValue] = {
        "dateRecorded": "2026-01-01T12:00:00Z",
        "scoreId": "PHQ9",
        "scoreType": "sum",
        "scoreData": {"value": Number("12")},
    }
    assert score.identity == identify(str(BASE["assessmentId"]), body)


SECRETIVE = st.sampled_from(["Zebra-4711", "47110815", {"Zebra": 1}, ["Zebra-4711"], None, True, 4711.5, ""])


@given(st.dictionaries(st.sampled_from([*BASE, "extraData", "extra", "scoreID"]), SECRETIVE))
def test_no_problem_quotes_a_value(value: dict[str, object]) -> None:
    outcome = read(json.dumps(value), Syntax.JSON)
    assert isinstance(outcome, Rejection)
    assert "Zebra" not in repr(outcome)
    assert "4711" not in repr(outcome)
