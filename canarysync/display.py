"""Text from outside (file names, server words) made safe for logs and terminals."""

from __future__ import annotations

import unicodedata

_HARMFUL = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def shown(text: str, most: int = 255) -> str:
    """``text`` with control, bidirectional and undecodable characters escaped, and cut after ``most``."""
    if text.isascii() and text.isprintable() and "\\" not in text:
        safe = text
    else:
        safe = "".join(_shown_character(character) for character in text)
    return safe if len(safe) <= most else safe[: most - 1] + "…"


def _shown_character(character: str) -> str:
    if character == "\\":
        return r"\\"
    if "\udc80" <= character <= "\udcff":  # surrogateescape: a byte of a name that is not UTF-8
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) in _HARMFUL:
        return character.encode("unicode_escape").decode("ascii")
    return character
