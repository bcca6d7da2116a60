"""Reading JSON: what RFC 8259 takes and refuses (after the ideas of JSONTestSuite), and what is said."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from canarysync.model import Code, Document, JsonValue, Number, Path, Position, Problem, Rejection, Syntax
from canarysync.parse import MAX_DEPTH, parse, places, pointer

ACCEPTED = {
    "§2": [
        "null", "true", "false", " \t\n\r1\r\n\t ", '"top"', "[]", "{}", " [] ", "[\n]", "\n{\r}\t",
    ],
    "§3": [
        "[true]", "[false]", "[null]", "[null, true,false ]", '{"a":null}',
    ],
    "§4": [
        '{"":0}', '{"a":{}}', '{"a":1,"b":2}', '{ "a" : 1 , "b" : [ ] }', '{"a":1,"A":2}', '{"\\u0000":1}',
        '{"a b":1}', '{"1":1}', '{"x":[{"id":"y"}],"id":"z"}', '{"a":\n1\n}', '{"\\u0061b":1,"ac":2}',
    ],
    "§5": [
        "[[]]", "[[] ]", '["a"]', "[1,null,[2],{}]", "[ 1 ]", '[1\n,"2"\r,3]', "[{},{}]",
    ],
    "§6": [
        "0", "-0", "-1", "123", "[20e1]", "1E22", "1e+2", "1E+2", "1E-2", "0e1", "0e+1", "0e00", "1.5",
        "-0.0", "123.456e78", "-237462374673276894279832749832423479823246327846",
        "0.4e00669999999999999999999999999", "123123e100000", "-1e+9999", "1e-10000",
        "1.000000000000000000000000000000000005", "9" * 1000,
    ],
    "§7": [
        '"\\u0041"', '"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\u0000"', '"\\uD834\\uDD1E"', '"\\\\u0000"', '"\\\\n"',
        '"/"', '"\\u00e9é"', '"\x7f"', '"\u2028\u2029"', '"\u0085"', '"\U0010ffff"', '"\\uFFFE"', '"\ufeff"',
        '" "', '"a/*b*/c"', '"\\uD83F\\uDFFE"', '"[{"', '"\\u200B"', '"NaN"', '"\ue000"',
    ],
    "§8.2": [
        '"\\ud800"', '"\\uDFAA"', '"\\uD888\\u1234"', '"\\uDd1e\\uD834"', '"\\uD800\\n"',
        '"\\uD800\\uD800\\n"',
    ],
    "§8.1": [
        "\ufeff{}", "\ufeff1",
    ],
}  # fmt: skip
REFUSED = {
    "§2": [
        "", " ", "\ufeff", "\ufeff\ufeff{}", "1 2", "{}{}", "[]]", "[1]x", "{}#", "[][]", "\f1", "\u00a01",
        "*", "]", "}", ",", ":", "<.>", "a", "å", "\u2060", "[\v1]", '{"a":1}//', "{},", "'", "1]", "[" * 200,
        "\\", "{}\x00", "[1}", '{"a":1]', "[<null>]", '["a"', "[1", "[", "{", '{"a"', '{"a":', '{"a":1',
        '{"a":1,', "[1,", "[[", '["', '["a', '["\\', '["\\u', '{"', "[1\n,1\n,1", "[{}", "\x00", "x\x00",
        '{"a":1} {"a":1}',
    ],
    "§3": [
        "[nul]", "[tru]", "[fals]", "[True]", "nULL", "[truth]", "None", "undefined", "[NaN]", "[-NaN]",
        "[Infinity]", "[-Infinity]", "[+Inf]", "nan", "inf", "TRUE",
    ],
    "§4": [
        "{1:1}", "{a:1}", "{'a':1}", '{"a",1}', '{"a" 1}', '{"a"=1}', '{"a":}', '{:1}', '{"a":1,}',
        '{"a":1,,}', "{,}", '{"a":1,"b"}', '{"a":1 "b":2}', '{"a":1}}', '{"a"::1}', '{null:1}',
        '{"a":1;"b":2}', "{[]:1}", '{"a":1,"a":2}', '{"a":1,"\\u0061":1}', '[{"b":{"x":1,"x":1}}]', '{"a":b}',
        '{"a":"b",#}', '{"a":/**/1}',
    ],
    "§5": [
        "[,]", "[,1]", "[1,]", "[1,,2]", "[1 2]", '["a" "b"]', "[1:2]", "[-]", "[   , 1]", "[1,\n2\n,]",
        "[a]", '["":1]', "[1;2]", "[1,5,]",
    ],
    "§6": [
        "+1", "-", "--1", "++1", "+-1", "01", "-01", "00", "012", "-012.5", "1.", "-1.", ".5", "-.5", ".5e3",
        "1.e3", "0.e1", "1e", "1e+", "1E-", "1.0e", "1eE2", "0e", "0x1F", "0xFFFFFFFF", "0o17", "0b1",
        "1_000", "1 000", "1,5", "1.2.3", "- 1", "1+2", "1a", "-a", "-1x", "1e1.5", "0.1.2", ".", "\uff11",
        "\u0661", "1\u0662", "2.e+3", "9.e+", "1" * 1001, "0x", ".-1", "-foo", "123\u00e9", "[-2.]", "[0.3e]",
        "[1.0e+]", "[0e+]",
    ],
    "§7": [
        '"', '"a', "'a'", '"\\a"', '"\\x41"', '"\\u"', '"\\u1"', '"\\u12"', '"\\u123"', '"\\u12G4"',
        '"\\U00000041"', '"\\uD800\\u"', '"\\uD800\\u1x"', '"\\\\\\"', '"\\"', '"\t"', '"\n"', '"\x00"',
        '"\x1f"', '"a\rb"', '"\\\n"', '"\\\t"', '"\\é"', '"\\0"', "`a`", "\u201ca\u201d", '"a"b', 'a"b"',
        '["a\\', '"\\u00e"', "\\n", '"\\ "', '{"a\tb":1}', '"a"\\',
    ],
}  # fmt: skip


def cases(table: dict[str, list[str]]) -> list[Any]:
    return [pytest.param(text, id=f"{section} {text[:30]!r}") for section, texts in table.items() for text in texts]


def read(text: str) -> JsonValue:
    document = parse(text.encode(), Syntax.JSON)
    assert isinstance(document, Document), document
    return document.value


def problems(text: str | bytes) -> tuple[Problem, ...]:
    rejection = parse(text if isinstance(text, bytes) else text.encode(), Syntax.JSON)
    assert isinstance(rejection, Rejection)
    assert rejection.code is Code.SYNTAX
    assert rejection.problems
    return rejection.problems


def only(text: str | bytes) -> Problem:
    (problem,) = problems(text)
    return problem


def by_json_module(text: str) -> Any:
    """What Python's own reader makes of ``text``, made strict where it is lax; ValueError if it refuses."""

    def number(literal: str) -> Number:
        if len(literal) > 1000:
            raise ValueError("long")
        return Number(literal)

    def constant(name: str) -> None:
        raise ValueError(name)

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        if len(dict(pairs)) < len(pairs):
            raise ValueError("duplicate")
        return dict(pairs)

    return json.loads(text, parse_int=number, parse_float=number, parse_constant=constant, object_pairs_hook=unique)


def all_paths(value: JsonValue, path: Path = ()) -> Iterator[Path]:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from all_paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from all_paths(inner, (*path, index))


@pytest.mark.parametrize("text", cases(ACCEPTED))
def test_rfc_8259_takes(text: str) -> None:
    assert read(text) == by_json_module(text.removeprefix("\ufeff"))


@pytest.mark.parametrize("text", cases(REFUSED))
def test_rfc_8259_refuses(text: str) -> None:
    for problem in problems(text):
        assert problem.line is not None
        assert problem.column is not None
        assert problem.message.endswith(".")


@pytest.mark.parametrize(
    ("text", "line", "column", "path", "says"),
    [
        pytest.param('{"a": 1,\n }', 1, 8, "", "Delete this comma", id="§4 trailing comma"),
        pytest.param("[1,\n2,\n]", 2, 2, "", "Delete this comma", id="§5 trailing comma"),
        pytest.param("[1,,2]", 1, 4, "/1", "A value is missing", id="§5 two commas"),
        pytest.param("{'a': 1}", 1, 2, "", "not single ones", id="§7 single quotes around a key"),
        pytest.param("[\u201ca\u201d]", 1, 2, "/0", "straight double quotes", id="§7 typographic quotes"),
        pytest.param("[ // why\n1]", 1, 3, "", "JSON has no comments", id="§2 line comment"),
        pytest.param("[ /* why\n */ 1]", 1, 3, "", "save the file as YAML", id="§2 block comment"),
        pytest.param("# why\n1", 1, 1, "", "JSON has no comments", id="§2 hash comment"),
        pytest.param('{"v": NaN}', 1, 7, "/v", "Write null", id="§6 NaN"),
        pytest.param('{"v": -Infinity}', 1, 7, "/v", "infinity", id="§6 -Infinity"),
        pytest.param('{"v": True}', 1, 7, "/v", "small letters", id="§3 Python's True"),
        pytest.param('{"v": None}', 1, 7, "/v", "Write null", id="§3 Python's None"),
        pytest.param('{"v": yes}', 1, 7, "/v", "double quotes", id="§3 text without quotes"),
        pytest.param("{v: 1}", 1, 2, "", "key in double quotes", id="§4 key without quotes"),
        pytest.param('{"a": 1\n "b": 2}', 2, 2, "", "A comma is missing", id="§4 missing comma"),
        pytest.param('{"a": {"b" 2}}', 1, 12, "/a/b", "A colon is missing", id="§4 missing colon"),
        pytest.param('{"b" = 2}', 1, 6, "/b", "in place of =", id="§4 equals sign"),
        pytest.param('{"a": 1,5}', 1, 9, "", "decimal comma", id="§6 decimal comma"),
        pytest.param('{"a": "b', 1, 9, "/a", "middle of a string, which begins on line 1, column 7",
            id="cut string"),
        pytest.param('{"a":\n {"b": 1', 2, 9, "/a", "middle of an object, which begins on line 2",
            id="cut object"),
        pytest.param('{"a": [1', 1, 9, "/a", "middle of an array, which begins on line 1, column 7",
            id="cut array"),
        pytest.param('{"a": tr', 1, 7, "/a", "middle of a value", id="cut literal"),
        pytest.param('{"a": 1.', 1, 7, "/a", "middle of a value", id="cut number"),
        pytest.param('{"a":', 1, 6, "/a", "export it again", id="cut after the colon"),
        pytest.param('{"a"', 1, 5, "/a", "ends after a key", id="cut after the key"),
        pytest.param('{"a": 1,', 1, 9, "", "middle of an object", id="cut after the comma"),
        pytest.param('["a\tb"]', 1, 4, "/0", "Write it as \\t", id="§7 tab"),
        pytest.param('["a\x01b"]', 1, 4, "/0", "Write it as \\u0001", id="§7 control character"),
        pytest.param('["a\nb"]', 1, 4, "/0", "\\n for a line break", id="§7 line break"),
        pytest.param('["C:\\data"]', 1, 5, "/0", "\\\\ for a backslash", id="§7 bad escape"),
        pytest.param('["\\u12"]', 1, 3, "/0", "four hexadecimal digits", id="§7 short \\u"),
        pytest.param("[012]", 1, 2, "/0", "leading zeros", id="§6 leading zero"),
        pytest.param("[+1]", 1, 2, "/0", "plus sign", id="§6 plus"),
        pytest.param("[.5]", 1, 2, "/0", "Write a 0 before the point", id="§6 no digit before"),
        pytest.param("[1.]", 1, 2, "/0", "write a 0 after it", id="§6 no digit after"),
        pytest.param("[0x1F]", 1, 2, "/0", "in decimal", id="§6 hexadecimal"),
        pytest.param("[1e]", 1, 2, "/0", "digits after the e", id="§6 exponent"),
        pytest.param(f"[{'1' * 1001}]", 1, 2, "/0", "more than 1000 characters", id="§9 long number"),
        pytest.param('{"a": 1}\n{"a": 2}', 2, 1, "", "one score", id="§2 second document"),
        pytest.param('{"a": 1}}', 1, 9, "", "closing bracket", id="§2 closing bracket too many"),
        pytest.param('{"a": [1}', 1, 9, "/a", "does not match", id="§2 brackets crossed"),
        pytest.param('["a": 1]', 1, 5, "", "{ } around keys", id="§5 colon in an array"),
        pytest.param('{"a":\u00a01}', 1, 6, "/a", "U+00A0", id="§2 no-break space"),
        pytest.param('{"a": {"x": 1,\r\n "x": 2}}', 2, 2, "/a/x", "on line 1, column 8",
            id="§4 duplicate key"),
        pytest.param('{"é😀": NaN}', 1, 8, "/é😀", "null", id="columns count characters"),
        pytest.param("\ufeff[NaN]", 1, 2, "/0", "null", id="a BOM is no column"),
        pytest.param("", 1, 1, "", "empty", id="§2 empty"),
        pytest.param(" \r\n\t", 1, 1, "", "blank space", id="§2 blank"),
    ],
)  # fmt: skip
def test_a_problem_names_its_place_and_a_remedy(text: str, line: int, column: int, path: str, says: str) -> None:
    problem = only(text)
    assert (problem.line, problem.column, problem.path) == (line, column, path)
    assert says in f"{problem.message} {problem.hint}"
    assert problem.expected


def test_all_problems_inside_tokens_are_told_at_once() -> None:
    text = '{"a": NaN, // no\n "b": [01, +1, "\\q\t"],\n "a": None,\n}'
    assert [(problem.line, problem.path) for problem in problems(text)] == [
        (1, "/a"), (1, ""), (2, "/b/0"), (2, "/b/1"), (2, "/b/2"), (2, "/b/2"), (3, "/a"), (3, "/a"), (3, ""),
    ]  # fmt: skip


def test_at_most_100_problems_are_listed_and_the_last_says_how_many_are_not() -> None:
    assert len(problems(f"[{'NaN,' * 99}NaN]")) == 100
    listed = problems(f"[{'NaN,' * 150}NaN]")
    assert len(listed) == 100
    assert listed[-1].message.startswith("52 further problems")


def test_no_value_from_the_file_is_quoted() -> None:
    secret = "s3cr3t"
    for text in (
        f'["{secret}',
        f"[{secret}]",
        f'["{secret}\\q"]',
        f'["{secret}" "{secret}"]',
        f"['{secret}']",
    ):
        assert secret not in repr(problems(text))


@pytest.mark.parametrize(("opening", "column"), [("[", 101), ('{"a":', 501), ('[{"a":', 301)])
def test_depth_is_bounded_before_anything_recurses(opening: str, column: int) -> None:
    problem = only(opening * 200_000)
    assert "nested more than 100" in problem.message
    assert problem.column == column


def test_depth_100_is_read_and_101_is_not() -> None:
    read("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert "nested" in only("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)).message


@pytest.mark.parametrize("text", ['["' + "[" * 500 + '"]', '["\\"' + "{" * 500 + '"]', "[" + "[]," * 500 + "[]]"])
def test_depth_counts_neither_brackets_in_strings_nor_side_by_side(text: str) -> None:
    assert read(text) == json.loads(text)


@pytest.mark.parametrize(
    ("data", "line", "column", "says"),
    [
        pytest.param(b'{"a":\n "caf\xe9"}', 2, 6, "Windows-1252", id="§8.1 Latin-1"),
        pytest.param(b'\xef\xbb\xbf"\xc3\xa9\xff"', 1, 3, "Windows-1252", id="§8.1 after a BOM"),
        pytest.param('{"a": 1}'.encode("utf-16"), 1, 1, "Save the file as UTF-8", id="§8.1 UTF-16"),
        pytest.param('{"a": 1}'.encode("utf-16-le"), 1, 1, "UTF-16", id="§8.1 UTF-16 without a BOM"),
        pytest.param('{"a": 1}'.encode("utf-16-be"), 1, 1, "UTF-16", id="§8.1 UTF-16BE without a BOM"),
        pytest.param('{"a": 1}'.encode("utf-32"), 1, 1, "UTF-32", id="§8.1 UTF-32"),
        pytest.param('"é'.encode()[:-1], 1, 2, "cut short", id="§8.1 cut inside a character"),
        pytest.param(b"\0" * 40, 1, 1, "NUL", id="a file of zeros, as after a power cut"),
        pytest.param(b'"\xed\xa0\x80"', 1, 2, "not UTF-8", id="§8.1 a surrogate in UTF-8"),
        pytest.param(b'"\xc0\xaf"', 1, 2, "not UTF-8", id="§8.1 overlong"),
        pytest.param(b'"\xf4\xbf\xbf\xbf"', 1, 2, "not UTF-8", id="§8.1 above U+10FFFF"),
    ],
)
@pytest.mark.parametrize("syntax", Syntax)
def test_only_utf_8_is_text(data: bytes, line: int, column: int, says: str, syntax: Syntax) -> None:
    rejection = parse(data, syntax)
    assert isinstance(rejection, Rejection)
    (problem,) = rejection.problems
    assert (problem.line, problem.column) == (line, column)
    assert says in f"{problem.message} {problem.hint}"


@pytest.mark.parametrize(
    ("path", "expected"),
    [((), ""), (("a", 0), "/a/0"), (("a/b", "m~n", "~1"), "/a~1b/m~0n/~01"), (("",), "/")],
)
def test_pointer_by_rfc_6901(path: Path, expected: str) -> None:
    assert pointer(path) == expected


def test_places_name_where_values_and_keys_begin() -> None:
    document = parse(b'{"a": [1,\n  {"b": "x"}], "c": true}', Syntax.JSON)
    assert isinstance(document, Document)
    found = places(document)
    assert found.values[()] == Position(1, 1)
    assert found.values["a", 1] == Position(2, 3)
    assert found.values["a", 1, "b"] == Position(2, 9)
    assert dict(found.keys) == {
        ("a",): Position(1, 2), ("a", 1, "b"): Position(2, 4), ("c",): Position(2, 16),
    }  # fmt: skip
    assert ("a", 2) not in found.values
    assert ("a", 0) not in found.keys


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
json_texts = st.builds(
    lambda value, ascii_only, indent: json.dumps(value, ensure_ascii=ascii_only, indent=indent),
    json_values, st.booleans(), st.none() | st.just(2),
)  # fmt: skip


@given(json_texts)
def test_valid_text_reads_as_by_the_json_module_and_every_value_has_a_place(text: str) -> None:
    document = parse(text.encode(), Syntax.JSON)
    assert isinstance(document, Document)
    assert document.value == by_json_module(text)
    assert set(places(document).values) == set(all_paths(document.value))


@st.composite
def mutated(draw: st.DrawFn) -> str:
    text = draw(json_texts)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(text)))
        put = draw(
            st.sampled_from(["", "{", "}", "[", "]", ",", ":", '"', "\\", "0", "-", ".", "e", "1", "N", "\n", "/"])
        )
        text = text[:at] + put + text[at + draw(st.integers(0, 2)) :]
    return text


@given(mutated())
@example('{"a": 1e}')
def test_mutated_text_is_taken_or_refused_as_by_the_json_module(text: str) -> None:
    try:
        expected = by_json_module(text)
    except ValueError:
        assert problems(text)
    else:
        assert read(text) == expected


@given(st.binary() | st.text().map(str.encode) | st.text('{}[],:"\\/*#0123456789.-+eE \n\ttrufalsn').map(str.encode))
def test_parse_never_raises(data: bytes) -> None:
    outcome = parse(data, Syntax.JSON)
    assert isinstance(outcome, Document) or outcome.problems
