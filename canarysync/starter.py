"""The starter configuration and the table of all keys, both made from the schema, which alone lists them."""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from canarysync import schema

_WIDTH = 80  # of a description, its indentation and comment sign not counted
_HEAD = """\
# The configuration of canarysync. After a change: `canarysync check`, then reload it.
# A key behind # shows its default, or an example where it has none. Relative paths are
# relative to this file.
"""
# Strings that need no quotes in YAML 1.2, nor in the eyes of an older reader (yes, no, on, off).
_BARE = re.compile(
    r"(?!(?:null|true|false|yes|no|on|off|y|n)$)[a-z/][a-z0-9/._:-]*(?<!:)|[0-9]+(?:ms|[smhd]|[KM]iB)",
    re.IGNORECASE,
)


def starter_config(values: Mapping[str, Any]) -> str:
    """A commented configuration with ``values`` filled in and every other key commented out.

    ``values`` are named as in ``reference()``: ``{"api.region": "eus", "api.api_key": {"file": "key"},
    "routes[].folder": "/srv/canary"}``. The text loads if they are good values and enough.
    Raises KeyError for a name that the schema does not have.
    """
    root = schema.load(schema.SchemaName.CONFIG)
    unknown = set(values) - {name for name, _ in _leaves(root)}
    if unknown:
        raise KeyError(*sorted(unknown))
    text = "\n".join([_HEAD, *_lines(root, "", values)])
    return re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n"


def reference() -> str:
    """All keys as a Markdown table: key, default, meaning."""
    rows = (
        f"| `{name}` | {default and f'`{default}`'} | {meaning.replace('|', chr(92) + '|')} |"
        for name, default, meaning in all_keys()
    )
    return "\n".join(["| key | default | meaning |", "|---|---|---|", *rows]) + "\n"


def all_keys() -> Iterator[tuple[str, str, str]]:
    """(name, default as written in YAML or "", meaning) of every key, in the order of the schema."""
    for name, leaf in _leaves(schema.load(schema.SchemaName.CONFIG)):
        default = leaf.get("default")
        yield name, "" if default is None else _flow(default), leaf["description"]


def _leaves(part: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Every key that holds no further keys of the schema, with its full name and its part of the schema."""
    for key, child in part["properties"].items():
        if "properties" in child:
            yield from _leaves(child, f"{prefix}{key}.")
        elif "properties" in child.get("items", {}):
            yield from _leaves(child["items"], f"{prefix}{key}[].")
        else:
            yield prefix + key, child


def _lines(part: Mapping[str, Any], prefix: str, values: Mapping[str, Any]) -> Iterator[str]:
    """The lines of an object: each key below its description, commented out if ``values`` lack it."""
    for key, child in part["properties"].items():
        yield from _described(child)
        if _holds(prefix + key, child, values):
            yield from _section(key, child, prefix, values)
        else:
            yield from (f"# {line}" for line in _example(key, child))
        yield ""


def _holds(name: str, child: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Whether ``values`` has something for the key called ``name``, or for one below it."""
    return any(given == name or given.startswith((f"{name}.", f"{name}[].")) for given in values)


def _section(key: str, child: Mapping[str, Any], prefix: str, values: Mapping[str, Any]) -> Iterator[str]:
    """A key with its value from ``values``, or with the lines of the object or the one list item below it."""
    name = prefix + key
    if name in values:
        yield f"{key}: {_flow(values[name])}"
        return
    yield f"{key}:"
    if "properties" in child:
        yield from _indented(_lines(child, f"{name}.", values), "  ")
    else:
        yield from _as_item(list(_indented(_lines(child["items"], f"{name}[].", values), "    ")))


def _as_item(lines: list[str]) -> Iterator[str]:
    """Mark the first line that is no comment as the start of a list item."""
    start = next(index for index, line in enumerate(lines) if line and not line.lstrip().startswith("#"))
    yield from (line.removeprefix("  ") for line in lines[:start])
    yield "  - " + lines[start].lstrip()
    yield from lines[start + 1 :]


def _example(key: str, child: Mapping[str, Any]) -> Iterator[str]:
    """A key with its default, or with an example where it has none; so too the keys below it, described."""
    if "properties" not in child:
        default = child.get("default")
        yield f"{key}: {_flow(child['examples'][0] if default is None else default)}"
        return
    yield f"{key}:"
    for below, part in child["properties"].items():
        yield from _indented((*_described(part), *_example(below, part)), "  ")


def _described(child: Mapping[str, Any]) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(child["description"] + ".", _WIDTH)]


def _indented(lines: Iterable[str], indent: str) -> Iterator[str]:
    return (indent + line if line else "" for line in lines)


def _flow(value: Any) -> str:
    """``value`` on one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return value if isinstance(value, str) and _BARE.fullmatch(value) else json.dumps(value, ensure_ascii=False)
