"""What the soak campaign drops: score files of every sort, and what has to come of each."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from canarysync.model import Code
from canarysync.sandbox.api import UNKNOWN_ASSESSMENT
from tests.support import score

MAX_SIZE_BYTES = 4096
"""The routes' ``max_size``: what is larger goes to failed/ unread."""

SCORES_PER_ASSESSMENT = 20
"""As many sessions of one patient; a listing stays as short as it would be."""


class Sort(StrEnum):
    """What is special about a file."""

    GOOD = "good"
    TWIN = "twin"  # a score that was dropped before, under another name or in another spelling
    SYNTAX = "syntax"
    INVALID = "invalid"
    TOO_LARGE = "too large"
    UNSAFE = "unsafe"
    REFUSED = "refused"


_SHARES = {
    Sort.GOOD: 900,
    Sort.TWIN: 50,
    Sort.SYNTAX: 10,
    Sort.INVALID: 10,
    Sort.TOO_LARGE: 5,
    Sort.UNSAFE: 5,
    Sort.REFUSED: 20,
}
"""How many of a thousand files are of each sort."""

_CODES = {
    Sort.SYNTAX: Code.SYNTAX,
    Sort.INVALID: Code.INVALID,
    Sort.TOO_LARGE: Code.TOO_LARGE,
    Sort.UNSAFE: Code.UNSAFE,
    Sort.REFUSED: Code.REFUSED,
}


@dataclass(frozen=True, slots=True)
class Drop:
    """One file to be dropped. ``number`` is that of its score; ``content`` of an unsafe one is a link's target.

    ``in_place``: written in two parts under its own name; else renamed in.
    """

    route: str
    name: str
    sort: Sort
    number: int
    content: bytes
    in_place: bool

    @property
    def code(self) -> Code | None:
        """The code that it has to end in failed/ with; None if it has to end in done/."""
        return _CODES.get(self.sort)


class Files:
    """All files of a campaign, the same ones for the same ``seed``."""

    def __init__(self, count: int, seed: int, routes: tuple[str, ...]) -> None:
        self._count = count
        self._seed = seed
        self._routes = routes

    def __iter__(self) -> Iterator[Drop]:
        random, good = Random(f"{self._seed} files"), [0]
        for number in range(self._count):
            sort = random.choices(list(_SHARES), _SHARES.values())[0] if number else Sort.GOOD
            score_number = random.choice(good) if sort is Sort.TWIN else number
            if sort is Sort.GOOD:
                good.append(number)
            yield self._drop(number, sort, score_number, random)

    def score(self, number: int) -> dict[str, object]:
        """The score of that number. No two are of one assessment, kind and second: near ones would be held."""
        assessment = uuid.uuid5(uuid.NAMESPACE_OID, f"{self._seed} {number // SCORES_PER_ASSESSMENT}")
        return score(number, assessmentId=str(assessment))

    def _drop(self, file: int, sort: Sort, number: int, random: Random) -> Drop:
        content = self.score(number)
        if sort is Sort.REFUSED:
            content["assessmentId"] = UNKNOWN_ASSESSMENT
        if sort is Sort.INVALID:
            del content[random.choice(list(content))]
        yaml = sort is not Sort.SYNTAX and random.random() < 0.3
        text = _spelled(content, number, yaml, random)
        if sort is Sort.SYNTAX:
            text = text[: random.randrange(1, len(text))]
        if sort is Sort.TOO_LARGE:
            text = " " * MAX_SIZE_BYTES + text  # in front, so that no first part of it is a whole score
        if sort is Sort.UNSAFE:
            text = "no/such/file"
        name = f"visit-{file:05}.{random.choice(('yaml', 'yml', 'YAML')) if yaml else random.choice(('json', 'JSON'))}"
        in_place = sort is not Sort.UNSAFE and random.random() < 0.5
        return Drop(random.choice(self._routes), name, sort, number, text.encode(), in_place)


def _spelled(content: dict[str, object], number: int, yaml: bool, random: Random) -> str:
    """One of the many ways to write a score. JSON ends with its brace: its first part is never a whole score."""
    members = list(content.items())
    random.shuffle(members)
    if yaml:
        text = "".join(f"{key}: {json.dumps(value)}\n" for key, value in members)
    else:
        text = json.dumps(dict(members), indent=random.choice((None, 1, 4)))
    decimal = random.choice((f"{number}", f"{number}.0", f"{number}.00e0"))
    return text.replace(f'"value": {number}', f'"value": {decimal}')
