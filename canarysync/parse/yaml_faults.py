"""What to say about YAML that is well formed and still no score file: a message, a hint. No values."""

from __future__ import annotations

from canarysync.model import JsonValue, Number
from canarysync.parse.source import Fault

TOLD_WHERE_IT_BEGAN = frozenset(
    {"found unexpected end of stream", "found unexpected document indicator", "could not find expected ':'"}
)
"""The errors of libyaml that help more where the unclosed thing begins than where its end was missed."""

NO_DOCUMENT = Fault("The file has nothing but comments.", "Write the score, or remove the file.", "one score")
SECOND_DOCUMENT = Fault(
    "A second document begins here (after a line ---).",
    "A file holds one score: write each score to a file of its own.",
    "one document",
)
YAML_1_1 = Fault(
    "The file says that it is YAML 1.1; it would be read as YAML 1.2.",
    "Delete the %YAML line, and quote yes, no, on, off and times if they are meant as texts.",
    "YAML 1.2",
)
MERGE_KEY = Fault(
    "The merge key << is YAML 1.1, and has no meaning in YAML 1.2.",
    'Write the merged keys out; or write "<<" in quotes if it is meant literally.',
    "a key of the score",
)
UNDEFINED_ALIAS = Fault(
    "A value begins with *, which makes it an alias, and no anchor (&) of that name stands before it.",
    "Quote the value if the * belongs to it.",
    "an anchor before its alias",
)
ODD_NAME = Fault(
    "A value begins with & or *, which makes an anchor or alias, and its name has more in it than it may.",
    "Quote the value if the & or * belongs to it.",
    "a name of letters, digits, - and _",
)
QUESTION_MARK = Fault(
    "A question mark stands right before a text within brackets.",
    "Quote the text if the ? belongs to it.",
    "quotes around this text",
)
RECURSIVE_ALIAS = Fault(
    "This alias stands inside the value that it refers to.", "Write the value out.", "no recursive alias"
)
TOO_MUCH_ALIASED = Fault(
    "The aliases in this file, written out, make it too large to be a score.",
    "Write the values out in place of the aliases (*).",
    "fewer or smaller aliases",
)


def key_is_no_string(key: JsonValue) -> Fault:
    """A key must be a string, as in JSON. The hint says what YAML reads ``key`` as."""
    return Fault(
        f"A key must be a text; YAML reads this one as {_kind(key)}.",
        "Put the key in quotes.",
        "a key in quotes",
    )


def _kind(value: JsonValue) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, Number):
        return "a number"
    return "a list" if isinstance(value, list) else "a mapping"
