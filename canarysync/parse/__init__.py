"""Bytes to a document with its numbers as they were spelled, or to all the problems that can be known.

Pure: no files, no clock. JSON is read by RFC 8259, YAML by the core schema of YAML 1.2.2 §10.3.
"""

from __future__ import annotations

from canarysync.model import Code, Document, JsonValue, Places, Problem, Rejection, Syntax
from canarysync.parse import json_text, outline, yaml_text
from canarysync.parse.source import MAX_DEPTH, Faults, Lines, pointer
from canarysync.parse.utf8 import decode

__all__ = ["MAX_DEPTH", "parse", "parse_answer", "places", "pointer"]


def parse(data: bytes, syntax: Syntax) -> Document | Rejection:
    """Read one file. Never raises on any ``data``; the size is for the caller to bound."""
    text = decode(data)
    if isinstance(text, Problem):
        return Rejection(Code.SYNTAX, "The file cannot be read as text.", (text,))
    value = json_text.read(text) if syntax is Syntax.JSON else yaml_text.read(text)
    if isinstance(value, Faults):
        return Rejection(Code.SYNTAX, f"The file cannot be read as {syntax.upper()}.", value.problems)
    return Document(value, syntax, text)


def parse_answer(data: bytes) -> JsonValue:
    """Read what an API answered, as far as it goes: what other systems put there may be odd. None where it is no
    JSON, is nested too deeply, or has a key twice. Numbers as spelled, however long; NaN is a string."""
    return json_text.read_leniently(data.decode("utf-8-sig", "replace"))


def places(document: Document) -> Places:
    """Where every value and key of a document that was read begins. Reads the text again."""
    text = document.text
    root = json_text.outline(text) if document.syntax is Syntax.JSON else yaml_text.outline(text)
    return outline.places(root, Lines(text))
