"""The JSON beside a filed file: a receipt in done/, an error in failed/. Pure: values to bytes, and back."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from json.encoder import encode_basestring
from typing import Any
from uuid import UUID

from canarysync.instant import for_programs
from canarysync.ledger import Entry, Past
from canarysync.model import Code, Identity, Problem, Proof, State

VERSION = 1
_HASH = re.compile(r"[0-9a-f]{64}")

_DROP_AGAIN = "drop it into the drop folder again; this sidecar goes when it has been uploaded."
_ADVICE = {
    Code.TOO_LARGE: f"Raise max_size in the configuration, or make the file smaller, then {_DROP_AGAIN}",
    Code.UNSAFE: f"Put the file itself, not a link to it, in its place: {_DROP_AGAIN}",
    Code.REFUSED: f"`response` is what the API says. Is assessmentId right, and of this region? Then {_DROP_AGAIN}",
    Code.GAVE_UP: f"Nothing is wrong with the file. When the API answers, {_DROP_AGAIN}",
}
_FAILED_STATES = {Code.REFUSED: State.REFUSED, Code.GAVE_UP: State.GAVE_UP}
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
        "uploadedAt": for_programs(entry.changed_at),
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
        "failedAt": for_programs(entry.changed_at),
        "entryId": entry.id,
        "scores": [_score(entry, str(entry.state))] if entry.identity else [],
    }
    if missing:
        content["fileMissing"] = True
    return _encode(content)


@dataclass(frozen=True, slots=True)
class Failure:
    """What an error sidecar says of its file. ``name``: the file's in the drop folder, None where it says none that a
    file can have. ``missing``: the file was gone before it could be filed. ``why``: what is wrong, the first of it."""

    code: Code
    at: datetime
    name: str | None
    missing: bool
    why: str = ""


def failure(content: bytes) -> Failure | None:
    """Read an error sidecar, which anybody may have written; None where it is none."""
    try:
        told = json.loads(content)
        code, at = Code(told["code"]), datetime.fromisoformat(told["failedAt"]).astimezone(UTC)
        missing, why = told.get("fileMissing") is True, _why(told)
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError, RecursionError):
        return None
    try:
        return Failure(code, at, _name(told.get("file")), missing, why)
    except ValueError:
        return Failure(code, at, None, missing, why)


def _why(told: dict[str, Any]) -> str:
    """The first problem with its hint, and how many more there are; or the message, where there is no problem."""
    first, *others = told.get("problems") or [{}]
    words = " ".join(str(part) for part in (first.get("message") or told.get("message"), first.get("hint")) if part)
    where = f"line {first['line']}: " if first.get("line") else ""
    return f"{where}{words}" + (f" (and {len(others)} more)" if others else "")


def past(content: bytes, target: str, route_id: str, endpoint: str) -> Past | None:
    """What a sidecar says of its entry, whose file has the name ``target`` there; None when it is none of ours, or the
    receipt of another API than that at ``endpoint``."""
    try:
        told = json.loads(content)
        ours = told["sidecarVersion"] == VERSION and told.get("endpoint", endpoint) == endpoint
        return _past(told, target, route_id) if ours else None
    except (ValueError, LookupError, TypeError, OverflowError, RecursionError):
        return None


def _past(told: dict[str, Any], target: str, route_id: str) -> Past:
    done, sha256, scores = "uploadedAt" in told, told["sha256"], told["scores"]
    code = None if done else Code(told["code"])
    found = Past(
        entry_id=_entry_id(told["entryId"]),
        route_id=route_id,
        name=_name(told["file"]),
        target=target,
        sha256=None if sha256 is None else _hash(sha256),
        state=State.UPLOADED if code is None else _FAILED_STATES.get(code, State.REJECTED),
        at=datetime.fromisoformat(told["uploadedAt" if done else "failedAt"]).astimezone(UTC),
        attempts=_count(told["attempts"]),
        code=code,
        status=None if told.get("status") is None else _count(told["status"]),
        possible_duplicate=told.get("possibleDuplicate") is True,
        missing=told.get("fileMissing") is True,
    )
    if not done and scores == []:
        return found
    # One near key is as good as another here: it is used to judge what is in doubt, and this is decided.
    identity = Identity(_hash(scores[0]["fingerprint"]), _hash(scores[0]["matchKey"]), "")
    uuid, proof = (_uuid(told["uuid"]), Proof(told["proof"])) if done else (None, None)
    assessment_id = _uuid(told["assessmentId"]) if done else ""
    return replace(found, identity=identity, assessment_id=assessment_id, uuid=uuid, proof=proof)


def _uuid(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return str(UUID(value))


def _entry_id(value: object) -> str:
    """A UUID version 7, as the ledger makes them: the others do not sort by time."""
    found = _uuid(value)
    if UUID(found).version != 7:
        raise ValueError
    return found


def _hash(value: object) -> str:
    if not isinstance(value, str) or not _HASH.fullmatch(value):
        raise ValueError
    return value


def _name(value: object) -> str:
    """A file name that the system can have, and that leads nowhere else."""
    if not isinstance(value, str) or value in ("", ".", "..") or "/" in value or "\0" in value:
        raise ValueError
    value.encode("utf-8", "surrogateescape")
    return value


def _count(value: object) -> int:
    if type(value) is not int or not 0 <= value < 1 << 31:
        raise ValueError
    return value


def outcome_of(entry: Entry) -> str:
    """``uploaded``, ``recovered`` (found after the answer was lost) or ``duplicate``."""
    if entry.state is State.DUPLICATE:
        return "duplicate"
    return "uploaded" if entry.proof is Proof.RESPONSE else "recovered"


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


def _encode(content: dict[str, Any]) -> bytes:
    # A name that is not UTF-8 holds lone surrogates; backslashreplace spells them as JSON does.
    return (_indented(content) + "\n").encode("utf-8", "backslashreplace")


def _indented(value: Any, line: str = "\n") -> str:
    """As ``json.dumps(value, ensure_ascii=False, indent=2)``, for which json leaves its C encoder. ``line`` begins a
    line where ``value`` stands."""
    if isinstance(value, str):
        return encode_basestring(value)
    if value and isinstance(value, dict):
        within = line + "  "
        members = [
            f'"{key}": {encode_basestring(item) if type(item) is str else _indented(item, within)}'
            for key, item in value.items()
        ]
        return "{" + within + f",{within}".join(members) + line + "}"
    if value and isinstance(value, list):
        within = line + "  "
        return "[" + within + f",{within}".join([_indented(item, within) for item in value]) + line + "]"
    return str(value) if type(value) is int else json.dumps(value)
