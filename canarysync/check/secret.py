"""Probes of the secret: is it there, for us, and for nobody else? Never shows it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path

from canarysync import units
from canarysync.auth import read_secret
from canarysync.check.findings import Finding, ok, warning
from canarysync.config import Config, SecretKind, SecretRef
from canarysync.state import user_name


def secret(config: Config, environment: Mapping[str, str]) -> Iterator[Finding]:
    """The API key or token."""
    ref = config.api.token or config.api.api_key
    assert ref is not None, "the config holds one of them"
    subject = "token" if config.api.token else "API key"
    if unseen(ref, environment):
        text = f"the systemd credential {ref.name} is seen only inside the service (CREDENTIALS_DIRECTORY is not set)"
        yield warning(subject, text, _test_inside(config))
        return
    read_secret(ref, environment)
    yield from list(_rights(subject, ref)) or [ok(subject, f"{ref.kind} {ref.name}")]


def unseen(ref: SecretRef | None, environment: Mapping[str, str]) -> bool:
    """Whether it is a systemd credential, and this is not run by systemd."""
    return ref is not None and ref.kind is SecretKind.CREDENTIAL and not environment.get("CREDENTIALS_DIRECTORY")


def _test_inside(config: Config) -> str:
    user = units.USER if os.geteuid() == 0 else user_name(os.geteuid())
    return units.as_service(config, units.running_program(), user, "check", "-c", str(config.path))


def _rights(subject: str, ref: SecretRef) -> Iterator[Finding]:
    if ref.kind is not SecretKind.FILE:
        return
    seen = Path(ref.name).stat()
    if seen.st_mode & stat.S_IRWXO:
        yield warning(subject, f"{ref.name} can be used by everybody", f"chmod o= {ref.name}")
    elif seen.st_mode & stat.S_IRWXG and seen.st_uid != 0 and seen.st_gid not in (os.getegid(), *os.getgroups()):
        # Not of root's file: its group is how the service reads it.
        yield warning(subject, f"{ref.name} can be used by a group that is not ours", f"chmod g= {ref.name}")
    if seen.st_uid not in (0, os.geteuid()):
        user = user_name(os.geteuid())
        yield warning(subject, f"{ref.name} belongs to {user_name(seen.st_uid)}, who can change it",
                      f"chown {user} {ref.name}, if the service runs as {user}")  # fmt: skip
