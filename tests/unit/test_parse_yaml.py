"""Reading YAML by the core schema of YAML 1.2.2 §10.3, where JSON can say the same; and what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from canarysync.encode import encode
from canarysync.model import Code, Document, JsonValue, Number, Path, Position, Problem, Rejection, Syntax
from canarysync.parse import MAX_DEPTH, parse, places

NUMBERS = ["0", "-0", "12", "-19", "1.10", "-0.0", "1e3", "1E400", "12e03", "-2E+05", "0.3e-1", "9" * 1000,
           "12345678901234567890123456789", "685230.15", "1e+2"]  # fmt: skip
OTHERWISE_IN_YAML_1_1 = [
    "yes", "Yes", "no", "NO", "on", "off", "y", "n", "13:30:00", "190:20:30", "2026-01-01",
    "2026-01-01T12:00:00Z", "2001-12-14 21:59:43.10", "1_000", "0b101", "0X1F", "0O17", "=", "+12e", "1,000",
    "nUll", "tRUE",
]  # fmt: skip
NEAR_THE_PATTERNS = [
    "nan", "NaN", "inf", "-inf", "Infinity", ".Nan", ".iNF", "-.nan", "+.nan", ".", "..5", "1.2.3", "1e",
    "e3", "0x", "0o", "0o8", "0xG", "--1", "+-1", "-0x1F", "+0o7", "1.e", "null1", "truee", "~~", "\uff11",
    "1\u0660", "a b", "a#b", "a:b", "http://example.org/a", "PHQ9", "1 2", "é", "\U0001f600", "a'b", 'a"b',
    "a\\nb",
]  # fmt: skip
MISSPELLED = {
    "012": "leading zeros", "-012": "leading zeros", "00": "leading zeros", "007.5": "leading zeros",
    "0o17": "decimal", "0x1F": "decimal", "0xff": "decimal", "+1": "plus sign", "+1.5": "plus sign",
    "+012": "plus sign", "+.5": "plus sign", ".5": "before the point", "-.5": "before the point",
    ".5e3": "before the point", "1.": "after it", "-1.": "after it", "1.e3": "after it", ".inf": "null",
    "-.inf": "null", "+.inf": "null", ".Inf": "null", ".INF": "null", ".nan": "null", ".NaN": "null",
    ".NAN": "null", "01e5": "leading zeros", "1" * 1001: "Round it",
}  # fmt: skip


def document(text: str) -> Document:
    outcome = parse(text.encode(), Syntax.YAML)
    assert isinstance(outcome, Document), outcome
    return outcome


def read(text: str) -> JsonValue:
    return document(text).value


def problems(text: str) -> tuple[Problem, ...]:
    rejection = parse(text.encode(), Syntax.YAML)
    assert isinstance(rejection, Rejection)
    assert rejection.code is Code.SYNTAX
    return rejection.problems


def only(text: str) -> Problem:
    (problem,) = problems(text)
    return problem


def all_paths(value: JsonValue, path: Path = ()) -> Iterator[Path]:
    yield path
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from all_paths(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from all_paths(inner, (*path, index))


CORE = [
    *((text, None) for text in ("null", "Null", "NULL", "~", "")),
    *((text, True) for text in ("true", "True", "TRUE")),
    *((text, False) for text in ("false", "False", "FALSE")),
    *((text, Number(text)) for text in NUMBERS),
    *((text, text) for text in OTHERWISE_IN_YAML_1_1 + NEAR_THE_PATTERNS),
]


@pytest.mark.parametrize(("text", "value"), CORE, ids=lambda case: f"§10.3.2 {str(case)[:30]}")
def test_a_plain_scalar_by_the_core_schema(text: str, value: JsonValue) -> None:
    assert read(f"a: {text}\n") == {"a": value}
    assert read(f"- {text}\n") == [value]


@pytest.mark.parametrize("text", [text for text, _ in CORE if not set("'\"\\") & set(text)])
def test_in_quotes_everything_is_a_string(text: str) -> None:
    assert read(f"- '{text}'\n- \"{text}\"\n- |-\n  {text}\n- >-\n  {text}\n") == [text] * 4


@pytest.mark.parametrize(("text", "hint"), MISSPELLED.items(), ids=lambda case: f"§10.3.2 {case[:30]}")
def test_a_number_that_json_spells_otherwise_is_a_problem(text: str, hint: str) -> None:
    problem = only(f"a:\n  b: {text}\n")
    assert (problem.line, problem.column, problem.path) == (2, 6, "/a/b")
    assert hint in problem.hint
    assert "quote it" in problem.hint
    assert text not in f"{problem.message} {problem.hint}" or len(text) < 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        pytest.param("!!str 12", "12", id="§10.1.1 str"),
        pytest.param("!!str", "", id="§10.1.1 empty str"),
        pytest.param("! 12", "12", id="§6.9.1 non-specific: a string"),
        pytest.param("! [1]", [Number("1")], id="§6.9.1 non-specific on a sequence"),
        pytest.param("!!int 12", Number("12"), id="§10.3.2 int"),
        pytest.param('!!int "12"', Number("12"), id="§10.3.2 int in quotes"),
        pytest.param("!!float 1", Number("1"), id="§10.3.2 float without a point"),
        pytest.param("!!float 1.50", Number("1.50"), id="§10.3.2 float"),
        pytest.param("!!bool true", True, id="§10.3.2 bool"),
        pytest.param("!!null ''", None, id="§10.3.2 null"),
        pytest.param("!!map {a: b}", {"a": "b"}, id="§10.1.1 map"),
        pytest.param("!!seq [a]", ["a"], id="§10.1.1 seq"),
        pytest.param("!<tag:yaml.org,2002:str> 1", "1", id="§6.9.1 verbatim"),
        pytest.param("%TAG !y! tag:yaml.org,2002:\n--- !y!str 1", "1", id="§6.8.2 named handle"),
        pytest.param("%YAML 1.2\n---\na: b", {"a": "b"}, id="§6.8.1 version"),
        pytest.param("\ufeffa: b", {"a": "b"}, id="§5.2 BOM"),
        pytest.param("--- a\n...\n# end\n", "a", id="§9.1.4 document end"),
        pytest.param("a: &x [1]\nb: *x", {"a": [Number("1")], "b": [Number("1")]}, id="§7.1 alias"),
        pytest.param("- &x k\n- {*x : 1}", ["k", {"k": Number("1")}], id="§7.1 alias as a key"),
        pytest.param("- &x 1\n- &x 2\n- *x", [Number("1"), Number("2"), Number("2")],
            id="§7.1 latest anchor"),
        pytest.param("&x [&x a, *x]", ["a", "a"], id="§7.1 latest anchor, within"),
        pytest.param('{"a":1,"b":[true,null]}', {"a": Number("1"), "b": [True, None]},
            id="§1.3 JSON is YAML"),
        pytest.param("'<<': 1\n\"1\": 2", {"<<": Number("1"), "1": Number("2")}, id="quoted keys"),
        pytest.param("a: <<", {"a": "<<"}, id="<< as a value"),
        pytest.param("a: |\n  1\n  2\n", {"a": "1\n2\n"}, id="§8.1.2 literal"),
        pytest.param("a: >\n  1\n  2\n", {"a": "1 2\n"}, id="§8.1.3 folded"),
        pytest.param("a: 1\n  2\n", {"a": "1 2"}, id="§7.3.3 plain on two lines"),
        pytest.param('"\\u00e9\\N\\L\\P\\/\\x41"', "é\x85\u2028\u2029/A", id="§5.7 escapes"),
        pytest.param('a: "x\x85y\u2028z\u2029"', {"a": "x\x85y\u2028z\u2029"},
            id="§5.4 no line breaks, in double"),
        pytest.param("a: 'x\x85y\u2028z\u2029'", {"a": "x\x85y\u2028z\u2029"},
            id="§5.4 no line breaks, in single"),
        pytest.param('a: "\x7f\x80\ufeff\uffff"', {"a": "\x7f\x80\ufeff\uffff"}, id="§5.1 nb-json in quotes"),
        pytest.param("a: '\ue000\x85\ue001'", {"a": "\ue000\x85\ue001"},
            id="stand-ins avoid the text's own characters"),
        pytest.param("# \x85\u2028 b: 1\na: 1", {"a": Number("1")}, id="§5.4 harmless in a comment"),
    ],
)  # fmt: skip
def test_yaml_1_2_takes(text: str, value: JsonValue) -> None:
    assert read(text) == value


@pytest.mark.parametrize(
    ("text", "line", "column", "path", "says"),
    [
        pytest.param("a: !x 1", 1, 4, "/a", "Delete the tag", id="§6.8.2 custom tag"),
        pytest.param("a: !x [1]", 1, 4, "/a", "Delete the tag", id="§6.8.2 custom tag on a list"),
        pytest.param("a: !!binary aGk=", 1, 4, "/a", "core schema", id="1.1 binary"),
        pytest.param("a: !!timestamp 2026-01-01", 1, 4, "/a", "core schema", id="1.1 timestamp"),
        pytest.param("a: !!set {x}", 1, 4, "/a", "core schema", id="1.1 set"),
        pytest.param("a: !!omap [x: 1]", 1, 4, "/a", "core schema", id="1.1 omap"),
        pytest.param("a: !!python/name:os.system x", 1, 4, "/a", "core schema", id="python"),
        pytest.param("a: !!int x", 1, 4, "/a", "does not fit", id="§10.3.2 int that is none"),
        pytest.param("a: !!int 1.5", 1, 4, "/a", "does not fit", id="§10.3.2 int with a fraction"),
        pytest.param("a: !!int 0x1F", 1, 4, "/a", "in decimal", id="§10.3.2 int in hexadecimal"),
        pytest.param("a: !!bool yes", 1, 4, "/a", "does not fit", id="§10.3.2 bool that is none"),
        pytest.param("a: !!null x", 1, 4, "/a", "does not fit", id="§10.3.2 null that is none"),
        pytest.param("a: !!map [x]", 1, 4, "/a", "core schema", id="§10.1.1 map on a list"),
        pytest.param("a: !!str [x]", 1, 4, "/a", "core schema", id="§10.1.1 str on a list"),
        pytest.param("a: !y!z 1", 1, 4, "/a", "Delete the tag", id="§6.8.2 unknown handle"),
        pytest.param("a: 1\n1: b", 2, 1, "", "reads this one as a number", id="key: number"),
        pytest.param("true: b", 1, 1, "", "true or false", id="key: boolean"),
        pytest.param("~: b", 1, 1, "", "null", id="key: null"),
        pytest.param(": b", 1, 1, "", "key is missing", id="key: none"),
        pytest.param("? [a]\n: b", 1, 3, "", "a list", id="key: list"),
        pytest.param("? {a: b}\n: b", 1, 3, "", "a mapping", id="key: mapping"),
        pytest.param("012: b", 1, 1, "", "quote it", id="key: number that JSON spells otherwise"),
        pytest.param("a: {b: 1,\n b: 2}", 2, 2, "/a/b", "on line 1, column 5", id="§3.2.1.3 duplicate key"),
        pytest.param("a: 1\n'a': 2", 2, 1, "/a", "on line 1, column 1",
            id="§3.2.1.3 duplicate key in quotes"),
        pytest.param("a: &x {k: 1}\nb:\n  <<: *x", 3, 3, "/b", "in quotes if it is meant", id="merge key"),
        pytest.param("a: 1\n---\na: 2", 2, 1, "", "one score", id="§9.2 second document"),
        pytest.param("# only this\n", 1, 1, "", "nothing but comments", id="§9.2 no document"),
        pytest.param("%YAML 1.1\n---\na: 1", 1, 1, "", "Delete the %YAML line", id="§6.8.1 YAML 1.1"),
        pytest.param("a: *x", 1, 4, "/a", "Quote the value", id="§7.1 undefined alias"),
        pytest.param("a: &x [*x]", 1, 8, "/a/0", "inside the value", id="§7.1 recursive alias"),
        pytest.param("a: &x\n  b: *x", 2, 6, "/a/b", "inside the value",
            id="§7.1 recursive alias in a mapping"),
        pytest.param("a:\n\tb: 1", 2, 1, "/a", "spaces only", id="§6.1 tab"),
        pytest.param("a: b: c", 1, 5, "", "Quote a text that holds a colon", id="§7.3.3 colon in a text"),
        pytest.param("a: 1\nb\nc: 1", 2, 1, "", "a colon and a space", id="§8.2.2 no colon"),
        pytest.param("a: 1\n  b: 2", 2, 4, "", "same spaces", id="§6.1 indentation"),
        pytest.param("a:\n  - 1\n - 2", 3, 2, "", "same spaces", id="§6.1 indentation of a list"),
        pytest.param("a: [1, 2\nb: 3", 2, 2, "/a/2", "close the bracket", id="§7.4 open bracket"),
        pytest.param("a: 'x\nb: 1\n", 1, 4, "/a", "closing quote", id="§7.3 open single quote"),
        pytest.param('a: "x\nb: 1\n', 1, 4, "/a", "closing quote", id="§7.3 open double quote"),
        pytest.param('a: "C:\\data"', 1, 7, "/a", "single quotes", id="§5.7 bad escape"),
        pytest.param('a: "\\ud83d\\ude00"', 1, 7, "/a", "the character itself", id="§5.7 surrogates"),
        pytest.param("a: @x", 1, 4, "/a", "Quote the value", id="§5.3 reserved @"),
        pytest.param("a: `x`", 1, 4, "/a", "Quote the value", id="§5.3 reserved `"),
        pytest.param("a: %x", 1, 4, "/a", "Quote the value", id="§5.3 percent"),
        pytest.param("%x\n---\na: 1", 1, 3, "", "directive", id="§6.8 unknown directive"),
        pytest.param("a: *", 1, 5, "/a", "anchor or alias", id="§7.1 alias without a name"),
        pytest.param("a: | x\n  y", 1, 6, "/a", "next lines", id="§8.1.1 text after |"),
        pytest.param('"a" b', 1, 5, "", "end of the value", id="§7.3 text after quotes"),
        pytest.param("a: x\x85y", 1, 4, "/a", "U+0085", id="§5.4 NEL without quotes"),
        pytest.param("a: x\u2028y", 1, 4, "/a", "double quotes", id="§5.4 LS without quotes"),
        pytest.param("- x\n- |\n  \u2029", 2, 3, "/1", "U+2029", id="§5.4 PS in a literal"),
        pytest.param('a: "x" y', 1, 8, "", "after a closing quote", id="§7.3 text after a quoted value"),
        pytest.param("a: x\ufeff", 1, 4, "/a", "U+FEFF", id="§5.2 BOM in a text"),
        pytest.param('a: "x\x01"', 1, 6, "", "U+0001", id="§5.1 control character"),
        pytest.param("\U0001f600é: .5", 1, 5, "/\U0001f600é", "0 before", id="columns count characters"),
        pytest.param("a: 1\r\nb: .5\rc: 2", 2, 4, "/b", "0 before", id="§5.4 CRLF and CR end lines"),
        pytest.param("", 1, 1, "", "empty", id="empty"),
        pytest.param(" \n\t", 1, 1, "", "blank space", id="blank"),
    ],
)  # fmt: skip
def test_a_problem_names_its_place_and_a_remedy(text: str, line: int, column: int, path: str, says: str) -> None:
    problem = only(text)
    assert (problem.line, problem.column, problem.path) == (line, column, path)
    assert says in f"{problem.message} {problem.hint} {problem.expected}"


def test_all_problems_are_told_at_once_in_file_order() -> None:
    text = "a: 012\nb: !x 1\n1: z\na: +1\nc: x\x85y\nd: *no\n<<: {e: .nan}\nf: 'unclosed\n"
    assert [(problem.line, problem.path) for problem in problems(text)] == [
        (1, "/a"), (2, "/b"), (3, ""), (4, "/a"), (4, "/a"), (5, "/c"), (6, "/d"), (7, ""), (7, "/<</e"), (8,
        "/f"),
    ]  # fmt: skip


def test_a_nel_meant_as_a_line_break_is_told_beside_what_it_breaks() -> None:
    found = problems("a: 1\x85b: 2")
    assert [(problem.column, problem.path) for problem in found] == [(4, "/a"), (7, "")]
    assert "U+0085" in found[0].message


def test_all_control_characters_are_told_at_once() -> None:
    assert [(problem.line, problem.column) for problem in problems("a: \x01\nb: \x00\x1f")] == [
        (1, 4),
        (2, 4),
        (2, 5),
    ]


def test_at_most_100_problems_are_listed() -> None:
    listed = problems("- .5\n" * 500)
    assert len(listed) == 100
    assert listed[-1].message.startswith("401 further problems")


@pytest.mark.parametrize(
    "text",
    ["a: s3cr3t: x", "a: *s3cr3t", "a: !s3cr3t!x 1", "a: !s3cr3t 1", "a: 's3cr3t", "a: [s3cr3t",
    "%s3cr3t\n---",
     "- s3cr3t\nb", '"s3cr3t\\q"', "s3cr3t\x85", "- &s3cr3t a\n- &s3cr3t [*s3cr3t]", "'s3cr3t' x", "@s3cr3t"],
)  # fmt: skip
def test_no_value_from_the_file_is_quoted(text: str) -> None:
    assert "s3cr3t" not in repr(problems(text))


@pytest.mark.parametrize(
    "opening",
    ["[", "{a: ", "- ", "? ", "[{a: ", "[? "],
    ids=["flow", "flow map", "block", "key", "mixed", "pairs"],
)
def test_depth_is_bounded_on_the_event_stream(opening: str) -> None:
    assert "nested more than 100" in only(opening * 200_000).message


def test_depth_100_is_read_and_101_is_not() -> None:
    read("[" * MAX_DEPTH + "]" * MAX_DEPTH)
    assert "nested" in only("[" * (MAX_DEPTH + 1) + "]" * (MAX_DEPTH + 1)).message


@pytest.mark.parametrize(("inside", "fits"), [(MAX_DEPTH - 51, True), (MAX_DEPTH - 50, False)])
def test_depth_counts_through_aliases(inside: int, fits: bool) -> None:
    text = f"- &x {'[' * 50}{']' * 50}\n- {'[' * inside}*x{']' * inside}"
    assert isinstance(parse(text.encode(), Syntax.YAML), Document) is fits


def laughs(levels: int) -> str:
    rows = [f"- &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(["- &l0 [lol, lol, lol]", *rows])


def test_aliases_may_not_make_a_document_huge() -> None:
    assert isinstance(read(laughs(5)), list)
    problem = only(laughs(9))
    assert "written out" in problem.message
    assert problem.line == 7  # six levels weigh some 870,000


def test_a_long_text_may_not_be_repeated_by_aliases() -> None:
    assert "written out" in only(f"- &x {'a' * 1000}\n" + "- *x\n" * 1000).message


def test_what_aliases_do_not_repeat_is_not_counted() -> None:
    assert len(encode(read("- &x 1\n" * 1000 + "- *x\n- " + "a" * 1_000_001))) > 1_000_000


def test_many_tag_directives_are_refused() -> None:
    directives = "".join(f"%TAG !e{n}! tag:example.org,2000:\n" for n in range(101))
    assert "%TAG" in only(directives + "--- a").message


def test_places_name_where_values_and_keys_begin() -> None:
    found = places(document("# é😀\na:\n  - 1\n  - &x {b: 'x'}\n\"c\": *x\n"))
    assert found.values[()] == Position(2, 1)
    assert found.values["a", 0] == Position(3, 5)
    assert found.values["a", 1, "b"] == found.values["c", "b"] == Position(4, 12)
    assert found.values["c",] == Position(5, 6)
    assert dict(found.keys) == {
        ("a",): Position(2, 1), ("c",): Position(5, 1),
        ("a", 1, "b"): Position(4, 9), ("c", "b"): Position(4, 9),
    }  # fmt: skip


yaml_keys = st.text(st.characters(codec="utf-8"), max_size=20)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", max_codepoint=0xFFFF)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(yaml_keys, inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


@given(json_values, st.none() | st.just(2))
def test_json_reads_the_same_as_yaml_and_every_value_has_its_place(value: Any, indent: int | None) -> None:
    # ASCII off: \ud83d\ude00 is one character to JSON and no character at all to YAML. DEL stands for itself.
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    as_yaml, as_json = document(text), parse(text.encode(), Syntax.JSON)
    assert isinstance(as_json, Document)
    assert as_yaml.value == as_json.value
    assert set(places(as_yaml).values) == set(all_paths(as_yaml.value))
    assert dict(places(as_yaml).values) == dict(places(as_json).values)
    assert dict(places(as_yaml).keys) == dict(places(as_json).keys)


YAMLISH = st.text("ab1.0+-~!&*[]{},:?|>'\"%@`#<\n\r\t \\x\x85\u2028\ufeff\ue000é\U0001f600", max_size=60)


@given(YAMLISH | st.text(), st.sampled_from(["", "a: ", "- ", "a: 'x'\n", "%YAML 1.2\n---\n", "- &a x\n- *a\n"]))
@example("\ue000\x85", "a: ")
def test_parse_never_raises_and_places_cover_every_value(text: str, before: str) -> None:
    outcome = parse((before + text).encode(), Syntax.YAML)
    if isinstance(outcome, Rejection):
        assert outcome.problems
        for problem in outcome.problems:
            assert problem.line is not None
            assert problem.line <= 1 + (before + text).count("\n") + (before + text).count("\r")
    else:
        assert set(places(outcome).values) == set(all_paths(outcome.value))
        assert parse(encode(outcome.value), Syntax.JSON)


@given(st.binary())
def test_parse_never_raises_on_bytes(data: bytes) -> None:
    outcome = parse(data, Syntax.YAML)
    assert isinstance(outcome, Document) or outcome.problems


@pytest.mark.parametrize("text", ["a: !%ED%A0%80 x", "!<%C0%80> x", "%TAG !e! %ED%A0%80\n---\na: !e!x b"])
def test_a_tag_whose_escapes_are_no_utf_8_is_a_problem(text: str) -> None:
    """libyaml lets them through, and PyYAML cannot decode them."""
    outcome = parse(text.encode(), Syntax.YAML)

    assert isinstance(outcome, Rejection)
    assert "tag" in outcome.problems[0].message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{value: 1, ?note: 2}", "question mark"),  # YAML 1.2.2 §7.3.3: the key is "?note"
        ("[?x]", "question mark"),
        ("a: &x:30", "& or *"),  # §6.9.2: an anchor "x:30" of nothing
        ("a: &x y\nb: *x:z", "& or *"),
    ],
)
def test_what_libyaml_reads_otherwise_than_yaml_says_is_a_problem(text: str, told: str) -> None:
    outcome = parse(text.encode(), Syntax.YAML)

    assert isinstance(outcome, Rejection)
    assert told in outcome.problems[0].message


@pytest.mark.parametrize("text", ["a: &x 1\nb: *x", "a: !!str &x y\nb: [*x, *x]", "{? a : 1}", "a: ?x", "b: '&x:30'"])
def test_anchors_and_question_marks_where_they_belong_are_read(text: str) -> None:
    assert isinstance(parse(text.encode(), Syntax.YAML), Document)
