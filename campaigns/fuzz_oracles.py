"""Second opinions for the fuzzing: JSON and YAML read by other means than canarysync's own.

JSON: a grammar of RFC 8259 written out again, without the json module (whose C scanner canarysync builds on).
YAML: PyYAML's parser in Python (canarysync uses libyaml), and py-yaml12 (a YAML 1.2 parser in Rust) where it is
installed, both compared by value.
"""

from __future__ import annotations

import importlib
import math
import re
from collections.abc import Iterator, Sequence
from typing import Any, Protocol, cast

import yaml

from canarysync.model import JsonValue, Number
from canarysync.parse import MAX_DEPTH
from canarysync.parse.source import MAX_NUMBER_CHARS


class Refused(ValueError):
    """The oracle does not take this text."""


# --- JSON ---------------------------------------------------------------------------------------------

_JSON_TOKEN = re.compile(
    r"[ \t\n\r]*+(?:(?P<mark>[\[\]{},:])|(?P<word>true|false|null)"
    r"|(?P<number>-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][-+]?[0-9]++)?)"
    r'|(?P<string>"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*+"))'
)
_ESCAPE = re.compile(r"\\(?:u(....)|(.))")
_ESCAPED = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}
_WORDS: dict[str, JsonValue] = {"true": True, "false": False, "null": None}


def strict_json(text: str) -> JsonValue:
    """The value of ``text`` by RFC 8259, with canarysync's limits (RFC 8259 §9). Raises Refused."""
    reader = _StrictJson(text)
    value = reader.value(reader.token(), 0)
    if reader.rest():
        raise Refused("more text after the value")
    return value


class _StrictJson:
    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def rest(self) -> str:
        return self._text[self._at :].strip(" \t\n\r")

    def token(self) -> re.Match[str]:
        found = _JSON_TOKEN.match(self._text, self._at)
        if found is None:
            raise Refused("no token")
        self._at = found.end()
        return found

    def value(self, token: re.Match[str], depth: int) -> JsonValue:
        if token["word"]:
            return _WORDS[token["word"]]
        if token["number"]:
            if len(token["number"]) > MAX_NUMBER_CHARS:
                raise Refused("a long number")
            return Number(token["number"])
        if token["string"]:
            return _string(token["string"])
        if token["mark"] not in ("[", "{") or depth == MAX_DEPTH:
            raise Refused("no value, or too deep")
        return self._array(depth + 1) if token["mark"] == "[" else self._object(depth + 1)

    def _array(self, depth: int) -> list[JsonValue]:
        token, found = self.token(), cast("list[JsonValue]", [])
        while token["mark"] != "]" or found:
            found.append(self.value(token, depth))
            if self._ends("]"):
                break
            token = self.token()
        return found

    def _object(self, depth: int) -> dict[str, JsonValue]:
        token, found = self.token(), cast("dict[str, JsonValue]", {})
        while token["mark"] != "}" or found:
            key = _string(token["string"] or "")
            if self.token()["mark"] != ":" or key in found:
                raise Refused("no colon, or a duplicate key")
            found[key] = self.value(self.token(), depth)
            if self._ends("}"):
                break
            token = self.token()
        return found

    def _ends(self, close: str) -> bool:
        mark = self.token()["mark"]
        if mark not in (close, ","):
            raise Refused("no comma")
        return mark == close


def _string(literal: str) -> str:
    if not literal:
        raise Refused("no string")
    text = _ESCAPE.sub(lambda found: chr(int(found[1], 16)) if found[1] else _ESCAPED.get(found[2], found[2]), literal)
    # Two escaped surrogates that make a pair are one character.
    return text[1:-1].encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")


# --- YAML ---------------------------------------------------------------------------------------------

# The rows of YAML 1.2.2 §10.3.2, as they stand there.
_CORE_NUMBER = re.compile(
    r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?"
    r"|[-+]?(\.inf|\.Inf|\.INF)|\.nan|\.NaN|\.NAN"
)
_CORE_WORDS: dict[str, JsonValue] = {
    **dict.fromkeys(("null", "Null", "NULL", "~", "")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_AS_TEXT = ("!", "tag:yaml.org,2002:str")  # "!" makes any scalar a string (§6.9.1)


def core(text: str) -> JsonValue:
    """What a plain scalar means by the core schema, numbers that JSON cannot spell included."""
    if text in _CORE_WORDS:
        return _CORE_WORDS[text]
    return Number(text) if _CORE_NUMBER.fullmatch(text) else text


def yaml_in_python(text: str) -> JsonValue:
    """The value of ``text``, which canarysync has taken, by PyYAML's own scanner and parser. Raises Refused."""
    try:
        events = list(yaml.parse(text, Loader=yaml.SafeLoader))
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise Refused(type(error).__name__) from None
    return _node(iter([event for event in events if isinstance(event, yaml.NodeEvent | _END)]), {})


_END = yaml.CollectionEndEvent


class _Ends(Exception):
    """The collection ends here."""


def _node(events: Iterator[yaml.Event], anchors: dict[str, JsonValue]) -> JsonValue:
    """The next node. ``events`` are those of nodes and of the ends of collections only."""
    event: Any = next(events)
    if isinstance(event, yaml.AliasEvent):
        if event.anchor not in anchors:
            raise Refused("an alias of nothing")
        return anchors[event.anchor]
    if isinstance(event, _END):
        raise _Ends
    if event.tag not in (None, "!") and not event.tag.startswith("tag:yaml.org,2002:"):
        raise Refused("a tag of its own")
    if isinstance(event, yaml.ScalarEvent):
        as_text = event.tag in _AS_TEXT or (event.tag is None and event.style not in (None, ""))
        return _anchored(event, event.value if as_text else core(event.value), anchors)
    if isinstance(event, yaml.SequenceStartEvent):
        items: list[JsonValue] = []
        _anchored(event, items, anchors)
        items.extend(_nodes(events, anchors))
        return items
    members: dict[str, JsonValue] = {}
    _anchored(event, members, anchors)
    inner = list(_nodes(events, anchors))
    members.update(zip(cast("list[str]", inner[::2]), inner[1::2], strict=True))
    return members


def _nodes(events: Iterator[yaml.Event], anchors: dict[str, JsonValue]) -> Iterator[JsonValue]:
    while True:
        try:
            yield _node(events, anchors)
        except _Ends:
            return


def _anchored(event: yaml.NodeEvent, value: JsonValue, anchors: dict[str, JsonValue]) -> JsonValue:
    """``value``, known by its anchor from where it begins: one of the same name within it comes later (§7.1)."""
    if event.anchor:
        anchors[event.anchor] = value
    return value


class Oracle(Protocol):
    """Reads YAML to plain Python values; raises ValueError for a text that it does not take."""

    def __call__(self, text: str) -> object: ...


def yaml_oracles() -> Sequence[Oracle]:
    """The YAML 1.2 parsers that happen to be installed; the project does not need them."""
    try:
        return [importlib.import_module("yaml12").parse_yaml]
    except ImportError:
        return []


def agree(ours: JsonValue, theirs: object) -> bool:
    """Whether a value is what another parser made of the text; its numbers may be doubles."""
    if isinstance(ours, Number):
        if isinstance(theirs, str):
            return theirs == ours.text
        return type(theirs) in (int, float) and _as_double(ours.text) == _as_double(theirs)
    if isinstance(ours, dict):
        keys_agree = isinstance(theirs, dict) and list(ours) == list(theirs)
        return keys_agree and all(agree(value, cast("dict[str, object]", theirs)[key]) for key, value in ours.items())
    if isinstance(ours, list):
        pairs = zip(ours, theirs, strict=True) if isinstance(theirs, list) and len(theirs) == len(ours) else None
        return pairs is not None and all(agree(one, other) for one, other in pairs)
    return type(ours) is type(theirs) and ours == theirs


def _as_double(number: object) -> float:
    try:
        return float(cast("Any", number))
    except OverflowError:
        return math.inf if cast("int", number) > 0 else -math.inf
