"""A schema made into one function that says whether a value keeps to it, and nothing more.

Nearly every file is right, and jsonschema, which can say what is wrong, takes ten times as long to find nothing. So
what passes here is right, and what does not is for jsonschema to judge. Made from the schema itself: a keyword that is
not known here is an error, and a test holds the two to one another.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sized
from typing import Any

from canarysync.model import Number
from canarysync.quantity import whole
from canarysync.schema.formats import FORMATS, amount

Schema = Mapping[str, Any]
Predicate = Callable[[Any], bool]
Keyword = Callable[[Any, Schema, Schema], Predicate]
"""Makes a predicate from what the schema has for a keyword, the part that holds it, and the whole schema."""


def predicate(schema: Schema) -> Predicate:
    """Whether a value keeps to ``schema``, a whole one. KeyError or AssertionError for what is not known here."""
    return _made(schema, schema)


def _made(schema: Schema, root: Schema) -> Predicate:
    """One part of the schema ``root``: all its keywords have to hold."""
    checks = [_KEYWORDS[name](rule, schema, root) for name, rule in schema.items() if name not in _SAY_NOTHING]
    return _all(checks)


def _all(checks: list[Predicate]) -> Predicate:
    if len(checks) == 1:
        return checks[0]

    def hold(value: Any) -> bool:
        for check in checks:  # noqa: SIM110  (a generator for all() costs more than most checks)
            if not check(value):
                return False
        return True

    return hold


def _type(rule: str | list[str], _: Schema, __: Schema) -> Predicate:
    names = [rule] if isinstance(rule, str) else rule
    classes = tuple(_CLASSES[name] for name in names if name != "integer")
    if "integer" not in names:
        return lambda value: isinstance(value, classes)
    return lambda value: isinstance(value, classes) or (isinstance(value, Number) and whole(value) is not None)


def _required(keys: list[str], _: Schema, __: Schema) -> Predicate:
    wanted = frozenset(keys)
    return lambda value: not isinstance(value, dict) or value.keys() >= wanted


def _closed(allowed: bool, schema: Schema, _: Schema) -> Predicate:
    assert allowed is False, "a keyword that is not known here"
    known = frozenset(schema["properties"])
    return lambda value: not isinstance(value, dict) or value.keys() <= known


def _properties(rule: Mapping[str, Schema], _: Schema, root: Schema) -> Predicate:
    checks = [(key, _made(schema, root)) for key, schema in rule.items()]

    def hold(value: Any) -> bool:
        if isinstance(value, dict):
            for key, check in checks:
                if key in value and not check(value[key]):
                    return False
        return True

    return hold


def _property_names(rule: Schema, _: Schema, root: Schema) -> Predicate:
    check = _made(rule, root)
    return lambda value: not isinstance(value, dict) or all(map(check, value))


def _items(rule: Schema, _: Schema, root: Schema) -> Predicate:
    check = _made(rule, root)
    return lambda value: not isinstance(value, list) or all(map(check, value))


def _if(rule: Schema, schema: Schema, root: Schema) -> Predicate:
    condition, then = _made(rule, root), _made(schema["then"], root)
    return lambda value: not condition(value) or then(value)


def _enum(choices: list[str], _: Schema, __: Schema) -> Predicate:
    assert all(isinstance(choice, str) for choice in choices), "choices that are not known here"
    return lambda value: isinstance(value, str) and value in choices


def _pattern(rule: str, _: Schema, __: Schema) -> Predicate:
    search = re.compile(rule).search
    return lambda value: not isinstance(value, str) or search(value) is not None


def _format(rule: str, _: Schema, __: Schema) -> Predicate:
    accepts = FORMATS[rule].accepts
    return lambda value: not isinstance(value, str) or accepts(value)


def _length(kind: type[Sized], fits: Callable[[int, int], bool]) -> Keyword:
    """A keyword that sets a bound to how long a text is, or how many members there are."""
    return lambda bound, _, __: lambda value: not isinstance(value, kind) or fits(len(value), bound)


def _bound(fits: Callable[[float, float], bool]) -> Keyword:
    """A keyword that sets a bound to a number, a duration or a size. What has no amount passes."""

    def make(rule: object, schema: Schema, _: Schema) -> Predicate:
        unit = schema.get("format", "")
        limit = amount(rule, unit)
        assert limit is not None, "a bound that is none"
        return lambda value: (found := amount(value, unit)) is None or fits(found, limit)

    return make


def _ref(rule: str, _: Schema, root: Schema) -> Predicate:
    part: Any = root
    for step in rule.removeprefix("#/").split("/"):
        part = part[step]
    return _made(part, root)


def _not(rule: Schema, _: Schema, root: Schema) -> Predicate:
    check = _made(rule, root)
    return lambda value: not check(value)


_CLASSES = {
    "object": dict, "array": list, "string": str, "number": Number, "boolean": bool, "null": type(None),
}  # fmt: skip

_SAY_NOTHING = frozenset(
    {"$schema", "$id", "$defs", "title", "description", "examples", "default", "x-hint", "then"}  # then: see _if
)

_KEYWORDS: Mapping[str, Keyword] = {
    "$ref": _ref,
    "additionalProperties": _closed,
    "allOf": lambda parts, _, root: _all([_made(part, root) for part in parts]),
    "enum": _enum,
    "format": _format,
    "if": _if,
    "items": _items,
    "maxProperties": _length(dict, operator.le),
    "maximum": _bound(operator.le),
    "minItems": _length(list, operator.ge),
    "minLength": _length(str, operator.ge),
    "minProperties": _length(dict, operator.ge),
    "minimum": _bound(operator.ge),
    "not": _not,
    "pattern": _pattern,
    "properties": _properties,
    "propertyNames": _property_names,
    "required": _required,
    "type": _type,
    "x-least": _bound(operator.ge),
    "x-most": _bound(operator.le),
}
