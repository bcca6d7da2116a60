"""Will it work? Probes of everything that a run needs: folders, state, secret, proxy, API. Changes nothing."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path

from canarysync import durable
from canarysync.answers import Answer, Refused, Unauthorized, Unreachable, judge_other
from canarysync.auth import read_secret, tokens_for
from canarysync.config import Config, Route, SecretKind
from canarysync.errors import SetupError
from canarysync.folder import check_apart
from canarysync.model import Token
from canarysync.mounts import mount_at
from canarysync.settle import quiet_period_s
from canarysync.upload import Http, proxies, without_password


class Grade(StrEnum):
    """How a probe ended."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the check, with what to do about it."""

    grade: Grade
    subject: str
    text: str
    remedy: str = ""


def check(config: Config, environment: Mapping[str, str], now: Callable[[], datetime]) -> Iterator[Finding]:
    """All findings, in the order in which one would mend them. Never shows a secret."""
    yield Finding(Grade.OK, "config", str(config.path))
    yield _state(config.state)
    for route in config.routes:
        yield from _route(route)
    secret = list(_secret(config, environment))
    yield from secret
    proxy = proxies(config.api, environment).get("https")
    yield Finding(Grade.OK, "proxy", without_password(proxy) if proxy else "none")
    yield Finding(Grade.OK, "CA bundle", str(config.api.ca_bundle or "the one that comes with certifi"))
    if all(finding.grade is not Grade.PROBLEM for finding in secret):
        yield from _api(config, environment, now)


def _state(state: Path) -> Finding:
    nearest = next(folder for folder in (state, *state.parents) if os.path.lexists(folder))
    mount = mount_at(nearest)
    if mount.network:
        return Finding(Grade.PROBLEM, "state", f"{state} is on a network mount ({mount.fs_type})", "use a local disk")
    if not os.access(nearest, os.W_OK | os.X_OK):
        return Finding(Grade.PROBLEM, "state", f"{nearest} is not writable by us", "run as the service's user")
    if nearest == state and state.stat().st_uid != os.geteuid():
        return Finding(Grade.PROBLEM, "state", f"{state} belongs to another user", "run as that user (sudo -u USER)")
    return Finding(Grade.OK, "state", f"{state} ({mount.fs_type})")


def _route(route: Route) -> Iterator[Finding]:
    for role, folder in (("drop", route.drop), ("done", route.done), ("failed", route.failed)):
        yield _folder(f"{route.name} {role}", folder)
    if not os.path.isdir(route.drop):
        return
    try:
        check_apart([route])
    except SetupError as error:
        yield Finding(Grade.PROBLEM, f"{route.name} folders", f"{error.path}: {error.cause}", error.hint)
    mount = mount_at(route.drop)
    mode = "polling, as it is a network mount" if mount.network else "events, and rescans"
    quiet = quiet_period_s(route.settle_s, mount.network)
    yield Finding(Grade.OK, f"{route.name} watch", f"{mode} ({mount.fs_type}); quiet period {quiet:g} s")
    if os.path.isdir(route.done) and route.done.stat().st_dev != route.drop.stat().st_dev:
        yield Finding(
            Grade.WARNING, f"{route.name} done", "is on another file system than drop: files are copied, not moved"
        )


def _folder(subject: str, folder: Path) -> Finding:
    """Create, rename, fsync and delete a file there."""
    try:
        there = folder.is_dir()
    except OSError as error:
        return Finding(Grade.PROBLEM, subject, f"{folder}: {error.strerror}", "run as the service's user")
    if not there:
        return Finding(Grade.PROBLEM, subject, f"{folder} does not exist", f"mkdir -p {folder}, or canarysync init")
    probe = folder / f".canarysync-probe-{uuid.uuid4().hex}"
    try:
        durable.write_new(probe, b"probe", f"{probe.name}.tmp")
        durable.sync_folder(folder)
        probe.unlink()
    except OSError as error:
        probe.unlink(missing_ok=True)
        why = os.strerror(error.errno or 0)
        return Finding(
            Grade.PROBLEM, subject, f"{folder}: a file cannot be created, renamed and deleted there ({why})",
            "give the service's user the right to write there",
        )  # fmt: skip
    return Finding(Grade.OK, subject, str(folder))


def _secret(config: Config, environment: Mapping[str, str]) -> Iterator[Finding]:
    ref = config.api.token or config.api.api_key
    if ref is None:
        return
    subject = "token" if config.api.token else "API key"
    try:
        read_secret(ref, environment)
    except SetupError as error:
        yield Finding(Grade.PROBLEM, subject, f"{error.path}: {error.cause}", error.hint)
        return
    where = f"{ref.kind} {ref.name}"
    if ref.kind is SecretKind.FILE and Path(ref.name).stat().st_mode & 0o077:
        yield Finding(Grade.WARNING, subject, f"{where} is readable by others", f"chmod 600 {ref.name}")
    else:
        yield Finding(Grade.OK, subject, where)


def _api(config: Config, environment: Mapping[str, str], now: Callable[[], datetime]) -> Iterator[Finding]:
    """A token, and a score that cannot be there: 404 is the right answer, and creates nothing."""
    http = Http(config.api, environment)
    try:
        token = tokens_for(config.api, environment, http.post, now).current()
        if not isinstance(token, Token):
            remedy = "check the url, the network and the proxy" if isinstance(token, Unreachable) else "check the key"
            yield Finding(Grade.PROBLEM, "API", f"{config.api.url}: {token.reason}", remedy)
            return
        path, headers = f"/v2/org/score/{uuid.UUID(int=0)}", {"Authorization": f"Bearer {token.secret}"}
        verdict = judge_other(http.request("GET", path, headers), now())
    finally:
        http.close()
    if isinstance(verdict, Answer) or (isinstance(verdict, Refused) and verdict.status == 404):
        yield Finding(Grade.OK, "API", f"{config.api.url} answers, and the token is accepted")
    elif isinstance(verdict, Unauthorized) or (isinstance(verdict, Refused) and verdict.status == 403):
        yield Finding(Grade.PROBLEM, "API", "the token is not accepted", "it needs the permission scope:api")
    else:
        why = f"HTTP {verdict.status}" if isinstance(verdict, Refused) else verdict.reason
        yield Finding(Grade.PROBLEM, "API", f"{config.api.url}: {why}", "is the url right?")
