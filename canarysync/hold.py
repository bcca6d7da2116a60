"""A person stops a route, and lets it go on. Noted in the ledger, also beside a running daemon, which asks for it at
every pass; what is on its way at that moment still ends."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime

from canarysync.config import Config, Route
from canarysync.errors import CanarysyncError
from canarysync.ledger import Hold, Ledger
from canarysync.ledger_sqlite import Access
from canarysync.state import opened


def hold(config: Config, route: Route, hold: Hold) -> Hold | None:
    """Stop ``route``; return the hold that it was under before, which stays unless a new reason is given.

    Raises CanarysyncError, and then nothing is noted.
    """
    with _known(config, route, "hold") as (ledger, route_id):
        before = ledger.hold_on(route_id)
        if before is None or hold.reason:
            ledger.hold(route_id, hold)
        return before


def release(config: Config, route: Route) -> Hold | None:
    """Let ``route`` go on; return the hold that this ends, None where there was none. Raises CanarysyncError."""
    with _known(config, route, "release") as (ledger, route_id):
        before = ledger.hold_on(route_id)
        ledger.release(route_id)
        return before


def made_by(environment: Mapping[str, str], reason: str, at: datetime) -> Hold:
    """A hold by the user who runs this, or who had sudo run it."""
    user = os.geteuid()
    try:
        name = pwd.getpwuid(user).pw_name
    except KeyError:
        name = str(user)
    return Hold(at, environment.get("SUDO_USER") or name, reason)


@contextmanager
def _known(config: Config, route: Route, operation: str) -> Iterator[tuple[Ledger, str]]:
    """The ledger, and the route's id in it."""
    with opened(config.state, Access.BESIDE) as ledger:
        route_id = ledger.routes().get(route.name) if ledger is not None else None
        if ledger is None or route_id is None:
            cause, hint = "it was never started", "to keep it from starting, leave it out of the config"
            raise CanarysyncError(operation, route.name, cause, hint)
        yield ledger, route_id
