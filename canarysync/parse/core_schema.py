"""What a YAML scalar means by the core schema (YAML 1.2.2 §10.3), where JSON can say the same."""

from __future__ import annotations

import re

from canarysync.model import JsonValue, Number
from canarysync.parse.numbers import JSON_NUMBER, check_length, misspelling
from canarysync.parse.source import Fault

_PREFIX = "tag:yaml.org,2002:"
STR, MAP, SEQ = f"{_PREFIX}str", f"{_PREFIX}map", f"{_PREFIX}seq"
_NULL, _BOOL, _INT, _FLOAT = (f"{_PREFIX}{name}" for name in ("null", "bool", "int", "float"))
NON_SPECIFIC = "!"

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLS = dict.fromkeys(("true", "True", "TRUE"), True) | dict.fromkeys(("false", "False", "FALSE"), False)
_NUMBER_BEGINS = frozenset("-+.0123456789")
_CORE_INT = re.compile(r"[-+]?[0-9]++|0o[0-7]++|0x[0-9a-fA-F]++")
_CORE_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]++|[0-9]++(?:\.[0-9]*+)?)(?:[eE][-+]?[0-9]++)?"
    r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)"
)

UNKNOWN_TAG = Fault(
    "This tag (the word that begins with !) is not one of the YAML core schema.",
    "Delete the tag; or quote the value if the ! belongs to it.",
    "no tag",
)
_DOES_NOT_FIT = Fault("The value does not fit its tag.", "Delete the tag (the word that begins with !!).", "no tag")


def resolve(text: str, tag: str | None, plain: bool) -> JsonValue | Fault:
    """The value of one scalar. ``plain`` is a scalar without quotes; ``tag`` is None if there is none."""
    if tag in (STR, NON_SPECIFIC) or (tag is None and not plain):
        return text  # "!" makes any scalar a string (§6.9.1)
    if tag is None:
        return _resolve_plain(text)
    if tag in (_NULL, _BOOL, _INT, _FLOAT):
        return _resolve_tagged(text, tag)
    return UNKNOWN_TAG


def _resolve_plain(text: str) -> JsonValue | Fault:
    """The first row of the table in §10.3.2 that matches ``text``; a string if none does."""
    if text in _NULLS:
        return None
    if text in _BOOLS:
        return _BOOLS[text]
    if text[0] in _NUMBER_BEGINS and (_CORE_INT.fullmatch(text) or _CORE_FLOAT.fullmatch(text)):
        return _number(text)
    return text


def _resolve_tagged(text: str, tag: str) -> JsonValue | Fault:
    value = _resolve_plain(text)
    fits = {
        _NULL: value is None,
        _BOOL: isinstance(value, bool),
        _INT: isinstance(value, Number) and _CORE_INT.fullmatch(text) is not None,
        _FLOAT: isinstance(value, Number),
    }
    return value if fits[tag] or isinstance(value, Fault) else _DOES_NOT_FIT


def _number(text: str) -> Number | Fault:
    """``text`` is a number of the core schema; say so if JSON does not spell it the same way."""
    if fault := check_length(text):
        return fault
    if JSON_NUMBER.fullmatch(text):
        return Number(text)
    return misspelling(text) or Fault("JSON does not spell a number so.", "Quote it if it is a text.")
