"""From what breaks a schema to problems: plain words, a place in the file, a hint, and never a value."""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from canarysync.display import shown
from canarysync.model import Number, Path, Places, Position, Problem
from canarysync.parse.source import MAX_POINTER_CHARS, pointer
from canarysync.schema.formats import FORMATS, conforms

_TYPES = {
    "object": "an object",
    "array": "an array",
    "string": "a string",
    "number": "a number",
    "integer": "a whole number",
    "boolean": "true or false",
    "null": "null",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One breach of a schema. ``path`` ends in the key where a key is unknown or missing."""

    keyword: str
    rule: Any
    """What the schema has for ``keyword``."""
    path: Path
    value: Any
    schema: Mapping[str, Any]
    """The part of the schema that holds ``keyword``."""
    steps: tuple[str | int, ...]
    """Where in the whole schema ``rule`` stands."""


class Words(NamedTuple):
    """What is said of one finding."""

    message: str
    expected: str = ""
    hint: str = ""


def describe(findings: Sequence[Finding], schema: Mapping[str, Any], places: Places) -> tuple[Problem, ...]:
    """One problem for each finding that does not follow from another, in file order."""
    problems = (_problem(found, schema, places) for found in _causes(findings))
    return tuple(sorted(problems, key=file_order))


def file_order(problem: Problem) -> tuple[int, int, str]:
    """The sort key for problems as a reader meets them, from the top of the file."""
    return problem.line or 0, problem.column or 0, problem.path


def nearest(word: str, candidates: Iterable[str]) -> str:
    """The candidate that ``word`` was most likely meant to be; ``""`` if none is near."""
    if len(word) > 64:  # difflib takes quadratic time, and nobody misspells that much
        return ""
    plain = {_plain(candidate): candidate for candidate in candidates}
    close = difflib.get_close_matches(_plain(word), plain, n=1, cutoff=0.7)
    return plain[close[0]] if close else ""


def place_of(path: Path) -> str:
    """A path as people write it: ``routes[0].settle``."""
    steps = (f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return "".join(steps).removeprefix(".")


def _causes(findings: Sequence[Finding]) -> Iterator[Finding]:
    """``findings`` without missing keys that are there misspelt, and what else a wrong type breaks."""
    misspelt = {(*found.path[:-1], guess) for found in findings if (guess := _guess(found))}
    mistyped = {found.path for found in findings if found.keyword == "type"}
    for found in findings:
        if found.keyword == "type" or found.path not in (misspelt if found.keyword == "required" else mistyped):
            yield found


def _plain(word: str) -> str:
    return word.casefold().replace("_", "").replace("-", "").replace(" ", "")


def _guess(found: Finding) -> str:
    """What an unknown key was likely meant to be: a key that the object does not have yet."""
    if found.keyword != "additionalProperties":
        return ""
    key = str(found.path[-1])
    return nearest(key, (known for known in found.schema["properties"] if known not in found.value))


def _problem(found: Finding, schema: Mapping[str, Any], places: Places) -> Problem:
    path, at = _place(found, places)
    words = _WORDS.get(found.keyword, _anything)(found, schema)
    where = pointer(path)
    return Problem(
        message=words.message,
        path=where if len(where) <= MAX_POINTER_CHARS else "",
        line=at.line if at else None,
        column=at.column if at else None,
        expected=words.expected,
        hint=words.hint,
    )


def _place(found: Finding, places: Places) -> tuple[Path, Position | None]:
    """Where to look: an unknown key itself, the object that lacks a key, else the value."""
    path = found.path
    if found.keyword == "additionalProperties":
        return path, places.keys.get(path)
    if found.keyword == "required":
        path = path[:-1]
    return path, places.values.get(path)


def _name(path: Path) -> str:
    return f"`{place_of(path)}`" if path else "The document"


def _unknown(found: Finding, _: Mapping[str, Any]) -> Words:
    guess = _guess(found)
    return Words(
        message=f"`{shown(str(found.path[-1]), 60)}` is not a known key.",
        expected=f"one of {_listed(found.schema['properties'])}",
        hint=f"Did you mean `{guess}`?" if guess else "Remove it, or correct its name.",
    )


def _missing(found: Finding, schema: Mapping[str, Any]) -> Words:
    *parent, key = found.path
    properties = found.schema["properties"]
    others = (there for there in found.value if there not in properties)
    similar = nearest(str(key), islice(others, 1000))
    return Words(
        message=f"{_name(tuple(parent))} needs `{key}`{_condition(found, schema)}.",
        expected=properties[key]["description"],
        hint=f"Did you mean `{key}` by `{shown(similar, 60)}`?" if similar else f"Add `{key}`.",
    )


def _condition(found: Finding, schema: Mapping[str, Any]) -> str:
    """Why a rule under a ``then`` applies: the description of its ``if``."""
    if "then" not in found.steps:
        return ""
    rule: Any = schema
    for step in found.steps[: found.steps.index("then")]:
        rule = rule[step]
    return f", since {rule['if']['description']}"


def _wrong_type(found: Finding, _: Mapping[str, Any]) -> Words:
    wanted = found.rule if isinstance(found.rule, list) else [found.rule]
    expected = _listed((_TYPES[name] for name in wanted if name != "null"), quote="")
    return Words(
        message=f"{_name(found.path)} must be {expected}, but is {_type_of(found.value)}.",
        expected=expected,
        hint=_type_hint(found, wanted),
    )


def _type_of(value: object) -> str:
    kinds = {bool: "boolean", Number: "number", str: "string", dict: "object", list: "array"}
    return _TYPES[kinds.get(type(value), "null")]


def _type_hint(found: Finding, wanted: Sequence[str]) -> str:
    value, schema = found.value, found.schema
    if "x-hint" in schema:
        return str(schema["x-hint"])
    if value is None:
        return "Write a value, or remove the key."
    if wanted == ["object"]:
        return _object_hint(schema) if found.path else "A file holds one object: write each to a file of its own."
    if "string" not in wanted or isinstance(value, list | dict):
        return ""
    text = value.text if isinstance(value, Number) else str(value).lower()
    if "format" in schema and not conforms(schema["format"], text):
        return FORMATS[schema["format"]].hint(text)
    return "Put it in quotes."


def _object_hint(schema: Mapping[str, Any]) -> str:
    """An example of an object that would do, where the schema has one."""
    examples = schema.get("examples", ())
    return f"Write it as an object, such as {json.dumps(examples[0])}." if examples else "Write it as an object."


def _wrong_format(found: Finding, _: Mapping[str, Any]) -> Words:
    expected = FORMATS[found.rule].expected
    hint = FORMATS[found.rule].hint(str(found.value))
    return Words(f"{_name(found.path)} is not {expected.partition(' such as ')[0]}.", expected, hint)


def _empty(found: Finding, _: Mapping[str, Any]) -> Words:
    return Words(f"{_name(found.path)} is empty.", found.schema["description"])


def _not_listed(found: Finding, _: Mapping[str, Any]) -> Words:
    """A value that is none of those listed; under ``propertyNames``, a key, which may be a secret."""
    choices: list[str] = found.rule
    guess = nearest(found.value, choices) if isinstance(found.value, str) else ""
    hint = found.schema.get("x-hint", f"Did you mean `{guess}`?" if guess else "")
    if "propertyNames" in found.steps:
        return Words(f"{_name(found.path)} has an unknown key.", f"one of {_listed(choices)}", hint)
    return Words(f"{_name(found.path)} must be one of {_listed(choices)}.", f"one of {_listed(choices)}", hint)


def _out_of_bounds(found: Finding, _: Mapping[str, Any]) -> Words:
    least, most = ("minimum", "maximum") if "minimum" in found.schema else ("x-least", "x-most")
    side = "at least" if found.keyword == least else "at most"
    expected = f"{found.schema[least]} to {found.schema[most]}"
    return Words(f"{_name(found.path)} must be {side} {found.rule}.", expected)


def _wrong_count(found: Finding, _: Mapping[str, Any]) -> Words:
    if found.keyword == "minItems":
        return Words(f"{_name(found.path)} is an empty list.", found.schema.get("description", ""))
    keys = _listed(found.schema["properties"])
    return Words(f"{_name(found.path)} must have exactly one of {keys}.", hint=found.schema["x-hint"])


def _anything(found: Finding, _: Mapping[str, Any]) -> Words:
    return Words(f"{_name(found.path)} is not as it must be.", found.schema.get("description", ""))


def _listed(words: Iterable[str], quote: str = "`") -> str:
    *others, last = (f"{quote}{word}{quote}" for word in words)
    return f"{', '.join(others)} or {last}" if others else last


_WORDS: Mapping[str, Callable[[Finding, Mapping[str, Any]], Words]] = {
    "additionalProperties": _unknown,
    "required": _missing,
    "type": _wrong_type,
    "format": _wrong_format,
    "minLength": _empty,
    "enum": _not_listed,
    "minimum": _out_of_bounds,
    "maximum": _out_of_bounds,
    "x-least": _out_of_bounds,
    "x-most": _out_of_bounds,
    "minItems": _wrong_count,
    "minProperties": _wrong_count,
    "maxProperties": _wrong_count,
}
