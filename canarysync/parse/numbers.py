"""How JSON spells a number (RFC 8259 §6), and what to say when it is spelled otherwise."""

from __future__ import annotations

import re

from canarysync.parse.source import MAX_NUMBER_CHARS, Fault

JSON_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?(?:[eE][+-]?[0-9]++)?")

TOO_LONG = Fault(
    f"This number has more than {MAX_NUMBER_CHARS} characters, which is longer than canarysync reads.",
    "Round it, or quote it if it is a text.",
    f"at most {MAX_NUMBER_CHARS} characters",
)

_QUOTE = "or quote it if it is a text."
# The first pattern that matches the whole literal tells what is wrong with it, and how JSON would write it.
# Possessive (++, *+), so that a literal as long as the file is matched in one pass.
_OTHER_SPELLINGS = tuple(
    (re.compile(pattern), message, hint)
    for pattern, message, hint in (
        (
            r"[-+]?\.?(?:nan|inf|infinity)",
            "JSON has no number for infinity or not-a-number.",
            "Write null or leave the value out, where the score allows that, " + _QUOTE,
        ),
        (
            r"[-+]?0(?:x[0-9a-f]++|o[0-7]++|b[01]++)",
            "JSON has no hexadecimal, octal or binary numbers.",
            "Write the number in decimal, " + _QUOTE,
        ),
        (
            r"\+(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:e[-+]?[0-9]++)?",
            "A JSON number has no plus sign in front.",
            "Leave out the plus sign, " + _QUOTE,
        ),
        (
            r"-?0[0-9]++(?:\.[0-9]*+)?(?:e[-+]?[0-9]++)?",
            "This number has leading zeros, which JSON does not allow.",
            "Leave out the leading zeros, or quote it if they matter, as in an id or a code.",
        ),
        (
            r"-?\.[0-9]++(?:e[-+]?[0-9]++)?",
            "A JSON number has a digit before the decimal point.",
            "Write a 0 before the point, " + _QUOTE,
        ),
        (
            r"-?[0-9]++\.(?:e[-+]?[0-9]++)?",
            "A JSON number has a digit after the decimal point.",
            "Leave out the point or write a 0 after it, " + _QUOTE,
        ),
        (
            r"-?[0-9]++(?:\.[0-9]++)?e[-+]?",
            "The exponent of this number has no digits.",
            "Write digits after the e, " + _QUOTE,
        ),
    )
)


def check_length(literal: str) -> Fault | None:
    """A fault when ``literal`` is longer than ``MAX_NUMBER_CHARS``."""
    return TOO_LONG if len(literal) > MAX_NUMBER_CHARS else None


def misspelling(literal: str) -> Fault | None:
    """What is wrong with a number that JSON spells otherwise; None if ``literal`` is not like one."""
    lowered = literal.lower()
    for pattern, message, hint in _OTHER_SPELLINGS:
        if pattern.fullmatch(lowered):
            return Fault(message, hint, "a number as JSON spells it")
    return None
