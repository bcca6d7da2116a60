"""When are two scores the same? (DESIGN §6, "Two notions of the same")"""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canarysync.encode import encode
from canarysync.identity import exact_number, identify
from canarysync.model import Document, Identity, JsonValue, Number, Syntax
from canarysync.parse import parse

ASSESSMENT = "0192530c-4ce5-7aa1-be9b-bc52dec8a184"
BODY: dict[str, JsonValue] = {
    "dateRecorded": "2026-01-01T12:00:00Z",
    "scoreId": "PHQ9",
    "scoreType": "sum",
    "scoreData": {"value": Number("12")},
}


def identity(**changes: JsonValue) -> Identity:
    return identify(ASSESSMENT, BODY | changes)


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def value(text: str) -> Identity:
    return identity(scoreData={"value": Number(text)})


# --- numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "0"),
        ("-0", "0"),
        ("0.000", "0"),
        ("-0.0e99", "0"),
        ("1", "1e0"),
        ("-1", "-1e0"),
        ("10", "1e1"),
        ("1.0", "1e0"),
        ("1.10", "11e-1"),
        ("11e-1", "11e-1"),
        ("0.0011E+3", "11e-1"),
        ("110E-2", "11e-1"),
        ("1E400", "1e400"),
        ("1e-0400", "1e-400"),
        ("9007199254740993", "9007199254740993e0"),
        ("0." + "0" * 500 + "1", "1e-501"),
    ],
)
def test_one_spelling_for_one_decimal_value(text: str, expected: str) -> None:
    assert exact_number(text) == expected


@pytest.mark.parametrize("text", ["", "-", ".5", "1.", "1e", "NaN", "Infinity", "0x1", "1 ", "1\n", "+1", "\u0661"])
def test_what_is_no_number_is_an_error(text: str) -> None:
    with pytest.raises(ValueError, match="RFC 8259"):
        exact_number(text)


literals = st.from_regex(r"\A-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][-+]?[0-9]{1,3})?\Z")


@st.composite
def respelled(draw: st.DrawFn, text: str) -> str:
    """Another literal of the same decimal value."""
    sign, digits, exponent = Decimal(text).as_tuple()
    assert isinstance(exponent, int)
    padded = "".join(map(str, digits)) + "0" * draw(st.integers(0, 5))
    exponent -= len(padded) - len(digits)
    point = draw(st.integers(1, len(padded)))
    whole, fraction = padded[:point].lstrip("0") or "0", padded[point:]
    power = exponent + len(fraction)
    shown = f"{draw(st.sampled_from('eE'))}{power}" if power or draw(st.booleans()) else ""
    return ("-" if sign else "") + whole + ("." + fraction if fraction else "") + shown


@settings(max_examples=40)
@given(st.data(), literals)
def test_equal_decimal_spellings_have_one_fingerprint(data: st.DataObject, text: str) -> None:
    other = data.draw(respelled(text))
    assert Decimal(other) == Decimal(text)
    assert value(other) == value(text)


@settings(max_examples=40)
@given(literals, literals)
def test_different_decimal_values_have_different_fingerprints(one: str, other: str) -> None:
    assert (value(one).fingerprint == value(other).fingerprint) == (Decimal(one) == Decimal(other))


@settings(max_examples=40)
@given(literals, st.integers(0, 25))
def test_a_digit_more_is_another_score(text: str, zeros: int) -> None:
    longer = re.sub(r"(?=[eE]|$)", ("" if "." in text else ".") + "0" * zeros + "1", text, count=1)
    assert Decimal(longer) != Decimal(text)
    assert value(longer).fingerprint != value(text).fingerprint


# --- the fingerprint ----------------------------------------------------------------------------------


def test_the_case_of_the_assessment_id_and_the_order_of_keys_play_no_part() -> None:
    shuffled = dict(reversed(BODY.items()))
    assert identify(ASSESSMENT.upper(), shuffled) == identify(ASSESSMENT, BODY)


DIFFERENT: dict[str, dict[str, JsonValue]] = {
    "other scoreId": {"scoreId": "GAD7"},
    "case of scoreId": {"scoreId": "phq9"},
    "other scoreType": {"scoreType": "mean"},
    "other second": {"dateRecorded": "2026-01-01T12:00:01Z"},
    "other spelling of the instant": {"dateRecorded": "2026-01-01T12:00:00.000Z"},
    "other value": {"scoreData": {"value": Number("13")}},
    "string for number": {"scoreData": {"value": "12"}},
    "true for number": {"scoreData": {"value": True}},
    "null for number": {"scoreData": {"value": None}},
    "list for number": {"scoreData": {"value": [Number("12")]}},
    "one key more": {"scoreData": {"value": Number("12"), "x": None}},
    "extraData": {"extraData": {"device": "recorder 7"}},
    "empty extraData": {"extraData": {}},
    "Unicode normal form": {"scoreId": "PHQ9\u0301"},
    "blank": {"scoreId": "PHQ9 "},
    "quotes that would close a string": {"scoreId": 'PHQ9","scoreType":"sum'},
}


def test_every_difference_has_a_fingerprint_of_its_own() -> None:
    found = [identity(**changes).fingerprint for changes in [{}, *DIFFERENT.values()]]
    assert len(set(found)) == len(found)
    assert identify(ASSESSMENT.replace("0192", "0193"), BODY).fingerprint not in found


def test_digests_are_sha256_in_hex_and_never_one_for_another() -> None:
    found = identity()
    assert len({found.fingerprint, found.match_key, found.near_key}) == 3
    for digest in (found.fingerprint, found.match_key, found.near_key):
        assert re.fullmatch(r"[0-9a-f]{64}", digest)


def test_the_fingerprint_is_pinned() -> None:
    """Ledgers and receipts keep it for years: a change here would send old scores again."""
    who = f'"{ASSESSMENT}","PHQ9","sum"'
    rest = '"dateRecorded":"2026-01-01T12:00:00Z","scoreData":{"value":12e0},"scoreId":"PHQ9","scoreType":"sum"'
    assert identity() == Identity(
        fingerprint=sha256(f'{{"assessmentId":"{ASSESSMENT}","body":{{{rest}}}}}'),
        match_key=sha256(f'[{who},1767268800000.0,{{"value":12.0}},null]'),
        near_key=sha256(f"[{who.lower()}]")[:32] + sha256("17672688e2")[32:],
    )


def test_the_fingerprint_of_everything_that_a_score_may_hold_is_pinned() -> None:
    everything: dict[str, JsonValue] = {
        "z": [None, True, False, {}, [], [Number("-0.0"), Number("1.10E+2"), Number("1e999")]],
        "\U0001f600": 'quotes " and \\ and \n and \x7f', "\uffff": "\ud800", "Z": "déjà-日本", "": {"b": "", "a": ""},
    }  # fmt: skip
    found = identity(scoreData=everything, extraData=everything, dateRecorded="1990-12-31T15:59:60.9876-08:00")
    assert found == Identity(
        fingerprint="7b17f034f29973dda9edb46bc61988fea256b161fe3c05e3c4f5b0f87430739a",
        match_key="deae9570cf469d89739d653a12e66f6a798fd32561bae8909de3669eecacebd6",
        near_key="9b5f9de2e88c2b3b0b30d67aed1f3173eb1507c3ec98f47a9b82c013652f7bd2",
    )


def test_a_lone_surrogate_has_an_identity() -> None:
    assert identity(scoreId="\ud800") != identity(scoreId="\ufffd")


# --- the match key: what the API may have made of a score -----------------------------------------------

SAME_MATCH: dict[str, dict[str, JsonValue]] = {
    "milliseconds added": {"dateRecorded": "2026-01-01T12:00:00.000Z"},
    "offset for Z": {"dateRecorded": "2026-01-01T12:00:00+00:00"},
    "other offset": {"dateRecorded": "2026-01-01T13:30:00+01:30"},
    "cut to the millisecond": {"dateRecorded": "2026-01-01T12:00:00.0009999Z"},
    "12.0 for 12": {"scoreData": {"value": Number("12.0")}},
    "1.2e1 for 12": {"scoreData": {"value": Number("1.2e1")}},
    "the nearest double": {"scoreData": {"value": Number("12.0000000000000000001")}},
    "empty extraData added": {"extraData": {}},
    "extraData null added": {"extraData": None},
    "members of the listing": {"uuid": "x", "assessmentUUIDs": [ASSESSMENT]},
}

OTHER_MATCH: dict[str, dict[str, JsonValue]] = {
    key: changes
    for key, changes in DIFFERENT.items()
    if key not in {"other spelling of the instant", "empty extraData"}
} | {
    "other millisecond": {"dateRecorded": "2026-01-01T12:00:00.001Z"},
    "other double": {"scoreData": {"value": Number("12.000000000000002")}},
    "extraData empty within": {"extraData": {"device": {}}},
    "no instant": {"dateRecorded": "2026-01-01"},
}


@pytest.mark.parametrize("changes", SAME_MATCH.values(), ids=list(SAME_MATCH))
def test_the_match_survives_what_the_api_may_do(changes: dict[str, JsonValue]) -> None:
    assert identity(**changes).match_key == identity().match_key
    assert identity(**changes).near_key == identity().near_key


@pytest.mark.parametrize("changes", OTHER_MATCH.values(), ids=list(OTHER_MATCH))
def test_the_match_tells_other_scores_apart(changes: dict[str, JsonValue]) -> None:
    assert identity(**changes).match_key != identity().match_key


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param("9007199254740993", "9007199254740992", id="beyond 2**53"),
        pytest.param("0.1", "0.1000000000000000055511151231257827", id="0.1 in full"),
        pytest.param("-0", "0", id="minus zero"),
        pytest.param("1e-400", "0", id="below the least double"),
        pytest.param("1e400", "10e399", id="beyond the largest double, exact"),
    ],
)
def test_numbers_match_exactly_or_as_doubles(one: str, other: str) -> None:
    assert value(one).match_key == value(other).match_key


@pytest.mark.parametrize(("one", "other"), [("1e400", "1e401"), ("1e400", "-1e400"), ("1", "1.0000000000000002")])
def test_numbers_that_differ_as_doubles_do_not_match(one: str, other: str) -> None:
    assert value(one).match_key != value(other).match_key


@pytest.mark.parametrize(
    ("changes", "near"),
    [
        ({"scoreData": {"value": Number("13")}}, True),
        ({"extraData": {"device": "recorder 8"}}, True),
        ({"dateRecorded": "2026-01-01T12:00:00.999Z"}, True),
        ({"dateRecorded": "2026-01-01T07:00:00-05:00"}, True),
        ({"dateRecorded": "2026-01-01T12:00:01Z"}, False),
        ({"dateRecorded": "2026-01-01T11:59:59.999Z"}, False),
        ({"scoreId": "phq9"}, True),
        ({"scoreType": "SUM"}, True),
        ({"scoreId": "GAD7"}, False),
        ({"scoreType": "mean"}, False),
        ({"scoreId": None}, False),
    ],
)
def test_near_is_the_same_kind_and_second(changes: dict[str, JsonValue], near: bool) -> None:
    assert (identity(**changes).near_key == identity().near_key) is near


@pytest.mark.parametrize("body", [{}, {"scoreId": None}, {"dateRecorded": [], "scoreData": "x", "extraData": False}])
def test_whatever_the_api_lists_has_an_identity(body: dict[str, JsonValue]) -> None:
    assert identify(ASSESSMENT, body).match_key != identity().match_key


texts = st.text(st.characters(codec="utf-8"), max_size=8)
finite = literals.filter(lambda text: abs(float(text)) < float("inf"))
data: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | finite.map(Number) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)


def through_doubles(value: JsonValue) -> JsonValue:
    """What a server makes of a value that keeps its numbers as doubles and its keys in its own order."""
    if isinstance(value, Number):
        return Number(repr(float(value.text) + 0.0))
    if isinstance(value, dict):
        return {key: through_doubles(value[key]) for key in sorted(value, reverse=True)}
    return [through_doubles(item) for item in value] if isinstance(value, list) else value


@settings(max_examples=40)
@given(
    st.datetimes(min_value=datetime(1900, 1, 1), max_value=datetime(2100, 1, 1)),
    st.integers(-1439, 1439),
    data,
    st.dictionaries(texts, data, max_size=3),
    st.booleans(),
)
def test_a_score_is_found_again_whatever_a_json_server_made_of_it(
    at: datetime, offset_min: int, value: JsonValue, extra: dict[str, JsonValue], keep_empty: bool
) -> None:
    sent: dict[str, JsonValue] = BODY | {"scoreData": {"value": value}, "extraData": extra}
    sent["dateRecorded"] = at.replace(tzinfo=timezone(timedelta(minutes=offset_min))).isoformat()
    cut = at - timedelta(minutes=offset_min, microseconds=at.microsecond % 1000)
    listed = {
        "uuid": "f", **{key: through_doubles(item) for key, item in reversed(sent.items())},
        "dateRecorded": cut.replace(tzinfo=UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    }  # fmt: skip
    if not extra and not keep_empty:
        del listed["extraData"]
    document = parse(encode(listed), Syntax.JSON)
    assert isinstance(document, Document)
    assert isinstance(document.value, dict)
    found = identify(ASSESSMENT.upper(), document.value)
    assert replace(found, fingerprint="") == replace(identify(ASSESSMENT, sent), fingerprint="")


@settings(max_examples=40)
@given(data, data)
def test_the_fingerprint_differs_whenever_the_data_does(one: JsonValue, other: JsonValue) -> None:
    same = identity(scoreData={"value": one}).fingerprint == identity(scoreData={"value": other}).fingerprint
    assert same == (comparable(one) == comparable(other))


def comparable(value: JsonValue) -> object:
    """For ==: numbers as Decimal, and nothing that Python holds equal to a number."""
    if isinstance(value, Number):
        return Decimal(value.text)
    if isinstance(value, dict):
        return {key: comparable(item) for key, item in value.items()}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    return (type(value).__name__, value)
