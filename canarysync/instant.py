"""RFC 3339 date-times, read strictly: the grammar of §5.6 and the day, hour and leap second rules of §5.7. And how we
write times: all in UTC, and all in the same way."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import NamedTuple

_DATE_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?"
    r"(?:[Zz]|([-+])([0-9]{2}):([0-9]{2}))"
)

_DAY_S = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY = _EPOCH.toordinal()
_CYCLE_YEARS, _CYCLE_DAYS = 400, 146_097  # the Gregorian calendar repeats after this


class Instant(NamedTuple):
    """A point in time. Both count from 1970-01-01T00:00:00Z, the part of a second beyond them cut off.

    As in POSIX, a leap second counts as the second that follows it.
    """

    epoch_s: int
    epoch_ms: int


def for_programs(at: datetime) -> str:
    """``2026-03-02T08:14:07.310Z``, as in JSON, the log and the database; such texts sort by time."""
    since = at - _EPOCH
    return f"{_to_the_second(since.days, since.seconds)}.{since.microseconds // 1000:03d}Z"


@lru_cache(maxsize=8)
def _to_the_second(days: int, seconds: int) -> str:
    """Made once a second, and not several times a file: the calendar is most of the work."""
    return (_EPOCH + timedelta(days, seconds)).replace(tzinfo=None).isoformat()


def for_people(at: datetime, *, seconds: bool = False) -> str:
    """``2026-03-02 08:14Z``, or with seconds ``2026-03-02 08:14:07Z``."""
    return f"{at.astimezone(UTC):{'%Y-%m-%d %H:%M:%S' if seconds else '%Y-%m-%d %H:%M'}}Z"


@lru_cache(maxsize=2)
def parse_instant(text: str) -> Instant | None:
    """Read ``text`` as an RFC 3339 §5.6 ``date-time``; None if it is none. Fractions have any length.

    The last ones are kept: of each score it is asked twice, whether it is one, and which.
    """
    found = _DATE_TIME.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second, fraction, sign, offset_hour, offset_minute = found.groups()
    days = _epoch_days(int(year), int(month), int(day))
    offset_min = _offset_min(sign, int(offset_hour), int(offset_minute)) if sign else 0
    if days is None or offset_min is None or hour > "23" or minute > "59" or second > "60":
        return None
    epoch_s = days * _DAY_S + (int(hour) * 60 + int(minute) - offset_min) * 60 + int(second)
    if second == "60" and not _follows_leap_second(epoch_s):
        return None
    return Instant(epoch_s, epoch_s * 1000 + (int(fraction[:3].ljust(3, "0")) if fraction else 0))


def _offset_min(sign: str, hours: int, minutes: int) -> int | None:
    """Minutes east of UTC. ``-00:00`` (§4.3: UTC known, local offset unknown) is 0 like ``+00:00``."""
    if hours > 23 or minutes > 59:
        return None
    return (hours * 60 + minutes) * (-1 if sign == "-" else 1)


@lru_cache(maxsize=8)
def _epoch_days(year: int, month: int, day: int) -> int | None:
    """Days from 1970-01-01 in the proleptic Gregorian calendar; None when there is no such day (§5.7).

    The grammar has a year 0000, which ``datetime`` has not: so the day is looked up one cycle later.
    """
    cycles, year_of_cycle = divmod(year, _CYCLE_YEARS)
    try:
        ordinal = date(year_of_cycle + _CYCLE_YEARS, month, day).toordinal()
    except ValueError:
        return None
    return ordinal + (cycles - 1) * _CYCLE_DAYS - _EPOCH_DAY


def _follows_leap_second(epoch_s: int) -> bool:
    """Whether a leap second may stand just before ``epoch_s``: is it the start of a January or July, in UTC?

    §5.7 allows ``:60`` "at the end of months in which a leap second occurs", to date June or December, at
    23:59:60 UTC whatever the offset. All leap seconds of appendix D, and those since, stand there. We do not
    ask for the years of that table: future ones are announced only weeks ahead.
    """
    days, rest_s = divmod(epoch_s, _DAY_S)
    day = date.fromordinal((days + _EPOCH_DAY - 1) % _CYCLE_DAYS + 1)
    return rest_s == 0 and (day.month, day.day) in {(1, 1), (7, 1)}


_EXAMPLE = "2026-01-01T12:00:00Z"
_DAY = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?"
_HINTS = (
    (r"\s*", f"It is empty: write {_EXAMPLE}."),
    (r"\s.*|.*\s", "Remove the blanks around it."),
    (_DAY, f"It has a date only: add the time and its offset, as in {_EXAMPLE}."),
    (r"[0-9]+(?:\.[0-9]+)?", f"It is a bare number: write date and time, as in {_EXAMPLE}."),
    (
        r"[0-9]{1,2}[-/. ][0-9]{1,2}[-/. ][0-9]{4}.*",
        "Write the year first, then month and day, as in 2026-01-31.",
    ),
    (r"[0-9]{4}([/.])[0-9]{1,2}\1[0-9]{1,2}.*", "Write the date with hyphens, as in 2026-01-31."),
    (r"[0-9]{8}[Tt ]?[0-9].*", f"Write it with hyphens and colons, as in {_EXAMPLE}."),
    (_DAY + r"[ _][0-9].*", f"Write T between date and time and the offset at the end, as in {_EXAMPLE}."),
    (_DAY + r"[Tt][0-9:]{8},[0-9].*", "Write a point, not a comma, before the fraction of a second."),
    (_DAY + r"[Tt][0-9]{2}:[0-9]{2}(?:[Zz]|[-+].*)?", f"Write the seconds too, as in {_EXAMPLE}."),
    (
        _DAY + "[Tt]" + _TIME,
        "Say which time it is: end it with Z for UTC, or with the offset, such as +02:00.",
    ),
    (_DAY + "[Tt]" + _TIME + r"[-+][0-9]{1,4}", "Write the offset with hours and minutes, such as +02:00."),
    (_DAY + r"[Tt]24:.*", "Hours go from 00 to 23: midnight is 00:00:00 of the next day."),
    (
        _DAY + r"[Tt][0-9]{2}:[0-9]{2}:60.*",
        "A leap second is only at 23:59:60 UTC at the end of June or December.",
    ),
    (_DATE_TIME.pattern, "There is no such day, time or offset."),
    (
        _DAY + "[Tt]" + _TIME + r"\s*[A-Za-z[].*",
        "Write the zone as Z for UTC, or as an offset, such as +02:00.",
    ),
    (
        r"[0-9]{4}-(?:[0-9]-[0-9]{1,2}|[0-9]{2}-[0-9])[Tt ].*|" + _DAY + r"[Tt][0-9]:.*",
        "Write month, day, hour, minute and second with two digits each.",
    ),
    (r".*", f"Write date, time and offset, as in {_EXAMPLE}."),
)
"""What people write instead, the likeliest reading first; a hint never repeats what it is about."""


def why_not(text: str) -> str:
    """A hint on how to mend a ``text`` that ``parse_instant`` does not take. It does not quote it."""
    return next(hint for pattern, hint in _HINTS if re.fullmatch(pattern, text, re.DOTALL))
