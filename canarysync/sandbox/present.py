"""How the API shows a stored score: as it was written, or re-formatted, as API.md says a server may."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime

from canarysync.instant import for_programs
from canarysync.sandbox.store import StoredScore


def as_written(score: StoredScore) -> bytes:
    """The score as JSON, its values in the spelling of the request: the body with two keys put in front."""
    members = score.body[score.body.index(b"{") + 1 :]
    return json.dumps(_identity(score)).encode()[:-1] + b", " + members


def normalised(score: StoredScore) -> bytes:
    """The score as JSON after a trip through a server that keeps values, not spellings.

    The time is in UTC, cut to the millisecond; numbers are IEEE doubles; an empty extraData is dropped, and a
    missing one is an empty one.
    """
    body = json.loads(score.body, parse_int=_double, parse_float=_double)
    body["dateRecorded"] = _to_millisecond(body["dateRecorded"])
    if "extraData" not in body:
        body["extraData"] = {}
    elif not body["extraData"]:
        del body["extraData"]
    return json.dumps(_identity(score) | body).encode()


def _identity(score: StoredScore) -> dict[str, object]:
    return {"uuid": score.uuid, "assessmentUUIDs": [score.assessment_id.lower()]}


def _double(text: str) -> float | int | None:
    """The nearest double, written like JavaScript does: 12.0 as 12, and null for what no double can hold."""
    number = float(text)
    if math.isinf(number):
        return None
    return int(number) if number.is_integer() and abs(number) < 2**53 else number


def _to_millisecond(text: str) -> str:
    try:
        instant = datetime.fromisoformat(text.upper()).astimezone(UTC)
    except (ValueError, OverflowError):
        return text  # a leap second, or year 1 or 9999 beside an offset: datetime has no such instant
    return for_programs(instant)
