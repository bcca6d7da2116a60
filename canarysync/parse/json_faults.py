"""What to say about text that is not JSON (RFC 8259): a message, what was expected, and a hint. No values."""

from __future__ import annotations

from canarysync.model import Position
from canarysync.parse.source import Fault

COMMENT = Fault("JSON has no comments.", "Delete the comment, or save the file as YAML (.yaml).", "no comment")
TRAILING_COMMA = Fault("A comma stands after the last member.", "Delete this comma.", "another member after a comma")
LINE_BREAK_IN_STRING = Fault(
    "A string runs over the end of its line.",
    "Close the string with a quote on the same line, or write \\n for a line break that belongs to it.",
    "a closing quote",
)
_SMALL_LETTERS = Fault(
    "JSON spells true, false and null in small letters.",
    "Write true, false or null; or quote it if it is a text.",
    "true, false or null",
)
_NULL = Fault("JSON has no such word for a missing value.", "Write null; or quote it if it is a text.", "null")
OTHER_LITERALS = {
    **dict.fromkeys(("True", "TRUE", "False", "FALSE", "Null", "NULL"), _SMALL_LETTERS),
    **dict.fromkeys(("None", "NONE", "none", "undefined", "nil"), _NULL),
}

_CONTROLS = {"\t": "\\t", "\b": "\\b", "\f": "\\f"}
_CURLY_QUOTES = frozenset("\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb")
_INVISIBLE = frozenset("\u00a0\u200b\u200c\u200d\u2028\u2029\u2060\ufeff\u0085\u3000\f\v")


def cut_short(what: str, opened: Position) -> Fault:
    """The text ends within ``what``, which begins at ``opened``."""
    return Fault(
        f"The file ends in the middle of {what}, which begins on line {opened.line}, column {opened.column}.",
        "The file may be cut short: export it again; or close what is open.",
        "more text",
    )


def after_the_end(char: str) -> Fault:
    """``char`` stands after the value that is the whole document (RFC 8259 §2)."""
    if char in "]}":
        return Fault("A closing bracket stands here that nothing opened.", "Delete it.", "the end of the file")
    return Fault(
        "There is more text after the end of the value.",
        "A file holds one score: write each score to a file of its own.",
        "the end of the file",
    )


def no_comma(char: str, close: str) -> Fault:
    """``char`` stands where a comma or the bracket ``close`` should."""
    expected = f"a comma or {close}"
    if char in "]}":
        return Fault("This closing bracket does not match the opening one.", f"Write {close} here.", expected)
    if char == ":" and close == "]":
        return Fault("A colon stands in an array.", "Use { } around keys and values.", expected)
    return Fault("A comma is missing before this.", _char_hint(char) or "Write a comma between members.", expected)


def no_key(char: str, opened: Position) -> Fault:
    """``char`` stands where a key in quotes should; the object begins at ``opened``."""
    expected = "a key in double quotes"
    if char == "":
        return cut_short("an object", opened)
    if char == ",":
        return Fault("A comma stands where a key should.", "Delete this comma.", expected)
    if char.isdigit():
        hint = "A decimal comma? Write a point, as in 3.10."
        return Fault("A number stands where a key should.", hint, expected)
    return Fault("A key must be in double quotes.", _char_hint(char) or "Write the key in double quotes.", expected)


def no_colon(char: str) -> Fault:
    """``char`` stands where the colon after a key should."""
    if char == "":
        return Fault("The file ends after a key.", "The file may be cut short: export it again.", "a colon")
    hint = "Write : in place of =." if char == "=" else _char_hint(char)
    return Fault("A colon is missing after the key.", hint or "Write a colon between key and value.", "a colon")


def no_value(char: str, is_word: bool) -> Fault:
    """``char`` stands where a value should; ``is_word`` if it begins a text without quotes."""
    expected = "a value"
    if char == "":
        return Fault(
            "The file ends where a value should stand.",
            "The file may be cut short: export it again.",
            expected,
        )
    if char in ",]}":
        return Fault("A value is missing here.", "Write a value (null if there is none).", expected)
    if hint := _char_hint(char):
        return Fault("This is not how a JSON value begins.", hint, expected)
    if is_word:
        return Fault("This is not a JSON value.", "Write a text in double quotes.", expected)
    return Fault("This is not how a JSON value begins.", "", expected)


def control_character(char: str) -> Fault:
    """``char``, below U+0020, stands in a string (RFC 8259 §7)."""
    escape = _CONTROLS.get(char, f"\\u{ord(char):04x}")
    return Fault("A control character stands in a string.", f"Write it as {escape}.", "an escape")


def bad_escape(char: str) -> Fault:
    """``char`` follows a backslash in a string, and does not make an escape with it (RFC 8259 §7)."""
    if char == "u":
        return Fault("The escape \\u needs four hexadecimal digits.", "As in \\u00e9.", "four digits of 0-9, a-f")
    hint = "Write \\\\ for a backslash, as in a Windows path; \\u00XX for a character by its code."
    return Fault(
        "This backslash begins no escape that JSON knows.",
        hint,
        'one of \\" \\\\ \\/ \\b \\f \\n \\r \\t \\u',
    )


def _char_hint(char: str) -> str:
    if char == "'":
        return 'JSON uses double quotes ("), not single ones.'
    if char in _CURLY_QUOTES:
        return 'Write straight double quotes (") in place of typographic ones.'
    if char in _INVISIBLE:
        return f"Delete the invisible character U+{ord(char):04X} that stands here."
    return ""
