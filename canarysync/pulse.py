"""What a canarysync at work says of itself: a small file in the state folder, for `status` beside it and after it.

Nothing depends on it: it is neither synced nor read by any run, and where it cannot be written it is not there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from canarysync.instant import for_programs

PULSE_NAME = "pulse.json"

_MOST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True)
class RoutePulse:
    """One route. ``mode``: events or polling, empty while nothing is watched. ``crowded``: more files wait than are
    kept in mind, so that the scan goes on later. ``troubles`` counts the files that the system keeps waiting, by why.
    """

    mode: str
    file_system: str
    rescan_s: float
    scanned_at: datetime | None
    crowded: bool
    trouble: str
    troubles: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Pulse:
    """A whole canarysync, as it was ``at`` that time. ``once``: it is a run-once. ``api_down`` says why the API cannot
    be used, empty while it can; ``token_until`` is when its token will be renewed, None where nobody knows.
    ``in_flight`` requests are under way; there may be ``limit`` uploads at once, which finds itself if ``auto``."""

    version: str
    pid: int
    once: bool
    at: datetime
    api_down: str
    api_down_since: datetime | None
    api_again_at: datetime | None
    token_until: datetime | None
    in_flight: int
    limit: int
    auto: bool
    routes: Mapping[str, RoutePulse]


def write(state: Path, pulse: Pulse) -> None:
    """Put it into the state folder, all of it or nothing."""
    passing = state / f"{PULSE_NAME}.tmp"
    with suppress(OSError):
        passing.write_text(json.dumps(asdict(pulse), default=for_programs, indent=1))
        os.rename(passing, state / PULSE_NAME)


def read(state: Path) -> Pulse | None:
    """The last one there; None where there is none, or another version's that says other things."""
    try:
        with (state / PULSE_NAME).open("rb") as file:
            found = json.loads(file.read(_MOST_BYTES))
        routes = {str(name): _route(values) for name, values in found.pop("routes").items()}
        return Pulse(**{**_with_times(found), "routes": routes})
    except (OSError, ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
        return None


def _route(values: Mapping[str, Any]) -> RoutePulse:
    troubles = {str(why): int(files) for why, files in values["troubles"].items()}
    known = {**_with_times(values), "rescan_s": float(values["rescan_s"]), "troubles": troubles}
    return RoutePulse(**known)


def _with_times(values: Mapping[str, Any]) -> dict[str, Any]:
    times = {"at", "api_down_since", "api_again_at", "token_until", "scanned_at"}
    return {key: _time(value) if key in times and value else value for key, value in values.items()}


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
