"""`done: done/%Y-%m-%d`, taken apart and filled in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from canarysync.dated import folder_at, split


@pytest.mark.parametrize(
    ("path", "folder", "pattern"),
    [
        ("/srv/done", "/srv/done", ""),
        ("/srv/done/", "/srv/done/", ""),
        ("/srv/done/%Y-%m-%d", "/srv/done", "%Y-%m-%d"),
        ("/srv/done/%Y/%m//%d/", "/srv/done", "%Y/%m/%d"),
        ("/srv/done/all/in-%Y/here", "/srv/done/all", "in-%Y/here"),
        ("/srv/100%%/done/%Y", "/srv/100%/done", "%Y"),
        ("/srv/100%%", "/srv/100%", ""),
        ("/srv/%%Y", "/srv/%Y", ""),
        ("done/%H", "done", "%H"),
        ("%Y", ".", "%Y"),
        ("/%Y", "/", "%Y"),
    ],
)
def test_a_path_with_dates_is_a_folder_and_a_pattern_below_it(path: str, folder: str, pattern: str) -> None:
    assert split(path) == (folder, pattern)


@pytest.mark.parametrize(
    ("pattern", "folder"),
    [("", ""), ("%Y-%m-%d", "2026-03-02"), ("%Y/%m/%d/%H", "2026/03/02/23"), ("a%%%Y%%Y%m.b", "a%2026%Y03.b")],
)
def test_the_folder_is_that_of_the_time_in_utc(pattern: str, folder: str) -> None:
    at = datetime(2026, 3, 2, 23, 59, 59, 999999, UTC)
    assert folder_at(pattern, at) == folder
    assert folder_at(pattern, at.astimezone(timezone(timedelta(hours=14)))) == folder


def test_a_year_has_four_digits() -> None:
    assert folder_at("%Y", datetime(7, 1, 1, tzinfo=UTC)) == "0007"
