"""Will it work? Probes of everything that a run needs, also beside one that is at work. Leaves all as it was."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial

from canarysync.check import api, folders, machine
from canarysync.check.findings import Finding, Grade, Probe, guarded, ok
from canarysync.check.secret import secret, unseen
from canarysync.config import Config

__all__ = ["Finding", "Grade", "check"]

_LOCAL_S = 30.0


def check(config: Config, environment: Mapping[str, str], now: Callable[[], datetime]) -> Iterator[Finding]:
    """All findings as they come, in the order in which one would mend them. Never shows a secret."""
    yield ok("config", str(config.path))
    yield from _here("running", lambda: machine.running(config.state))
    yield from _here("state", lambda: machine.state(config.state))
    yield from _here("ledger", lambda: machine.ledger(config.state, config.api.url))
    yield from _here("room", lambda: machine.room(config))
    yield from _here("limits", lambda: machine.limits(config))
    yield from _api(config, environment, now)
    for route in config.routes:
        found = _here("folders", partial(folders.route, route, config.state))
        yield from (replace(finding, route=route.name) for finding in found)


def _here(subject: str, probe: Probe) -> Iterator[Finding]:
    yield from guarded(subject, probe, _LOCAL_S)


def _api(config: Config, environment: Mapping[str, str], now: Callable[[], datetime]) -> Iterator[Finding]:
    ref, way = config.api.token or config.api.api_key, config.api
    known = list(_here("secret", lambda: secret(config, environment)))
    yield from known
    yield from _here("proxy", lambda: api.proxy(way, environment))
    trusted = list(_here("CA bundle", lambda: api.authorities(way, environment)))
    yield from trusted
    if any(finding.grade is Grade.PROBLEM for finding in trusted):
        return
    yield from _here("TLS", lambda: api.certificate(way, environment, now))
    usable = not unseen(ref, environment) and all(finding.grade is not Grade.PROBLEM for finding in known)
    most_s = 4 * (way.connect_timeout_s + 2 * way.read_timeout_s) + _LOCAL_S
    yield from guarded("API", lambda: api.talk(way, environment, now, secret=usable), most_s)
