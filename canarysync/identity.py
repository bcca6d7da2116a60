"""When are two scores the same? Our own exact notion, and the one that survives the API (README, "The same score")."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as _quoted

from canarysync.instant import parse_instant
from canarysync.model import Identity, JsonValue, Number

KIND_DIGITS = 32
"""So many of the 64 digits of a near key are of the kind of score (assessment, scoreId, scoreType, in whatever case),
the others of its second."""

_NULL = "null"
_LITERALS = {None: _NULL, True: "true", False: "false"}
_MARK = "\0"  # what JSON escapes wherever a text has it

_NUMBER = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?", re.ASCII)


def identify(assessment_id: str, body: dict[str, JsonValue]) -> Identity:
    """The identity of one score. ``body`` is the request body, or a score as get-scores returns it.

    Members that put-score does not know (uuid, assessmentUUIDs) play no part in the match and near keys.
    """
    assessment = assessment_id.lower()
    recorded, score_id, score_type = body.get("dateRecorded"), body.get("scoreId"), body.get("scoreType")
    instant = parse_instant(recorded) if isinstance(recorded, str) else None
    kind = [part.casefold() if isinstance(part, str) else part for part in (assessment, score_id, score_type)]
    written = {key: _written(item) for key, item in body.items()}
    members = ",".join([f"{_quoted(key)}:{written[key]}" for key in sorted(written)])
    who, what, which = _quoted(assessment), written.get("scoreId", _NULL), written.get("scoreType", _NULL)
    data, extra = written.get("scoreData", _NULL), written["extraData"] if body.get("extraData") else _NULL
    at_ms = at_s = written.get("dateRecorded", _NULL)
    if instant:
        at_ms, at_s = _as_double(str(instant.epoch_ms)), exact_number(str(instant.epoch_s))
    return Identity(
        fingerprint=_digest(f'{{"assessmentId":{who},"body":{{{members}}}}}', exact_number),
        match_key=_digest(f"[{who},{what},{which},{at_ms},{data},{extra}]", _as_double),
        near_key=_digest(_written(kind), exact_number)[:KIND_DIGITS] + _digest(at_s, exact_number)[KIND_DIGITS:],
    )


def exact_number(text: str) -> str:
    """One spelling for all literals of one decimal value: ``1.10``, ``11e-1`` and ``1.1`` give ``11e-1``."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise ValueError("not a JSON number (RFC 8259 §6)")
    sign, whole, fraction, exponent = found.groups("")
    digits = (whole + fraction).lstrip("0")
    significant = digits.rstrip("0")
    if not significant:
        return "0"  # -0 and 0.000e9 are the number zero
    power = int(exponent or "0") - len(fraction) + len(digits) - len(significant)
    return f"{sign}{significant}e{power}"


def _as_double(text: str) -> str:
    """The number as an IEEE 754 double, which is what most JSON servers keep; exact beyond its range."""
    double = float(text)
    if math.isinf(double):
        return exact_number(text)
    return repr(double + 0.0)  # + 0.0 makes -0.0 zero


def _digest(written: str, number: Callable[[str], str]) -> str:
    """The SHA-256 of a value that was ``_written``, its numbers in the spelling that ``number`` gives."""
    parts = written.split(_MARK)
    parts[1::2] = map(number, parts[1::2])
    return hashlib.sha256("".join(parts).encode("ascii")).hexdigest()


def _written(value: JsonValue) -> str:
    """JSON with sorted keys and no spaces, each number between two marks: for ``_digest`` to spell."""
    if isinstance(value, str):
        return _quoted(value)
    if isinstance(value, Number):
        return f"{_MARK}{value.text}{_MARK}"
    if isinstance(value, dict):
        return "{" + ",".join([f"{_quoted(key)}:{_written(value[key])}" for key in sorted(value)]) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    return _LITERALS[value]
