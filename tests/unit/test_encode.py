"""encode: compact JSON in which every number keeps its spelling (RFC 8259)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canarysync.encode import encode, members
from canarysync.model import Document, Identity, JsonValue, Number, Problem, Syntax
from canarysync.parse import MAX_DEPTH, parse

SPELLINGS = [
    "0", "-0", "-0.0", "1.10", "1E400", "1e-400", "1e+2", "1E05", "0.10000000000000000000000001",
    "12345678901234567890123456789", "-1.0e0", "9" * 1000,
]  # fmt: skip

numbers = st.from_regex(r"\A-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,3})?\Z").map(Number)
strings = st.text(st.characters(exclude_categories=())) | st.text()
values: st.SearchStrategy[JsonValue] = st.recursive(
    st.none() | st.booleans() | numbers | strings,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda text: f"§6 {text[:30]}")
@pytest.mark.parametrize("syntax", Syntax)
def test_a_number_leaves_as_it_was_spelled(spelling: str, syntax: Syntax) -> None:
    document = parse(f'{{"value": [{spelling}]}}'.encode(), syntax)
    assert isinstance(document, Document)
    assert encode(document.value) == f'{{"value":[{spelling}]}}'.encode()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        pytest.param(None, b"null", id="§3 null"),
        pytest.param(True, b"true", id="§3 true"),
        pytest.param(False, b"false", id="§3 false"),
        pytest.param({}, b"{}", id="§4 empty object"),
        pytest.param([], b"[]", id="§5 empty array"),
        pytest.param({"b": None, "a": [True, {}]}, b'{"b":null,"a":[true,{}]}', id="§4 order is kept"),
        pytest.param("", b'""', id="§7 empty string"),
        pytest.param('"\\/\b\f\n\r\t\x00\x7f', b'"\\"\\\\/\\b\\f\\n\\r\\t\\u0000\\u007f"', id="§7 escapes"),
        pytest.param("é\u2028", b'"\\u00e9\\u2028"', id="§7 ASCII only"),
        pytest.param("\U0001f600", b'"\\ud83d\\ude00"', id="§7 astral as a pair"),
        pytest.param("\ud800", b'"\\ud800"', id="§8.2 lone surrogate"),
        pytest.param({"\udfff": "x"}, b'{"\\udfff":"x"}', id="§8.2 lone surrogate in a key"),
    ],
)
def test_each_kind_of_value(value: JsonValue, expected: bytes) -> None:
    assert encode(value) == expected


@pytest.mark.parametrize("stranger", [12, 1.5, b"x", {"a": 1}, [(1,)]])
def test_what_is_no_json_value_is_never_encoded_as_something_else(stranger: JsonValue) -> None:
    with pytest.raises(AssertionError):
        encode(stranger)


def test_the_deepest_value_that_is_read_can_be_encoded() -> None:
    text = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    document = parse(text, Syntax.JSON)
    assert isinstance(document, Document)
    assert encode(document.value) == text


@given(values)
def test_what_was_encoded_reads_back_the_same(value: JsonValue) -> None:
    data = encode(value)
    document = parse(data, Syntax.JSON)
    assert isinstance(document, Document)
    # A high and a low surrogate side by side are one character once they have been through JSON.
    assert encode(document.value) == data


def test_members_are_in_camel_case_and_their_values_as_they_are() -> None:
    assert members(Problem("m", "/a_b"))["path"] == "/a_b"
    assert list(members(Identity("f", "m", "n")))[:2] == ["fingerprint", "matchKey"]
