"""The JSON beside a filed file: a receipt in done/, an error in failed/. Pure: values in, bytes out."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from canarysync.ledger import Entry
from canarysync.model import Code, Problem, Proof, State

VERSION = 1

_DROP_AGAIN = "drop it into the drop folder again; this sidecar goes when it has been uploaded."
_ADVICE = {
    Code.TOO_LARGE: f"Raise max_size in the configuration, or make the file smaller, then {_DROP_AGAIN}",
    Code.UNSAFE: f"Put the file itself, not a link to it, in its place: {_DROP_AGAIN}",
    Code.REFUSED: f"`response` is what the API says. Is assessmentId right, and of this region? Then {_DROP_AGAIN}",
    Code.GAVE_UP: f"Nothing is wrong with the file. When the API answers, {_DROP_AGAIN}",
}
_MEND = f"Mend the file and {_DROP_AGAIN}"


def receipt(entry: Entry, endpoint: str, score_id: str | None, *, missing: bool) -> bytes:
    """``done/NAME.receipt.json``. ``score_id`` is None when the file was gone before it could be told."""
    outcome = outcome_of(entry)
    content: dict[str, Any] = {
        "sidecarVersion": VERSION,
        "outcome": outcome,
        "uuid": entry.uuid,
        "assessmentId": entry.assessment_id,
        "scoreId": score_id,
        "file": entry.name,
        "sha256": entry.sha256,
        "proof": str(entry.proof),
        "attempts": entry.attempts,
        "uploadedAt": _time(entry.changed_at),
        "endpoint": endpoint,
        "entryId": entry.id,
        "scores": [_score(entry, outcome)],
    }
    if entry.possible_duplicate:
        content["possibleDuplicate"] = True
    if missing:
        content["fileMissing"] = True
    return _encode(content)


def error(entry: Entry, message: str, problems: tuple[Problem, ...], response: str | None, *, missing: bool) -> bytes:
    """``failed/NAME.error.json``. ``response`` is the server's own words, shortened, when it refused."""
    assert entry.code is not None
    content: dict[str, Any] = {
        "sidecarVersion": VERSION,
        "code": str(entry.code),
        "message": message,
        "advice": _ADVICE.get(entry.code, _MEND),
        "problems": [asdict(problem) for problem in problems],
        "status": entry.status,
        "response": response,
        "file": entry.name,
        "sha256": entry.sha256,
        "attempts": entry.attempts,
        "failedAt": _time(entry.changed_at),
        "entryId": entry.id,
        "scores": [_score(entry, str(entry.state))] if entry.identity else [],
    }
    if missing:
        content["fileMissing"] = True
    return _encode(content)


def outcome_of(entry: Entry) -> str:
    """``uploaded``, ``recovered`` (found by a read-back) or ``duplicate``."""
    if entry.state is State.DUPLICATE:
        return "duplicate"
    return "recovered" if entry.proof is Proof.READ_BACK else "uploaded"


def message_for(code: Code, status: int | None) -> str:
    """What an error sidecar says when nothing more is known, e.g. after a crash."""
    return {
        Code.TOO_LARGE: "The file is larger than the route's max_size; it was not read.",
        Code.UNSAFE: "This is no regular file (a link, a FIFO or a device); it was not opened.",
        Code.REFUSED: f"The API refused the score with HTTP status {status}.",
        Code.GAVE_UP: "The API did not take the score within the route's give_up_after.",
        Code.UNREADABLE: "The file could not be read.",
        Code.INVALID: "The file does not keep to the score schema.",
        Code.SYNTAX: "The file cannot be read as JSON or YAML.",
    }[code]


def _score(entry: Entry, outcome: str) -> dict[str, Any]:
    assert entry.identity is not None
    return {
        "fingerprint": entry.identity.fingerprint,
        "matchKey": entry.identity.match_key,
        "uuid": entry.uuid,
        "outcome": outcome,
    }


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _encode(content: dict[str, Any]) -> bytes:
    # A name that is not UTF-8 holds lone surrogates; backslashreplace spells them as JSON does.
    return (json.dumps(content, ensure_ascii=False, indent=2) + "\n").encode("utf-8", "backslashreplace")
