"""The predicate that is made from a schema says yes exactly where jsonschema finds nothing wrong."""

from __future__ import annotations

import copy
import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from canarysync.model import JsonValue, Number
from canarysync.schema import SchemaName, load
from canarysync.schema.predicate import predicate
from canarysync.schema.validator import build
from tests.unit.test_schema import SCORE, numbered, parts

TEXTS = ["", "x", "OVERSEER", "xOVERSEER", "never", "0s", "50ms", "5m", "9999d", "1KiB", "17MiB", "~", "a\n", "1A2B:x"]
NUMBERS = ["0", "1", "8.0", "8.5", "128", "129", "1e3", "2e7", "-1", "1e99", "1e-9"]
LITTLE: list[JsonValue] = [None, True, False, {}, [], *TEXTS, *map(Number, NUMBERS)]


def members(schema: dict[str, Any]) -> dict[str, list[JsonValue]]:
    """Every key that ``schema`` knows, and what may stand there."""
    found: dict[str, list[JsonValue]] = {"stranger": []}
    for _, part in parts(schema):
        for key, field in part.get("properties", {}).items():
            usual = *field.get("examples", ()), *field.get("enum", ()), field.get("default")
            found.setdefault(key, []).extend(map(numbered, usual))
    return found


def filled(part: Any) -> JsonValue:
    """A value for ``part`` of a schema, with every key that it may have."""
    if "properties" in part:
        return {key: filled(field) for key, field in part["properties"].items()}
    return [filled(part["items"])] if "properties" in part.get("items", ()) else numbered(part["examples"][0])


MEMBERS = {name: members(load(name)) for name in SchemaName}
RIGHT: dict[SchemaName, list[JsonValue]] = {
    name: [*map(numbered, load(name)["examples"]), filled(load(name))] for name in SchemaName
}
RIGHT[SchemaName.SCORE].append({**SCORE, "scoreType": "OVERSEER_V1", "scoreData": {"data": {"risk": "low"}}})


def insides(value: JsonValue) -> Iterator[dict[str, JsonValue] | list[JsonValue]]:
    """Every object and array in ``value``, itself included."""
    if isinstance(value, dict | list):
        yield value
        for inner in value.values() if isinstance(value, dict) else value:
            yield from insides(inner)


@st.composite
def nearly_right(draw: st.DrawFn, name: SchemaName) -> JsonValue:
    """A right document after a few changes: members gone, added, or with another value."""
    whole = [copy.deepcopy(draw(st.sampled_from(RIGHT[name])))]
    for _ in range(draw(st.integers(0, 3))):
        inside = draw(st.sampled_from([*insides(whole[0]), whole]))
        if isinstance(inside, list):
            inside[:1] = [copy.deepcopy(draw(st.sampled_from(LITTLE)))]
            continue
        known = MEMBERS[name]
        key = draw(st.sampled_from([*known] if draw(st.booleans()) else [*inside] or [*known]))
        inside.pop(key, None)
        if draw(st.integers(0, 3)):
            usual = known.get(key) or LITTLE
            inside[key] = copy.deepcopy(draw(st.sampled_from(usual if draw(st.booleans()) else LITTLE)))
    return whole[0]


@pytest.mark.parametrize("name", SchemaName)
def test_it_says_yes_to_what_is_right(name: SchemaName) -> None:
    assert len(RIGHT[name]) >= 2
    assert all(map(predicate(load(name)), RIGHT[name]))


@pytest.mark.parametrize("name", SchemaName)
@settings(max_examples=300)
@given(st.data())
def test_it_says_yes_exactly_where_jsonschema_finds_nothing(name: SchemaName, data: st.DataObject) -> None:
    value = data.draw(nearly_right(name))
    assert predicate(load(name))(value) is not any(True for _ in build(load(name))(value))


EVERY_KEYWORD: list[dict[str, Any]] = [
    *({"type": kind} for kind in ("object", "array", "string", "number", "integer", "boolean", "null")),
    {"type": ["integer", "string"]},
    {"type": ["null", "object"]},
    {"required": ["a", "b"], "properties": {}},
    {"additionalProperties": False, "properties": {"a": {}}},
    {"properties": {"a": {"type": "null"}, "b": {"minLength": 1}}},
    {"propertyNames": {"enum": ["a", "b"]}},
    {"items": {"type": "string", "minLength": 1}},
    {"enum": ["x", "never"]},
    {"pattern": "^OVERSEER"},
    {"not": {"type": "string", "pattern": "^OVERSEER"}},
    {"allOf": [{"type": "string"}, {"pattern": "e"}]},
    {"if": {"type": "object"}, "then": {"required": ["a"]}},
    {"minLength": 2},
    {"minItems": 1},
    {"minProperties": 1, "maxProperties": 1},
    {"minimum": 1, "maximum": 128},
    {"format": "duration", "x-least": "100ms", "x-most": "5m"},
    {"format": "size", "x-least": "1KiB", "x-most": "16MiB"},
    {"format": "duration-or-never", "x-least": "1s"},
    {"$defs": {"text": {"type": "string"}}, "items": {"$ref": "#/$defs/text"}},
    {"title": "", "description": "", "examples": [1], "default": 1, "x-hint": ""},
]


@pytest.mark.parametrize("schema", EVERY_KEYWORD, ids=str)
def test_each_keyword_means_what_it_means_to_jsonschema(schema: dict[str, Any]) -> None:
    nested: list[JsonValue] = [*([value] for value in LITTLE), *({"a": value, "b": None} for value in LITTLE)]
    find, holds = build(schema), predicate(schema)
    for value in (*LITTLE, *nested, {"a": "", "c": ""}, {"b": "x"}):
        assert holds(value) is not any(True for _ in find(value)), value


@pytest.mark.parametrize(
    "part",
    [
        {"oneOf": []}, {"const": 1}, {"if": {}, "then": {}, "else": {}}, {"enum": [1]}, {"type": "date"},
        {"format": "email"}, {"additionalProperties": {}, "properties": {}}, {"$ref": "urn:other"}, {"minimum": 1.5},
    ],
    ids=str,
)  # fmt: skip
def test_a_keyword_that_it_does_not_know_is_never_passed_over(part: dict[str, Any]) -> None:
    with pytest.raises((KeyError, AssertionError)):
        predicate({"properties": {"a": part}})


def test_what_is_right_does_not_even_load_jsonschema() -> None:
    """It takes longer to load than a run with nothing to do."""
    code = """
import sys
from canarysync.validate import validate
from canarysync.parse import parse
from canarysync.model import Score, Syntax
text = sys.stdin.buffer.read()
assert isinstance(validate(parse(text, Syntax.JSON)), Score)
assert "jsonschema" not in sys.modules
"""
    example = json.dumps(load(SchemaName.SCORE)["examples"][0])
    subprocess.run([sys.executable, "-c", code], input=example.encode(), check=True, timeout=60)
