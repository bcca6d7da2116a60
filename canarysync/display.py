"""Text from outside (file names, server words) made safe for logs and terminals."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping

_BREAK = re.compile(r" (?!(?<=[0-9] )(?:s|min|h|days|bytes|[KMGT]iB)\b)")
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


def counted(counts: Mapping[str, int]) -> str:
    """``2 invalid, 1 refused``."""
    return ", ".join(f"{count:,} {shown(what).replace('_', ' ')}" for what, count in sorted(counts.items()))


def short(text: str, most: int) -> str:
    """``text`` in at most so many columns, cut in its middle: names differ at both ends."""
    if columns(text) <= most:
        return text
    head = tail = ""
    for front, back in zip(text, reversed(text), strict=True):
        if columns(head + front + back + tail) + 1 > most:
            break
        head, tail = head + front, back + tail
    return f"{head}…{tail}"


def columns(text: str) -> int:
    """How many columns of a terminal ``text`` takes (UAX #11; what joins other characters takes none)."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(character) else 1 + (unicodedata.east_asian_width(character) in "WF")
        for character in text
    )


def wrapped(text: str, first: str, rest: str, width: int | None) -> str:
    """``text`` after ``first``, broken at spaces into lines of at most ``width`` columns, the others after ``rest``;
    never between a number and its unit. In one line where there is no width (no terminal)."""
    if width is None:
        return first + text
    begin, *words = _BREAK.split(text)
    lines, used = [first + begin], columns(first + begin)
    for word in words:
        if used + 1 + columns(word) > width:
            lines.append(rest + word)
            used = columns(rest + word)
        else:
            lines[-1] += f" {word}"
            used += 1 + columns(word)
    return "\n".join(lines)
