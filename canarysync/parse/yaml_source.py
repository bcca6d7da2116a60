"""Text made ready for libyaml, whose scanner is YAML 1.1 about some characters; its errors in our words."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain

from canarysync.parse.source import Fault

# Outside c-printable (YAML 1.2.2 §5.1), and not allowed within quotes either (nb-json, §5.1).
_FORBIDDEN = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
# NEL, LS, PS, a BOM, DEL, C1 controls: fine within quotes, yet libyaml breaks a line there or refuses them.
_ODD = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
# libyaml compares every new %TAG with all before it; nobody needs more than one or two.
_TAG_DIRECTIVE = re.compile(r"%TAG(?<![^\r\n]%TAG)")  # at the start of a line; begins with what is quickly looked for
_MAX_TAG_DIRECTIVES = 100

_BAD_INDENTATION = Fault(
    "The indentation does not fit the lines before.", "Indent all members of one level by the same spaces."
)
_TABS = Fault("A tab stands where YAML wants spaces.", "Indent with spaces only.", "spaces")
_NOT_CLOSED = Fault("A quoted text is not closed.", "Add the closing quote; or the file is cut short.", "a quote")
_NO_KEY = Fault(
    "A key should stand here.",
    "Indent all keys of one level by the same spaces; and put nothing after a closing quote or bracket.",
    "a key",
)
_EMPTY_KEY = Fault("A key is missing before this colon.", "Write a key in front of it.", "a key")
_NO_COLON = Fault("A key has no colon after it.", "Write a colon and a space after the key.", "a colon and a space")
_BRACKET = Fault(
    "A bracket is not closed, or a comma is missing before this.",
    "Put commas between members, and close the bracket; or the file is cut short.",
)
_START = Fault(
    "A value may not begin with this character.", "Quote the value if the character belongs to it.", "a value"
)
_DIRECTIVE = Fault(
    "A line that begins with % is a directive, and this one is not right.",
    "Delete the line; or quote the value if the % belongs to it.",
)
_TAG = Fault(
    "A value begins with !, which makes a tag, and this one is not right.",
    "Delete the tag; or quote the value if the ! belongs to it.",
)
_ANCHOR = Fault(
    "A value begins with & or *, which makes an anchor or alias, and this one is not right.",
    "Quote the value if the & or * belongs to it.",
)
_BLOCK_HEADER = Fault("The line with | or > has more on it than it may.", "Write the text on the next lines, indented.")
_ESCAPE = Fault(
    "A backslash in double quotes begins an escape that YAML does not know.",
    "Write \\\\ for a backslash, use single quotes, or write the character itself.",
)
# libyaml's "problem" texts are constants of its scanner.c and parser.c: they hold no text from the file.
_BY_PROBLEM = {
    "mapping values are not allowed in this context": Fault(
        "A colon stands where no key can be.",
        "Quote a text that holds a colon; and indent all keys of one level by the same spaces.",
    ),
    "could not find expected ':'": _NO_COLON,
    "did not find expected key": _NO_KEY,
    "did not find expected '-' indicator": _BAD_INDENTATION,
    "block sequence entries are not allowed in this context": _BAD_INDENTATION,
    "mapping keys are not allowed in this context": _BAD_INDENTATION,
    "found a tab character that violates indentation": _TABS,
    "found a tab character where an indentation space is expected": _TABS,
    "found unexpected end of stream": _NOT_CLOSED,
    "found unexpected document indicator": _NOT_CLOSED,
    "did not find expected ',' or ']'": _BRACKET,
    "did not find expected ',' or '}'": _BRACKET,
    "did not find expected node content": Fault(
        "A value is missing here.",
        "Write the value, or close the bracket; or the file is cut short.",
        "a value",
    ),
    "did not find expected <document start>": Fault(
        "There is more text after the end of the value.",
        "A file holds one score: quotes and brackets close once.",
    ),
    "found character that cannot start any token": _START,
    "found unknown escape character": _ESCAPE,
    "did not find expected hexdecimal number": _ESCAPE,
    "found invalid Unicode character escape code": Fault(
        "This escape is no character by itself.",
        "Write the character itself, or \\U and eight hexadecimal digits.",
    ),
    "did not find expected alphabetic or numeric character": _ANCHOR,
    "found an indentation indicator equal to 0": _BLOCK_HEADER,
    "found incompatible YAML document": Fault("The file asks for another YAML.", "Delete the %YAML line.", "YAML 1.2"),
}
_BY_CONTEXT = {
    "while scanning a directive": _DIRECTIVE,
    "while scanning a %YAML directive": _DIRECTIVE,
    "while scanning a %TAG directive": _DIRECTIVE,
    "while scanning a block scalar": _BLOCK_HEADER,
    "while scanning a tag": _TAG,
    "while parsing a tag": _TAG,
    "while parsing a node": _TAG,
}
_OTHERWISE = Fault("This is not valid YAML.", "Compare the lines around it with a file that works.")


@dataclass(frozen=True, slots=True)
class Prepared:
    """Text in which stand-ins, of one character each, replace what libyaml would take amiss."""

    text: str
    stand_ins: dict[int, str]
    """Stand-in → the character itself, for ``str.translate``."""

    def restore(self, part: str) -> str:
        return part.translate(self.stand_ins) if self.stand_ins else part

    def odd_character(self, part: str) -> Fault | None:
        """A fault if ``part``, which stands without quotes, holds one of the replaced characters."""
        if not self.stand_ins:
            return None
        found = next((self.stand_ins[ord(char)] for char in part if ord(char) in self.stand_ins), None)
        return _unquoted(found) if found else None


def prepare(text: str) -> Prepared:
    """Choose stand-ins that do not occur in ``text``. Offsets stay right: each replaces one character."""
    odd = sorted(set(_ODD.findall(text)))
    if not odd:
        return Prepared(text, {})
    used = set(text)
    # Private use first (Unicode §23.5); the rest only for a text that uses all of those.
    unused = (code for code in chain(range(0xE000, 0xF900), range(0x10000, 0x110000)) if chr(code) not in used)
    stand_ins = dict(zip(unused, odd, strict=False))
    return Prepared(text.translate({ord(char): code for code, char in stand_ins.items()}), stand_ins)


def unreadable(text: str) -> Iterator[tuple[int, Fault]]:
    """What no YAML text may hold, by offset: looked for before libyaml, which stops at the first."""
    for found in _FORBIDDEN.finditer(text):
        yield (
            found.start(),
            Fault(
                f"The control character U+{ord(found[0]):04X} may not stand in a YAML file.",
                f'Delete it; or write it as "\\x{ord(found[0]):02x}" in double quotes.',
            ),
        )
    for number, found in enumerate(_TAG_DIRECTIVE.finditer(text)):
        if number == _MAX_TAG_DIRECTIVES:
            yield (
                found.start(),
                Fault(f"There are more than {number} %TAG lines.", "Delete them.", "no %TAG line"),
            )


def grammar_fault(problem: str | None, context: str | None, char: str) -> Fault:
    """libyaml's error in our words. ``char`` stands where it was found; empty at the end of the text."""
    if char == "\t":
        return _TABS
    if char == ":" and problem == "did not find expected key":
        return _EMPTY_KEY
    by_context = _BY_CONTEXT.get(context or "", _OTHERWISE)
    return _BY_PROBLEM.get(problem or "", by_context)


def _unquoted(char: str) -> Fault:
    return Fault(
        f"The character U+{ord(char):04X} stands in a text without quotes.",
        "Delete it if it is there by mistake; or put the text in double quotes.",
        "quotes around this text",
    )
