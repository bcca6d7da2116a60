"""What must hold of the readers of score files, whatever the bytes: one function for each property.

Each takes bytes, raises where the property fails, and returns what kind of outcome it was, without values: by this
the campaign tells an input that did something new.
"""

from __future__ import annotations

import json
import random
import re
import time
import zlib
from collections.abc import Callable, Hashable, Iterator
from dataclasses import replace
from typing import TypeVar

from campaigns.fuzz_oracles import Refused, agree, strict_json, yaml_in_python, yaml_oracles
from canarysync.encode import encode
from canarysync.model import Document, JsonValue, Number, Problem, Rejection, Score, Syntax
from canarysync.parse import parse
from canarysync.validate import validate

MOST_S = 0.5
"""CPU seconds that one reading of at most 64 KiB may take."""

MARK, MARK_NUMBER = "SECRETVALUE7731", "77317731.7731"
_ORACLE_MOST_CHARS = 4096  # PyYAML in Python is slow
# PyYAML in Python refuses these, or breaks lines there (YAML 1.1).
_ODD = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# py-yaml12 0.2 reads "! 1", +-1, ++1 and 0x-f as numbers, and adds a line break to some block scalars.
_MISREAD = re.compile(r"!|\+[-+]|0[xo][-+]|[|>]")
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_KEY_MOST_CHARS = 1000  # YAML 1.2.2 §7.4.2 has 1024 up to the colon

Made = TypeVar("Made")


def quick(call: Callable[[], Made]) -> Made:
    """What ``call`` gives, in at most MOST_S; with a second chance, as a machine may be busy."""
    for _ in range(2):
        started_s = time.thread_time()
        made = call()
        if time.thread_time() - started_s < MOST_S:
            return made
    raise AssertionError(f"it takes longer than {MOST_S} s")


def text_of(data: bytes) -> str | None:
    """The text of a file in UTF-8; None if it is none, or blank."""
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError:
        return None
    return text if text.strip(" \t\r\n") else None


def said(outcome: Document | Score | Rejection) -> Hashable:
    if isinstance(outcome, Rejection):
        return frozenset(re.sub(r"[0-9]+", "0", problem.message) for problem in outcome.problems)
    return type(outcome).__name__


def well_told(rejection: Rejection, data: bytes) -> None:
    """There are problems, in file order, each within the text."""
    lines = re.split(r"\r\n?|\n", data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace"))
    assert rejection.problems, "a rejection without problems"
    placed = [problem for problem in rejection.problems if problem.line is not None]
    assert len(placed) >= len(rejection.problems) - 1, "problems without a place"
    for problem in placed:
        line, column = problem.line or 0, problem.column or 0
        assert 1 <= line <= len(lines), "a line that the text does not have"
        assert 1 <= column <= len(lines[line - 1]) + 2, "a column that the line does not have"  # + 2: the LF of a CRLF
        assert problem.message.endswith("."), "a message that is no sentence"
    assert placed == sorted(placed, key=lambda problem: (problem.line, problem.column)), "problems out of file order"


def json_is_read_as_by_rfc_8259(data: bytes) -> Hashable:
    outcome = quick(lambda: parse(data, Syntax.JSON))
    text = text_of(data)
    try:
        expected = strict_json(text) if text is not None else Refused
    except Refused:
        expected = Refused
    if isinstance(outcome, Rejection):
        assert expected is Refused, "valid JSON is refused"
        well_told(outcome, data)
    else:
        assert expected is not Refused, "invalid JSON is taken"
        assert outcome.value == expected, "JSON is read as another value"
    return said(outcome)


def yaml_is_read_as_by_others(data: bytes) -> Hashable:
    outcome = quick(lambda: parse(data, Syntax.YAML))
    if isinstance(outcome, Rejection):
        well_told(outcome, data)
        return said(outcome)
    if len(outcome.text) <= _ORACLE_MOST_CHARS:
        assert strict_json(encode(outcome.value).decode()) == outcome.value, "YAML is not encoded as it was read"
        if not _ODD.search(outcome.text):
            _agrees_with_python(outcome)
        if not _MISREAD.search(outcome.text):
            _agrees_with_another(outcome)
    return said(outcome)


def _agrees_with_python(document: Document) -> None:
    try:
        theirs = yaml_in_python(document.text)
    except Refused:
        return
    assert document.value == theirs, "PyYAML in Python reads another value"


def _agrees_with_another(document: Document) -> None:
    for oracle in yaml_oracles():
        try:
            theirs = oracle(document.text)
        except ValueError:
            continue
        assert agree(document.value, theirs), "another YAML 1.2 parser reads another value"


def json_is_read_alike_as_yaml(data: bytes) -> Hashable:
    """YAML 1.2 has JSON in it (§1.3), but for escaped surrogates, and for long keys."""
    as_json = parse(data, Syntax.JSON)
    if isinstance(as_json, Rejection):
        return None
    as_yaml = quick(lambda: parse(data, Syntax.YAML))
    assert isinstance(as_yaml, Rejection) or as_yaml.value == as_json.value, "YAML reads JSON as another value"
    plain = encode(as_json.value)
    if not _SURROGATE.search(plain) and all(len(key) <= _KEY_MOST_CHARS for key in _keys(as_json.value)):
        as_yaml = parse(plain, Syntax.YAML)
        assert isinstance(as_yaml, Document), "YAML refuses JSON"
        assert as_yaml.value == as_json.value, "YAML reads JSON as another value"
    return said(as_yaml)


def _keys(value: JsonValue) -> Iterator[str]:
    """All keys as JSON spells them."""
    if isinstance(value, dict):
        yield from (json.dumps(key) for key in value)
    if isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _keys(inner)


def document_in(data: bytes) -> Document | None:
    for syntax in Syntax:
        if isinstance(document := parse(data, syntax), Document):
            return document
    return None


def a_score_is_sent_as_written(data: bytes) -> Hashable:
    document = document_in(data)
    if document is None:
        return None
    outcome = quick(lambda: validate(document))
    if isinstance(outcome, Rejection):
        well_told(outcome, document.text.encode())
        return said(outcome)
    fields = dict(_members(document.value))
    assessment_id = fields.pop("assessmentId")
    assert strict_json(outcome.body.decode("ascii")) == _joined(fields), "the body is not what the file says"
    assert list(_members(strict_json(outcome.body.decode()))) == list(fields), "the body has another order"
    assert (outcome.assessment_id, outcome.score_id) == (str(assessment_id).lower(), fields["scoreId"])
    for spelled in _spellings(document.value):
        again = validate(_document(spelled))
        assert isinstance(again, Score), "a score spelled otherwise is refused"
        assert again.identity == outcome.identity, "a score spelled otherwise is another score"
    return said(outcome)


def _members(value: JsonValue) -> dict[str, JsonValue]:
    assert isinstance(value, dict), "the value is no object"
    return value


def _joined(value: JsonValue) -> JsonValue:
    """``value`` as JSON can say it: two surrogates side by side are one character."""
    return strict_json(encode(value).decode())


def _document(data: bytes) -> Document:
    document = parse(data, Syntax.JSON)
    assert isinstance(document, Document), "what was encoded is refused"
    return document


def _spellings(value: JsonValue) -> Iterator[bytes]:
    """``value`` with its keys in another order; with white space; with every character of every string escaped."""
    yield encode(dict(reversed(_members(value).items())))
    plain = encode(value).decode()
    yield re.sub(r'("(?:[^"\\]|\\.)*+")|([\[\]{},:])', r" \t\1\2\r\n", plain).encode()
    yield re.sub(r'"(?:[^"\\]|\\.)*+"', _escaped, plain).encode()


def _escaped(found: re.Match[str]) -> str:
    units = json.loads(found[0]).encode("utf-16-be", "surrogatepass")
    return '"' + "".join(f"\\u{units[at]:02X}{units[at + 1]:02x}" for at in range(0, len(units), 2)) + '"'


def no_problem_quotes_a_value(data: bytes) -> Hashable:
    chance = random.Random(zlib.crc32(data))
    at = chance.randint(0, len(data))
    for syntax in Syntax:
        outcome = parse(data[:at] + MARK.encode() + data[at:], syntax)
        if isinstance(outcome, Rejection):  # the mark may be in a key, which only the path may name
            _quotes_nothing(replace(problem, path="") for problem in outcome.problems)
    document = document_in(data)
    if document is None:
        return None
    found = validate(_document(encode(planted(document.value, chance))))
    if isinstance(found, Rejection):
        _quotes_nothing(found.problems)
    return said(found)


def planted(value: JsonValue, chance: random.Random) -> JsonValue:
    """``value`` with a mark in, or in place of, some of the values in it; keys stay."""
    if isinstance(value, dict):
        return {key: planted(inner, chance) for key, inner in value.items()}
    if isinstance(value, list):
        return [planted(inner, chance) for inner in value]
    if chance.random() < 0.5:
        return value
    text = value if isinstance(value, str) else ""
    at = chance.randint(0, len(text))
    marked: list[JsonValue] = [MARK, text[:at] + MARK + text[at:], Number(MARK_NUMBER), [MARK], {"value": MARK}]
    return chance.choice(marked)


def _quotes_nothing(problems: Iterator[Problem] | tuple[Problem, ...]) -> None:
    told = repr(list(problems))
    assert MARK not in told, "a problem quotes a text"
    assert MARK_NUMBER not in told, "a problem quotes a number"
