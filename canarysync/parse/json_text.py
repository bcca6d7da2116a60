"""JSON text to a value, by RFC 8259: by the C scanner, and if that fails again by ``json_reader``."""

from __future__ import annotations

import re
from json import JSONDecodeError, JSONDecoder
from typing import NoReturn

from canarysync.model import JsonValue, Number
from canarysync.parse.json_reader import JsonReader
from canarysync.parse.outline import Node
from canarysync.parse.source import MAX_DEPTH, MAX_NUMBER_CHARS, Faults


class _Refused(ValueError):
    """The C scanner would take this, and we do not."""


def _number(literal: str) -> Number:
    if len(literal) > MAX_NUMBER_CHARS:
        raise _Refused
    return Number(literal)


def _constant(_name: str) -> NoReturn:
    raise _Refused  # NaN and the infinities: not in RFC 8259 §6


def _object(pairs: list[tuple[str, JsonValue]]) -> dict[str, JsonValue]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise _Refused  # RFC 8259 §4: with a duplicate, what a receiver does is unpredictable
    return members


# These hooks keep the decoder on its C scanner. Built once: a decoder costs more than reading one score.
_DECODER = JSONDecoder(parse_int=_number, parse_float=_number, parse_constant=_constant, object_pairs_hook=_object)
_LENIENT_DECODER = JSONDecoder(
    parse_int=Number, parse_float=Number, parse_constant=str, object_pairs_hook=_object, strict=False
)
_BLANK = " \t\n\r"  # RFC 8259 §2
# The closing quote is optional, so that an unclosed string is passed over once, not once per quote in it.
_BRACKET_OR_STRING = re.compile(r'[\[{]|[\]}]|"(?:[^"\\]++|\\.)*+"?', re.DOTALL)


def read(text: str) -> JsonValue | Faults:
    """The value of ``text``, or every problem that can be known."""
    if not _is_too_deep(text):
        try:
            return _decoded(text, _DECODER)
        except (JSONDecodeError, _Refused):
            pass
    reader = JsonReader(text)
    reader.run()
    return reader.findings.faults()


def read_leniently(text: str) -> JsonValue:
    """The value of ``text``, or None."""
    try:
        return None if _is_too_deep(text) else _decoded(text, _LENIENT_DECODER)
    except (JSONDecodeError, _Refused):
        return None


def _decoded(text: str, decoder: JSONDecoder) -> JsonValue:
    """The one value in ``text``. Its own ``decode`` looks for blank space by regular expressions."""
    bare = text.strip(_BLANK)
    value: JsonValue
    value, end = decoder.raw_decode(bare)
    if end != len(bare):
        raise _Refused
    return value


def outline(text: str) -> Node:
    """Where each value in ``text`` begins. ``text`` has been read without a problem."""
    reader = JsonReader(text)
    reader.run()
    return reader.root


def _is_too_deep(text: str) -> bool:
    """Whether the recursive C scanner must not see ``text``. Counts brackets, except those in strings."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return False
    depth = 0
    for found in _BRACKET_OR_STRING.finditer(text):
        bracket = found[0]
        if bracket in "[{":
            depth += 1
            if depth > MAX_DEPTH:
                return True
        elif bracket in "]}":
            depth -= 1
    return False
