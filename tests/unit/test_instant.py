"""RFC 3339 as tables: what the grammar of §5.6 and the rules of §5.7 take, and what they do not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canarysync.instant import Instant, for_people, for_programs, parse_instant, why_not

ACCEPTED = [
    # (section, text, seconds since 1970-01-01T00:00:00Z)
    ("5.6", "1970-01-01T00:00:00Z", 0),
    ("5.6", "2026-01-01T12:00:00Z", 1_767_268_800),
    ("5.6 T and Z may be lower case", "2026-01-01t12:00:00z", 1_767_268_800),
    ("5.6 time-offset", "2026-01-01T14:00:00+02:00", 1_767_268_800),
    ("5.6 time-offset", "2026-01-01T07:30:00-04:30", 1_767_268_800),
    ("5.6 time-offset, largest", "2026-01-02T11:59:00+23:59", 1_767_268_800),
    ("5.6 time-offset, smallest", "2025-12-31T12:01:00-23:59", 1_767_268_800),
    ("4.3 offset unknown", "2026-01-01T12:00:00-00:00", 1_767_268_800),
    ("5.6 time-secfrac", "2026-01-01T12:00:00.5Z", 1_767_268_800),
    ("5.6 time-hour, least", "1970-01-02T00:00:00Z", 86_400),
    ("5.6 time-hour, most", "1970-01-01T23:59:59Z", 86_399),
    ("5.6 date-fullyear is 4DIGIT", "0000-01-01T00:00:00Z", -62_167_219_200),
    ("5.6 date-fullyear is 4DIGIT", "0001-01-01T00:00:00Z", -62_135_596_800),
    ("5.6 before year 0 in UTC", "0000-01-01T00:00:00+01:00", -62_167_222_800),
    ("5.6 largest", "9999-12-31T23:59:59Z", 253_402_300_799),
    ("5.6 after year 9999 in UTC", "9999-12-31T23:59:59-01:00", 253_402_304_399),
    ("5.7 leap year", "2024-02-29T00:00:00Z", 1_709_164_800),
    ("5.7 leap year, 400", "2000-02-29T00:00:00Z", 951_782_400),
    ("5.7 leap year, 0000", "0000-02-29T00:00:00Z", -62_162_121_600),
    ("5.7 31 days", "1970-01-31T00:00:00Z", 30 * 86_400),
    ("5.7 leap second", "1990-12-31T23:59:60Z", 662_688_000),
    ("5.8 leap second with offset", "1990-12-31T15:59:60-08:00", 662_688_000),
    ("5.7 leap second, June", "1972-06-30T23:59:60Z", 78_796_800),
    ("5.7 leap second, other day with offset", "1973-01-01T00:59:60+01:00", 94_694_400),
    ("5.7 leap second with fraction", "1990-12-31T23:59:60.25Z", 662_688_000),
    ("5.8 example 1", "1985-04-12T23:20:50.52Z", 482_196_050),
    ("5.8 example 2", "1996-12-19T16:39:57-08:00", 851_042_397),
    ("5.8 example 5", "1937-01-01T12:00:27.87+00:20", -1_041_337_173),
]

REFUSED = [
    ("5.6", "", "empty"),
    ("5.6", "   ", "empty"),
    ("5.6 full-date alone", "2026-01-01", "date only"),
    ("5.6 full-time alone", "12:00:00Z", "Write date, time and offset"),
    ("5.6 space for T", "2026-01-01 12:00:00Z", "Write T"),
    ("5.6 space for T", "2026-01-01 12:00", "Write T"),
    ("5.6 no time-offset", "2026-01-01T12:00:00", "Z for UTC"),
    ("5.6 no time-offset", "2026-01-01T12:00:00.123", "Z for UTC"),
    ("5.6 no seconds", "2026-01-01T12:00Z", "seconds"),
    ("5.6 no seconds", "2026-01-01T12:00+02:00", "seconds"),
    ("5.6 time-secfrac", "2026-01-01T12:00:00,5Z", "comma"),
    ("5.6 time-secfrac needs a digit", "2026-01-01T12:00:00.Z", "Write date, time and offset"),
    ("5.6 time-numoffset", "2026-01-01T12:00:00+0200", "hours and minutes"),
    ("5.6 time-numoffset", "2026-01-01T12:00:00+02", "hours and minutes"),
    ("5.6 time-numoffset", "2026-01-01T12:00:00+24:00", "There is no such"),
    ("5.6 time-numoffset", "2026-01-01T12:00:00+02:60", "There is no such"),
    ("5.6 time-numoffset", "2026-01-01T12:00:00+02:00:00", "Write date, time and offset"),
    ("5.6 minus sign is ASCII", "2026-01-01T12:00:00\u221202:00", "Write date, time and offset"),
    ("5.6 zone name", "2026-01-01T12:00:00 CET", "offset"),
    ("RFC 9557 suffix", "2026-01-01T12:00:00[Europe/Paris]", "offset"),
    ("RFC 9557 suffix", "2026-01-01T12:00:00Z[Europe/Paris]", "offset"),
    ("5.6 time-hour", "2026-01-01T24:00:00Z", "midnight"),
    ("5.6 time-hour", "2026-01-01T25:00:00Z", "There is no such"),
    ("5.6 time-minute", "2026-01-01T12:60:00Z", "There is no such"),
    ("5.6 time-second", "2026-01-01T12:00:61Z", "There is no such"),
    ("5.7 leap second inside a day", "2026-01-01T12:00:60Z", "A leap second"),
    ("5.7 leap second, wrong hour", "1998-12-31T22:59:60Z", "A leap second"),
    ("5.7 leap second, wrong minute", "1998-12-31T23:58:60Z", "A leap second"),
    ("5.7 leap second, wrong day", "1998-12-30T23:59:60Z", "A leap second"),
    ("5.7 leap second, wrong month", "1998-03-31T23:59:60Z", "A leap second"),
    ("5.7 leap second, wrong by offset", "1998-12-31T23:59:60+01:00", "A leap second"),
    ("5.6 date-month", "2026-00-01T12:00:00Z", "There is no such"),
    ("5.6 date-month", "2026-13-01T12:00:00Z", "There is no such"),
    ("5.6 date-mday", "2026-01-00T12:00:00Z", "There is no such"),
    ("5.7 31 days", "2026-01-32T12:00:00Z", "There is no such"),
    ("5.7 30 days", "2026-04-31T12:00:00Z", "There is no such"),
    ("5.7 28 days", "2026-02-29T12:00:00Z", "There is no such"),
    ("5.7 leap year, 100", "1900-02-29T12:00:00Z", "There is no such"),
    ("5.7 29 days", "2024-02-30T12:00:00Z", "There is no such"),
    ("5.6 2DIGIT", "2026-1-1T12:00:00Z", "two digits"),
    ("5.6 2DIGIT", "2026-01-01T1:00:00Z", "two digits"),
    ("5.6 4DIGIT", "26-01-01T12:00:00Z", "Write date, time and offset"),
    ("5.6 4DIGIT", "02026-01-01T12:00:00Z", "Write date, time and offset"),
    ("5.6 4DIGIT", "+2026-01-01T12:00:00Z", "Write date, time and offset"),
    ("5.6 4DIGIT", "-2026-01-01T12:00:00Z", "Write date, time and offset"),
    ("5.6 day first", "31.01.2026 12:00", "year first"),
    ("5.6 month first", "01/31/2026 12:00", "year first"),
    ("5.6 slashes", "2026/01/31T12:00:00Z", "hyphens"),
    ("ISO 8601 basic", "20260101T120000Z", "hyphens and colons"),
    ("ISO 8601 week", "2026-W01-4T12:00:00Z", "Write date, time and offset"),
    ("ISO 8601 ordinal", "2026-001T12:00:00Z", "Write date, time and offset"),
    ("Unix time", "1767268800", "bare number"),
    ("5.6 blanks", " 2026-01-01T12:00:00Z", "blanks"),
    ("5.6 blanks", "2026-01-01T12:00:00Z\n", "blanks"),
    ("5.6 DIGIT is ASCII", "202\uff16-01-01T12:00:00Z", "Write date, time and offset"),
    ("5.6 DIGIT is ASCII", "2026-01-01T12:00:0\u0660Z", "Write date, time and offset"),
    ("5.6 NUL", "2026-01-01T12:00:00Z\x00", "offset"),
    ("words", "yesterday", "Write date, time and offset"),
]


@pytest.mark.parametrize(("section", "text", "epoch_s"), ACCEPTED)
def test_accepts(section: str, text: str, epoch_s: int) -> None:
    instant = parse_instant(text)
    assert instant is not None, section
    assert instant.epoch_s == epoch_s


@pytest.mark.parametrize(("section", "text", "hint"), REFUSED)
def test_refuses_with_a_hint_that_does_not_quote(section: str, text: str, hint: str) -> None:
    assert parse_instant(text) is None, section
    assert hint in why_not(text)
    assert why_not(text.replace("2026", "1987").replace("12:00", "13:01")) == why_not(text)


@pytest.mark.parametrize(
    ("text", "epoch_ms"),
    [
        ("1970-01-01T00:00:00.1Z", 100),
        ("1970-01-01T00:00:00.12Z", 120),
        ("1970-01-01T00:00:00.123Z", 123),
        ("1970-01-01T00:00:00.1239999Z", 123),
        ("1970-01-01T00:00:00." + "9" * 5000 + "Z", 999),
        ("1969-12-31T23:59:59.250Z", -750),
    ],
)
def test_a_fraction_is_cut_to_the_millisecond(text: str, epoch_ms: int) -> None:
    assert parse_instant(text) == Instant(epoch_ms // 1000, epoch_ms)


@given(
    st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29)),
    st.integers(-1439, 1439),
)
def test_agrees_with_datetime(when: datetime, offset_min: int) -> None:
    local = when.replace(tzinfo=timezone(timedelta(minutes=offset_min)))
    elapsed = local - datetime(1970, 1, 1, tzinfo=UTC)
    instant = parse_instant(local.isoformat(timespec="microseconds"))
    assert instant == Instant(elapsed // timedelta(seconds=1), elapsed // timedelta(milliseconds=1))


@given(st.text(alphabet="0123456789TtZz:+-., 6\n", max_size=40))
def test_every_text_is_an_instant_or_gets_a_hint(text: str) -> None:
    assert parse_instant(text) is not None or why_not(text)


def test_times_are_written_in_utc_for_programs_and_for_people() -> None:
    at = datetime(2026, 3, 2, 9, 14, 7, 310_999, tzinfo=timezone(timedelta(hours=1)))
    assert for_programs(at) == "2026-03-02T08:14:07.310Z"
    assert (for_people(at), for_people(at, seconds=True)) == ("2026-03-02 08:14Z", "2026-03-02 08:14:07Z")
