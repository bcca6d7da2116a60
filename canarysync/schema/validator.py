"""jsonschema, taught to read our documents: numbers in their own spelling, and one error per key.

Only ``canarysync.schema`` imports this module, and only when something is checked: loading jsonschema
takes longer than checking a thousand files.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import jsonschema
from jsonschema.protocols import Validator

from canarysync.model import JsonValue, Number
from canarysync.quantity import whole
from canarysync.schema.formats import FORMATS, amount, conforms
from canarysync.schema.wording import Finding

Errors = Iterator[jsonschema.ValidationError]


def build(schema: Mapping[str, Any]) -> Callable[[JsonValue], Iterator[Finding]]:
    """A function that finds all that is wrong with a value by ``schema``, in no particular order."""
    checker = jsonschema.FormatChecker(formats=())
    for name in FORMATS:
        checker.checks(name)(partial(conforms, name))
    validator = _OurValidator(schema, format_checker=checker)

    def find(value: Any) -> Iterator[Finding]:
        return map(_finding, validator.iter_errors(value))

    return find


def _finding(error: Any) -> Finding:
    """What we use of a ``ValidationError``: not its message, which quotes values."""
    return Finding(
        keyword=error.validator,
        rule=error.validator_value,
        path=tuple(error.absolute_path),
        value=error.instance,
        schema=error.schema,
        steps=tuple(error.absolute_schema_path),
    )


def _required(_: Validator, keys: list[str], value: object, __: Mapping[str, Any]) -> Errors:
    """As in the standard, but each error's path ends in the missing key."""
    if isinstance(value, dict):
        for key in keys:
            if key not in value:
                yield jsonschema.ValidationError("missing", path=[key])


def _closed(_: Validator, allowed: bool, value: object, schema: Mapping[str, Any]) -> Errors:
    """``additionalProperties: false``, with an error for each key, whose path ends in the key."""
    if isinstance(value, dict) and not allowed:
        for key in value:
            if key not in schema["properties"]:
                yield jsonschema.ValidationError("unknown", path=[key])


def _bound(beyond: Callable[[float, float], bool]) -> Callable[..., Errors]:
    """A keyword that sets a bound to a number, a duration or a size. What has no amount passes."""

    def check(_: Validator, bound: object, value: object, schema: Mapping[str, Any]) -> Errors:
        unit = schema.get("format", "")
        limit, found = amount(bound, unit), amount(value, unit)
        if limit is not None and found is not None and beyond(found, limit):
            yield jsonschema.ValidationError("out of bounds")

    return check


_TYPES = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine_many(
    {
        "number": lambda _, value: isinstance(value, Number),
        "integer": lambda _, value: isinstance(value, Number) and whole(value) is not None,
    }
)

_OurValidator: type[Validator] = jsonschema.validators.extend(  # type: ignore[no-untyped-call]
    jsonschema.Draft202012Validator,
    {
        "required": _required,
        "additionalProperties": _closed,
        "minimum": _bound(operator.lt),
        "maximum": _bound(operator.gt),
        "x-least": _bound(operator.lt),
        "x-most": _bound(operator.gt),
    },
    type_checker=_TYPES,
)
