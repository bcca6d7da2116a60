"""The scores that the sandbox has taken: in memory, and in a file outliving the process, if one is named."""

from __future__ import annotations

import json
import os
import threading
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from canarysync.errors import SetupError

_LINE_START = b'{"uuid": "'


@dataclass(frozen=True, slots=True)
class StoredScore:
    """One score: the assessment as the request's path named it, and the request's body, byte for byte."""

    uuid: str
    assessment_id: str
    body: bytes = field(repr=False)


class Store:
    """Append-only and thread-safe. With a ``path``, each score is a line of JSON there, before its answer.

    A line reaches the operating system, if not the disk: it survives a killed process, not a power cut.
    """

    def __init__(self, path: Path | None = None) -> None:
        """Reads the scores that ``path`` holds. SetupError: it holds something else, or cannot be used."""
        self._lock = threading.Lock()
        self._scores: dict[str, StoredScore] = {}
        self._by_assessment: dict[str, list[StoredScore]] = {}
        self._path = path
        for score in _load(path) if path else ():
            self._remember(score)

    def add(self, assessment_id: str, body: bytes) -> StoredScore:
        """Takes a score. Nothing is compared: the same one twice is two scores, as API.md has it."""
        score = StoredScore(str(uuid.uuid4()), assessment_id, body)
        with self._lock:
            if self._path:
                _append(self._path, score)
            self._remember(score)
        return score

    def get(self, score_uuid: str) -> StoredScore | None:
        """The score with this uuid, whatever its case."""
        with self._lock:
            return self._scores.get(score_uuid.lower())

    def of_assessment(self, assessment_id: str) -> tuple[StoredScore, ...]:
        """The scores of one assessment, oldest first. The case of a UUID does not matter (RFC 9562 §4)."""
        with self._lock:
            return tuple(self._by_assessment.get(assessment_id.lower(), ()))

    def all(self) -> tuple[StoredScore, ...]:
        """Every score, oldest first."""
        with self._lock:
            return tuple(self._scores.values())

    def _remember(self, score: StoredScore) -> None:
        self._scores[score.uuid] = score
        self._by_assessment.setdefault(score.assessment_id.lower(), []).append(score)


def _append(path: Path, score: StoredScore) -> None:
    line = {"uuid": score.uuid, "assessmentId": score.assessment_id, "body": score.body.decode()}
    # Unbuffered, so one line is one write: a killed process leaves a whole line, or a torn last one.
    with path.open("ab", buffering=0) as file:
        file.write(json.dumps(line).encode() + b"\n")


def _load(path: Path) -> list[StoredScore]:
    """The scores in a store file. A torn last line was never answered for; it is cut off.

    Nothing is cut from a file that no sandbox wrote.
    """
    try:
        path.touch()
        whole, newline, torn = path.read_bytes().rpartition(b"\n")
        scores = [_read_line(line) for line in whole.splitlines()]
        if not _LINE_START.startswith(torn[: len(_LINE_START)]):
            raise ValueError("the last line is no score")
        if torn:
            os.truncate(path, len(whole) + len(newline))
        return scores
    except OSError as error:
        raise SetupError("open the sandbox's store", str(path), error.strerror or "") from error
    except (ValueError, KeyError, TypeError) as error:
        hint = "name a new file, or one that a sandbox wrote"
        raise SetupError("read the sandbox's store", str(path), "not a file of scores", hint) from error


def _read_line(line: bytes) -> StoredScore:
    kept = json.loads(line)
    return StoredScore(kept["uuid"], kept["assessmentId"], bytes(kept["body"], "utf-8"))
