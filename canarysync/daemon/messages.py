"""What the loop is told, by workers, watches, signals and whoever asks; and what it is to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from canarysync.config import Route
from canarysync.daemon.desks import Desk
from canarysync.daemon.roster import Answered, Closed, Opened, Scanned
from canarysync.daemon.visits import Visited
from canarysync.discover import Hints
from canarysync.health import Vitals
from canarysync.outcomes import Tools
from canarysync.traffic import Traffic


@dataclass(frozen=True, slots=True)
class Work:
    """What the daemon is to do: for which routes, with what, with how many uploads at once (None: that finds itself by
    ``traffic``), and with how many a second (None: as many as go). ``check`` waits until requests can be made, or
    raises SetupError or IoTrouble; ``close`` is called when nobody works with these ``tools`` any more."""

    routes: tuple[Route, ...]
    tools: Tools
    traffic: Traffic
    concurrency: int | None
    rate_per_s: float | None
    check: Callable[[], None]
    close: Callable[[], None]


@dataclass(frozen=True, slots=True)
class Hinted:
    """Something happened in a drop folder."""

    desk: Desk
    hints: Hints


@dataclass(frozen=True, slots=True)
class Reload:
    """Read the config again."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Drain and end; the signal that asks for it."""

    signal: int


@dataclass(frozen=True, slots=True)
class Ask:
    """Somebody asks how it is."""

    answer: Callable[[Vitals], None]


Message = Ask | Hinted | Opened | Scanned | Visited | Answered | Closed | Reload | Stop
