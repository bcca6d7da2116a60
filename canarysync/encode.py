"""A value to JSON bytes, every number exactly as it was spelled.

``json.dumps`` cannot do that: its C encoder prints a float by its value, whatever ``__repr__`` says.
"""

from __future__ import annotations

import re
from dataclasses import fields
from json.encoder import encode_basestring_ascii
from typing import TYPE_CHECKING, Any, assert_never

from canarysync.model import JsonValue, Number

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def encode(value: JsonValue) -> bytes:
    """``value`` as compact JSON (RFC 8259), keys in their order, in ASCII.

    ASCII, so that a lone surrogate can be written at all (RFC 8259 §8.2 lets a file hold ``"\\ud800"``).
    Recurses as deep as ``value`` nests, which the reader has bounded.
    """
    return _encoded(value).encode("ascii")


def _encoded(value: JsonValue) -> str:
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, Number):
        return value.text
    if isinstance(value, dict):
        members = [f"{encode_basestring_ascii(key)}:{_encoded(item)}" for key, item in value.items()]
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_encoded, value)) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None:
        return "null"
    assert_never(value)


def members(value: DataclassInstance) -> dict[str, Any]:
    """The fields of a dataclass as an object's members, their names in camelCase, as in sidecars; not its fields'."""
    return {_camel(field.name): getattr(value, field.name) for field in fields(value)}


def _camel(name: str) -> str:
    return re.sub(r"_(\w)", lambda found: found[1].upper(), name)
