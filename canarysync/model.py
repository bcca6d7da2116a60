"""The words of canarysync (README, "Words") as frozen values: no behaviour, no IO."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Number:
    """A number in its file's own spelling, by the grammar of RFC 8259 §6: ``Number("1.10")``."""

    text: str


JsonValue = None | bool | str | Number | list["JsonValue"] | dict[str, "JsonValue"]
"""A document as it was read. Numbers keep their spelling; plain ``int`` and ``float`` never appear."""

Path = tuple[str | int, ...]
"""Where a value stands in a document: object keys and array indexes, from the top. ``()`` is the whole document."""


class Syntax(StrEnum):
    """How a file is to be read; chosen by its suffix."""

    JSON = "json"
    YAML = "yaml"


@dataclass(frozen=True, slots=True)
class Position:
    """A place in a text file. Both count from 1; columns count characters, not bytes."""

    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Document:
    """One parsed file: its value, and the text that it was read from (without a BOM)."""

    value: JsonValue
    syntax: Syntax
    text: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Places:
    """Where the values of a document begin, and where the keys of its objects do.

    ``keys`` is indexed by the path of the value that the key leads to.
    """

    values: Mapping[Path, Position]
    keys: Mapping[Path, Position]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing wrong with a file, told without quoting any value from it.

    ``path`` is a JSON Pointer (RFC 6901), ``""`` for the whole document. ``line`` and ``column`` are None
    where a place has no meaning (an unreadable file).
    """

    message: str
    path: str = ""
    line: int | None = None
    column: int | None = None
    expected: str = ""
    hint: str = ""


class Code(StrEnum):
    """Why a file went to failed/ (the sidecar's ``code``)."""

    SYNTAX = "syntax"
    INVALID = "invalid"
    TOO_LARGE = "too_large"
    UNREADABLE = "unreadable"
    UNSAFE = "unsafe"
    REFUSED = "refused"
    GAVE_UP = "gave_up"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Our own verdict on a file that the API never saw: all its problems at once, in file order."""

    code: Code
    message: str
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class Identity:
    """What makes a score the same score (README, "The same score"). All three are hex SHA-256.

    ``fingerprint`` is exact; ``match_key`` survives what the API may do to a score (times cut to the
    millisecond, numbers as doubles, an empty extraData dropped); ``near_key`` is shared by scores of one
    assessment with the same scoreId and scoreType, in whatever case, and the same second.
    """

    fingerprint: str
    match_key: str
    near_key: str


@dataclass(frozen=True, slots=True)
class Score:
    """One score, ready to be sent. ``body`` is the JSON request body (UTF-8), values exactly as written."""

    assessment_id: str
    score_id: str
    identity: Identity
    body: bytes = field(repr=False)


class Signature(NamedTuple):
    """What a stat says of a file's content; two equal ones, a quiet period apart, mean that it is settled."""

    size_bytes: int
    mtime_ns: int
    inode: int
    device: int


class Kind(StrEnum):
    """What stands under a name in the drop folder."""

    FILE = "file"
    UNSAFE = "unsafe"
    MISSING = "missing"
    UNREADABLE = "unreadable"


class Observation(NamedTuple):
    """One look at one candidate. ``signature`` is None unless ``kind`` is FILE. ``seen_at_s`` is monotonic."""

    name: str
    kind: Kind
    seen_at_s: float
    signature: Signature | None = None


@dataclass(frozen=True, slots=True)
class Moment:
    """What the clocks say: the wall clock ``at`` (aware UTC), which may be set, and the one that counts the seconds
    since the boot with the id ``boot`` ("" where that is not known), which may not."""

    at: datetime
    boot: str
    boot_s: float


class State(StrEnum):
    """The state of one entry. The legal changes stand in ledger.py."""

    INTENDED = "intended"
    IN_DOUBT = "in_doubt"
    DEFERRED = "deferred"
    UPLOADED = "uploaded"
    DUPLICATE = "duplicate"
    REJECTED = "rejected"
    REFUSED = "refused"
    GAVE_UP = "gave_up"
    WITHDRAWN = "withdrawn"
    REPLACED = "replaced"


class Held(StrEnum):
    """Why a score in doubt is for a person."""

    NEAR = "near"
    UNANSWERABLE = "unanswerable"
    OWNED = "owned"
    UNREADABLE = "unreadable"
    ORPHANED = "orphaned"


class Proof(StrEnum):
    """How we know that a score is at the API: the answer to our own request, a look afterwards, a person's word."""

    RESPONSE = "response"
    READ_BACK = "read-back"
    PERSON = "person"


SEND_AGAIN = "send-again"
"""What a person may decide of a score in doubt; the other way is the uuid that it has at the API."""


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token. From ``renew_at`` on another one should be fetched; None when only the API knows."""

    secret: str = field(repr=False)
    renew_at: datetime | None = None
