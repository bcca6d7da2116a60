"""When are two scores the same? Our own exact notion, and the one that survives the API (README, "The same score")."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from json.encoder import encode_basestring_ascii

from canarysync.instant import parse_instant
from canarysync.model import Identity, JsonValue, Number

KIND_DIGITS = 32
"""So many of the 64 digits of a near key are of the kind of score (assessment, scoreId, scoreType, in whatever case),
the others of its second."""

_NUMBER = re.compile(r"(-?)(\d+)(?:\.(\d+))?(?:[eE]([-+]?\d+))?", re.ASCII)


def identify(assessment_id: str, body: dict[str, JsonValue]) -> Identity:
    """The identity of one score. ``body`` is the request body, or a score as get-scores returns it.

    Members that put-score does not know (uuid, assessmentUUIDs) play no part in the match and near keys.
    """
    assessment = assessment_id.lower()
    recorded = body.get("dateRecorded")
    instant = parse_instant(recorded) if isinstance(recorded, str) else None
    who: list[JsonValue] = [assessment, body.get("scoreId"), body.get("scoreType")]
    kind: list[JsonValue] = [part.casefold() if isinstance(part, str) else part for part in who]
    matched: list[JsonValue] = [
        *who,
        Number(str(instant.epoch_ms)) if instant else recorded,
        body.get("scoreData"),
        body.get("extraData") or None,
    ]
    second: JsonValue = Number(str(instant.epoch_s)) if instant else recorded
    return Identity(
        fingerprint=_digest({"assessmentId": assessment, "body": body}, exact_number),
        match_key=_digest(matched, _as_double),
        near_key=_digest(kind, exact_number)[:KIND_DIGITS] + _digest(second, exact_number)[KIND_DIGITS:],
    )


def exact_number(text: str) -> str:
    """One spelling for all literals of one decimal value: ``1.10``, ``11e-1`` and ``1.1`` give ``11e-1``."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise ValueError("not a JSON number (RFC 8259 §6)")
    sign, whole, fraction, exponent = found.groups(default="")
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


def _digest(value: JsonValue, number: Callable[[str], str]) -> str:
    return hashlib.sha256(_canonical(value, number).encode("ascii")).hexdigest()


def _canonical(value: JsonValue, number: Callable[[str], str]) -> str:
    """JSON with sorted keys, no spaces, and numbers in the spelling that ``number`` gives."""
    if isinstance(value, str):
        return encode_basestring_ascii(value)
    if isinstance(value, Number):
        return number(value.text)
    if isinstance(value, dict):
        members = [f"{encode_basestring_ascii(key)}:{_canonical(value[key], number)}" for key in sorted(value)]
        return "{" + ",".join(members) + "}"
    if isinstance(value, list):
        return "[" + ",".join([_canonical(item, number) for item in value]) + "]"
    return {None: "null", True: "true", False: "false"}[value]
