"""Folders by date: `done: done/%Y-%m-%d` is a folder, and the pattern of what is made in it, by UTC."""

from __future__ import annotations

import re
from datetime import UTC, datetime

DATES = ("%Y", "%m", "%d", "%H")
"""What stands for a part of the date, as in strftime(3). ``%%`` stands for a percent sign; there is nothing else."""

_PERCENT = re.compile(r"%.?", re.DOTALL)


def split(path: str) -> tuple[str, str]:
    """The folder, and the pattern below it: empty where ``path`` has no date. The pattern starts with the first part of
    the path that has one."""
    parts = path.split("/")
    first = next((place for place, part in enumerate(parts) if has_date(part)), len(parts))
    folder = "/".join(parts[:first]).replace("%%", "%")
    if first < len(parts) and folder == "":
        folder = "/" if first else "."
    return folder, "/".join(part for part in parts[first:] if part)


def has_date(path: str) -> bool:
    """Whether there is anything but ``%%`` in it that begins with a percent sign."""
    return any(found != "%%" for found in _PERCENT.findall(path))


def unknown(path: str) -> list[str]:
    """What begins with a percent sign there, and means nothing."""
    return [found for found in _PERCENT.findall(path) if found not in (*DATES, "%%")]


def folder_at(pattern: str, at: datetime) -> str:
    """The folder that ``pattern`` names at a time, relative to the one that it is below; empty for no pattern."""
    if not pattern:
        return ""
    utc = at.astimezone(UTC)
    values = {"%Y": f"{utc.year:04}", "%m": f"{utc.month:02}", "%d": f"{utc.day:02}", "%H": f"{utc.hour:02}", "%%": "%"}
    return _PERCENT.sub(lambda found: values[found[0]], pattern)
