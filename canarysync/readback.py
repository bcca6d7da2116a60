"""What a look at the API says of a score in doubt: pure, a comment per branch of the decision (README, "Read-back")."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from canarysync.answers import as_uuid
from canarysync.identity import KIND_DIGITS, identify
from canarysync.instant import parse_instant
from canarysync.model import Identity, JsonValue, Moment, Number
from canarysync.parse import parse_answer

_ISO_8601 = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt _]([0-9]{2}:[0-9]{2}:[0-9]{2}(?:[.,][0-9]+)?)"
    r" ?(?P<zone>[Zz]|UTC|GMT|([-+])([0-9]{2}):?([0-9]{2})?)?"
)

_GOES_ON = re.compile(r".*next.*|cursor|.*continuation.*|has_?more|more|.*truncated", re.IGNORECASE)
"""So an API calls what says that its answer is not all: next, nextToken, hasNextPage, @odata.nextLink, links.next …"""


@dataclass(frozen=True, slots=True)
class RemoteScore:
    """A score as get-scores lists it, reduced to what is compared.

    ``uuid`` is in lower case, and None where the API gave none that is one: such a score cannot be adopted.
    ``near_key`` is only the half for its kind where it is not certain when it was recorded.
    """

    uuid: str | None
    match_key: str
    near_key: str


@dataclass(frozen=True, slots=True)
class Adopt:
    """It is there: ``uuid`` is its proof."""

    uuid: str


@dataclass(frozen=True, slots=True)
class Near:
    """A score of the same kind and second is there, with other data or its kind in another case: a person has to say
    whether it is ours."""


@dataclass(frozen=True, slots=True)
class LookAgain:
    """Not there now; look again in ``after_s`` seconds. ``first``: this is the look that the wait is counted from."""

    after_s: float
    first: bool


@dataclass(frozen=True, slots=True)
class Absent:
    """Not there at two looks, far enough apart: it was never taken."""


def judge_look(
    identity: Identity,
    listed: Sequence[RemoteScore],
    owned: Collection[str],
    first_look: Moment | None,
    asked: Moment,
    wait_s: float,
) -> Adopt | Near | LookAgain | Absent:
    """Judge one look. ``owned`` holds the uuids that other entries own; ``wait_s`` parts the answer to the first look
    from ``asked``, when this one was asked for."""
    free = [score for score in listed if score.uuid not in owned]
    # The same content under a uuid that nobody here owns: ours, or a twin that is as good as ours.
    for score in free:
        if score.match_key == identity.match_key and score.uuid is not None:
            return Adopt(score.uuid)
    # Same assessment, scoreId, scoreType (but for their case) and second: too alike to send again, too different to
    # adopt.
    if any(identity.near_key.startswith(score.near_key) for score in free):
        return Near()
    # The first look; or a clock stands before it, and nobody knows how long ago it was.
    if first_look is None or (passed_s := _passed_s(first_look, asked)) < 0:
        return LookAgain(wait_s, first=True)
    if passed_s < wait_s:
        return LookAgain(wait_s - passed_s, first=False)
    return Absent()


def _passed_s(first_look: Moment, asked: Moment) -> float:
    """By the clock that says less, since the wall clock may be set forward. After another boot there is no other."""
    passed_s = (asked.at - first_look.at).total_seconds()
    if first_look.boot and first_look.boot == asked.boot:
        return min(passed_s, asked.boot_s - first_look.boot_s)
    return passed_s


def possible_duplicate(identity: Identity, listed: Sequence[RemoteScore], owned: Collection[str], ours: str) -> bool:
    """After a score was sent again: is there a match besides ``ours``? ``owned`` are the uuids of other entries."""
    alike = [score.uuid for score in listed if score.match_key == identity.match_key and score.uuid not in owned]
    others = {uuid for uuid in alike if uuid not in (None, ours)}
    # One that bears no uuid may be ours, if ours is not listed besides.
    return bool(others) or alike.count(None) > (ours not in alike)


def scores_in(body: bytes, assessment_id: str) -> list[RemoteScore] | None:
    """Read the answer of get-scores (API.md); None when it is not one, or says that there is more of it: a score that
    is not in a part may be in the rest.

    An element that is no object is passed over.
    """
    answer = parse_answer(body)
    if not isinstance(answer, dict) or _goes_on(answer):
        return None
    scores = answer.get("scores")
    if not isinstance(scores, list):
        return None
    found = (_remote(score, assessment_id) for score in scores)
    return [score for score in found if score is not None]


def _goes_on(answer: dict[str, JsonValue]) -> bool:
    """Whether the answer, or an object right below it (``links``, ``paging``, ``meta``), names a next page."""
    objects = [answer, *(value for value in answer.values() if isinstance(value, dict))]
    nothing: Sequence[JsonValue] = (None, False, Number("0"), "", [], {})
    return any(_GOES_ON.fullmatch(key) and found[key] not in nothing for found in objects for key in found)


def score_in(body: bytes, assessment_id: str) -> RemoteScore | None:
    """Read the answer of GET score (API.md); None when it is not one. A score of another assessment than that matches
    nothing of this one."""
    score = parse_answer(body)
    if not isinstance(score, dict):
        return None
    listed = score.get("assessmentUUIDs")
    ids = [each.lower() for each in listed if isinstance(each, str)] if isinstance(listed, list) else []
    return _remote(score, ids[0] if ids and assessment_id.lower() not in ids else assessment_id)


def _remote(score: JsonValue, assessment_id: str) -> RemoteScore | None:
    if not isinstance(score, dict):
        return None
    when, certain = _spelt_as_rfc_3339(score.get("dateRecorded"))
    body = {**score, "dateRecorded": when}
    try:
        identity = identify(assessment_id, body)
    except ValueError:  # an exponent of thousands of digits: not ours, we would not have sent it
        identity = replace(identify(assessment_id, {**body, "scoreData": None, "extraData": None}), match_key="")
    near_key = identity.near_key if certain else identity.near_key[:KIND_DIGITS]
    return RemoteScore(as_uuid(score.get("uuid")), identity.match_key, near_key)


def _spelt_as_rfc_3339(recorded: JsonValue) -> tuple[JsonValue, bool]:
    """A time as an API may spell it, in the spelling that instants are read in, and whether it is certain which
    instant that is. A time without a zone is tried as UTC."""
    if not isinstance(recorded, str) or parse_instant(recorded) is not None:
        return recorded, isinstance(recorded, str)
    found = _ISO_8601.fullmatch(recorded)
    if found is None:
        return recorded, False
    date, time, zone, sign, hours, minutes = found.groups()
    offset = f"{sign}{hours}:{minutes or '00'}" if sign else "Z"
    text = f"{date}T{time.replace(',', '.')}{offset}"
    return text, parse_instant(text) is not None and zone is not None
