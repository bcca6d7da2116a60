"""Bytes to text. JSON between systems is UTF-8 (RFC 8259 §8.1); a score file in YAML is held to the same."""

from __future__ import annotations

from canarysync.model import Problem
from canarysync.parse.source import Lines

_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16_BOMS = (
    b"\xff\xfe",
    b"\xfe\xff",
    b"\x00\x00\xfe\xff",
)  # UTF-32's little-endian mark begins like UTF-16's
_SAVE_AS_UTF8 = "Save the file as UTF-8 (in a spreadsheet or editor: an option of Save as)."


def decode(data: bytes) -> str | Problem:
    """The text in ``data`` without one leading byte order mark, or why there is none."""
    if not data:
        return Problem("The file is empty.", line=1, column=1, expected="one score", hint="Export it again.")
    if not data.strip(b"\0"):
        return _not_utf8("The file holds NUL bytes and no text.", "It was not written to its end: export it again.")
    # ASCII text in UTF-16 or UTF-32 has a NUL among its first four bytes; a JSON or YAML text never has.
    if data.startswith(_UTF16_BOMS) or b"\0" in data[:4]:
        return _not_utf8("The text is encoded as UTF-16 or UTF-32, not as UTF-8.", _SAVE_AS_UTF8)
    data = data.removeprefix(_UTF8_BOM)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        return _bad_byte(data, error)
    if not text.strip(" \t\r\n"):
        return Problem(
            "The file has nothing but blank space.",
            line=1,
            column=1,
            expected="one score",
            hint="Export it again.",
        )
    return text


def _bad_byte(data: bytes, error: UnicodeDecodeError) -> Problem:
    before = data[: error.start].decode("utf-8")
    place = Lines(before).position(len(before))
    if error.end == len(data) and error.reason == "unexpected end of data":
        message, hint = "The file ends in the middle of a character.", "It may be cut short: export it again."
    else:
        message = "A byte that is not UTF-8 stands here."
        hint = "The file is probably encoded as Windows-1252 or Latin-1. " + _SAVE_AS_UTF8
    return _not_utf8(message, hint, place.line, place.column)


def _not_utf8(message: str, hint: str, line: int = 1, column: int = 1) -> Problem:
    return Problem(message, line=line, column=column, expected="text in UTF-8", hint=hint)
