"""A slower reader of JSON (RFC 8259) that finds every problem it can, and where each value begins.

What is wrong inside one token (a number, an escape) does not end the reading; a break of the grammar does.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import NoReturn

from canarysync.parse import json_faults as faults
from canarysync.parse.numbers import JSON_NUMBER, check_length, misspelling
from canarysync.parse.outline import Member, Node
from canarysync.parse.source import MAX_DEPTH, Fault, Findings, GaveUp, Lines, duplicate_key, too_deep

# Possessive (*+, ++): a match that fails is never tried again from within, so every pattern is linear.
_SPACE = re.compile(r"[ \t\n\r]*+")
_LINE_REST = re.compile(r"[^\n\r]*+")
_PLAIN_CHARS = re.compile(r'[^"\\\x00-\x1f]*+')
_ESCAPE = re.compile(r'\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})')
_WORD = re.compile(r"""[^\s,:\[\]{}"'/#]*+""")
_LITERALS = frozenset({"true", "false", "null"})
_CLOSING = {"{": "}", "[": "]"}


class JsonReader:
    """Reads one text once, by recursive descent, no deeper than ``MAX_DEPTH``."""

    def __init__(self, text: str) -> None:
        self.findings = Findings(Lines(text))
        self.root = Node(0)
        self._text = text
        self._at = 0
        self._path: list[str | int] = []

    def run(self) -> None:
        """Fill ``findings`` and ``root``."""
        try:
            self.root = self._value()
            if self._next():
                self._give_up(faults.after_the_end(self._next()))
        except GaveUp:
            pass

    def _value(self) -> Node:
        char = self._next()
        node = Node(self._at)
        if char == "{":
            self._members(node, self._object_member)
        elif char == "[":
            self._members(node, self._array_member)
        elif char == '"':
            self._string()
        else:
            self._word()
        return node

    def _members(self, node: Node, read_member: Callable[[Node], None]) -> None:
        """Read the members of an object or array, with commas between them, up to its closing bracket."""
        if len(self._path) >= MAX_DEPTH:
            self._give_up(too_deep())
        close = _CLOSING[self._text[self._at]]
        self._at += 1
        comma: int | None = None
        while self._next() != close:
            read_member(node)
            comma = self._comma(node, close)
            if comma is None:
                break
        if comma is not None:
            self._report(comma, faults.TRAILING_COMMA)
        self._at += 1

    def _comma(self, node: Node, close: str) -> int | None:
        """Step over the comma after a member and say where it is; None where the bracket closes instead."""
        char = self._next()
        if char == close:
            return None
        if char == "":
            opened = self.findings.lines.position(node.start)
            self._give_up(faults.cut_short("an object" if close == "}" else "an array", opened))
        if char != ",":
            self._give_up(faults.no_comma(char, close))
        self._at += 1
        return self._at - 1

    def _array_member(self, node: Node) -> None:
        index = len(node.members)
        self._path.append(index)
        node.members[index] = Member(None, self._value())
        self._path.pop()

    def _object_member(self, node: Node) -> None:
        char, start = self._next(), self._at
        if char != '"':
            self._give_up(faults.no_key(char, self.findings.lines.position(node.start)))
        key = self._string()
        self._path.append(key)
        if earlier := node.members.get(key):
            first = self.findings.lines.position(earlier.key_start or 0)
            self._report(start, duplicate_key(first))
        if self._next() != ":":
            self._give_up(faults.no_colon(self._next()))
        self._at += 1
        node.members[key] = Member(start, self._value())
        self._path.pop()

    def _string(self) -> str:
        """Step over a string and return it decoded. Only a line break in it ends the reading."""
        start, before = self._at, self.findings.total
        self._at += 1
        while (char := self._string_char(start)) != '"':
            if char != "\\":
                self._report(self._at, faults.control_character(char))
                self._at += 1
            elif escape := _ESCAPE.match(self._text, self._at):
                self._at = escape.end()
            else:
                self._report(self._at, faults.bad_escape(self._text[self._at + 1 : self._at + 2]))
                self._at += 1
        self._at += 1
        literal = self._text[start : self._at]
        if self.findings.total > before:
            return literal[1:-1]
        decoded: str = json.loads(literal)
        return decoded

    def _string_char(self, start: int) -> str:
        """Step to the next quote, backslash or control character of a string, and return it."""
        found = _PLAIN_CHARS.match(self._text, self._at)
        self._at = found.end() if found else self._at
        char = self._text[self._at : self._at + 1]
        if char == "":
            self._give_up(faults.cut_short("a string", self.findings.lines.position(start)))
        if char in "\r\n":
            self._give_up(faults.LINE_BREAK_IN_STRING)
        return char

    def _word(self) -> None:
        """Step over a number or literal, reporting one that JSON does not spell so."""
        start = self._at
        found = _WORD.match(self._text, start)
        word = found[0] if found else ""
        if fault := self._word_fault(word):
            self._report(start, fault)
        self._at = start + len(word)

    def _word_fault(self, word: str) -> Fault | None:
        if word in _LITERALS:
            return None
        if JSON_NUMBER.fullmatch(word):
            return check_length(word)
        if word and self._path and self._at + len(word) == len(self._text):
            self._give_up(faults.cut_short("a value", self.findings.lines.position(self._at)))
        if fault := misspelling(word) or faults.OTHER_LITERALS.get(word):
            return fault
        self._give_up(faults.no_value(self._text[self._at : self._at + 1], bool(word)))

    def _next(self) -> str:
        """Step over blank space, and return the character that stands there; empty at the end of the text."""
        while True:
            found = _SPACE.match(self._text, self._at)
            self._at = found.end() if found else self._at
            if not self._text.startswith(("//", "/*", "#"), self._at):
                return self._text[self._at : self._at + 1]
            self._report(self._at, faults.COMMENT)
            self._at = self._comment_end()

    def _comment_end(self) -> int:
        if self._text.startswith("/*", self._at):
            end = self._text.find("*/", self._at + 2)
            return end + 2 if end >= 0 else len(self._text)
        found = _LINE_REST.match(self._text, self._at)
        return found.end() if found else self._at

    def _report(self, offset: int, fault: Fault) -> None:
        self.findings.add(offset, fault, tuple(self._path))

    def _give_up(self, fault: Fault) -> NoReturn:
        self._report(self._at, fault)
        raise GaveUp
