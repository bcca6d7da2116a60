"""What the files hold that may be sent now: each read once, judged, and on disk. Many together, so that they share the
sync; and those, the process that makes the requests may examine (sender.py): here, one core has its hands full."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any, NamedTuple

from canarysync import durable
from canarysync.model import Identity, Rejection, Score, Signature, Syntax
from canarysync.parse import parse
from canarysync.reading import NO_FSYNC, Content, open_safely, read_open
from canarysync.validate import validate

MOST_BYTES = 64 << 10
"""No larger file is examined this way: together they would be too much to hold."""

MANY = 8
"""For fewer files it does not pay to ask another process."""


class Question(NamedTuple):
    """A regular file; ``most_bytes``: what its route takes."""

    path: str
    most_bytes: int
    syntax: Syntax


class Good(NamedTuple):
    """It is a valid score, and what was read of it is on disk."""

    content: Content
    score: Score


class Unsynced(NamedTuple):
    """It could not be synced; the number of the error. Whoever asks is not to try that again at once: the kernel tells
    of such an error once, and calls the next fsync a success."""

    code: int


Found = Good | Unsynced | None
"""None where a file is not good, or cannot be read, or knows no fsync: then whoever asks finds out why."""

Examine = Callable[[Sequence[Question]], Sequence[Found]]


def examine(questions: Sequence[Question]) -> list[Found]:
    """Examine them here."""
    with ExitStack() as stack:
        opened: list[tuple[int, Good | None]] = []
        for question in questions:
            try:
                fd = open_safely(question.path)
            except OSError:
                opened.append((-1, None))
            else:
                stack.callback(os.close, fd)
                opened.append((fd, _good(fd, question)))
        failed = durable.sync_files([fd for fd, good in opened if good is not None])
        return [_unsynced(failed[fd]) if fd in failed else good for fd, good in opened]


def _good(fd: int, question: Question) -> Good | None:
    try:
        content = read_open(fd, min(question.most_bytes, MOST_BYTES))
        if not isinstance(content, Content):
            return None
        document = parse(content.data, question.syntax)
        score = document if isinstance(document, Rejection) else validate(document)
    except Exception:  # trouble with the file, or a defect that it brings to light: no other file's matter
        return None
    return None if isinstance(score, Rejection) else Good(content, score)


def _unsynced(error: OSError) -> Unsynced | None:
    return None if error.errno is None or error.errno in NO_FSYNC else Unsynced(error.errno)


# --- in another process ------------------------------------------------------------------------------


def elsewhere(ask: Callable[[Any], Any]) -> Examine:
    """Have many examined in another process. ``ask`` gives plain values to ``answers`` there, and returns what that
    says; None where there is nobody to ask."""

    def examine_there(questions: Sequence[Question]) -> Sequence[Found]:
        values = None
        if len(questions) >= MANY:
            values = ask([(path, most_bytes, syntax.value) for path, most_bytes, syntax in questions])
        return examine(questions) if values is None else [_unpacked(each) for each in values]

    return examine_there


def answers(values: Sequence[tuple[str, int, str]]) -> list[Any]:
    """What to say, as plain values, to somebody who asks from another process."""
    questions = [Question(path, most_bytes, Syntax(syntax)) for path, most_bytes, syntax in values]
    return [_packed(found) for found in examine(questions)]


def _packed(found: Found) -> Any:
    if not isinstance(found, Good):
        return found and found.code
    content, score = found
    identity = score.identity
    return (
        (content.data, content.sha256, tuple(content.signature)),
        (identity.fingerprint, identity.match_key, identity.near_key),
        (score.assessment_id, score.score_id, score.body),
    )


def _unpacked(values: Any) -> Found:
    if values is None:
        return None
    if isinstance(values, int):
        return Unsynced(values)
    (data, sha256, signature), identity, (assessment_id, score_id, body) = values
    score = Score(assessment_id, score_id, Identity(*identity), body)
    return Good(Content(data, sha256, Signature(*signature)), score)
