"""Units brought to their places and taken away again: a plan first, which can be looked at, then its steps."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from canarysync import durable
from canarysync.errors import SetupError, from_os
from canarysync.units import FOLDERS, UnitFile, Units

_OURS = {
    "system": ("canarysync.service", "canarysync@*.service", "canarysync-once*.service", "canarysync-once*.timer"),
    "sysusers": ("canarysync.conf",),
    "tmpfiles": ("canarysync.conf", "canarysync@*.conf"),
}


@dataclass(frozen=True, slots=True)
class Change:
    """A file's text before and after; None where it is not there."""

    path: Path
    before: str | None
    after: str | None

    @property
    def words(self) -> tuple[str, str]:
        """What is to be done, and what was."""
        if self.before == self.after:
            return "leave", "unchanged"
        if self.after is None:
            return "remove", "removed"
        return ("write", "wrote") if self.before is None else ("change", "changed")


def to_install(files: Iterable[UnitFile], root: Path) -> list[Change]:
    """What has to change below ``root`` so that these files are there."""
    return [Change(root / file.path, _text(root / file.path), file.text) for file in files]


def to_uninstall(root: Path) -> list[Change]:
    """What has to go: all units of canarysync, of whatever configuration. Raises SetupError while one is enabled."""
    system = root / FOLDERS["system"]
    enabled = sorted(link.name for link in system.glob("*.wants/canarysync*"))
    if enabled:
        hint = f"systemctl disable --now {' '.join(enabled)}"
        raise SetupError("remove the units", str(system), f"{enabled[0]} is enabled", hint)
    found = {path for kind, names in _OURS.items() for name in names for path in (root / FOLDERS[kind]).glob(name)}
    return [Change(path, _text(path), None) for path in sorted(found)]


def carry_out(changes: Sequence[Change]) -> None:
    """Write and remove; each file whole or not at all."""
    for change in changes:
        try:
            _apply(change)
        except PermissionError as error:
            operation = f"{change.words[0]} the unit"
            raise SetupError(operation, str(change.path), str(error.strerror), "run this as root (sudo)") from None
        except OSError as error:
            raise from_os(f"{change.words[0]} the unit", str(change.path), error) from None


def told(changes: Sequence[Change], *, dry_run: bool) -> Iterator[str]:
    """A line for each file; in a dry run, with what would change in it."""
    for change in changes:
        would, did = change.words
        yield f"{f'would {would}' if dry_run else did} {change.path}"
        if dry_run and change.before is not None and change.after not in (None, change.before):
            yield from _difference(change)


def printed(units: Units) -> Iterator[str]:
    """All files, each below its name, as `systemctl cat` shows them."""
    for number, file in enumerate(units.files):
        yield from (["", f"# /{file.path}"] if number else [f"# /{file.path}"])
        yield file.text.rstrip("\n")


def next_steps(units: Units | None) -> Iterator[str]:
    """What is left to do for root after these were installed, or all removed (None)."""
    if units is None:
        yield "Kept: the configuration, the ledger, all score files, and the user. Next: systemctl daemon-reload"
        return
    yield "Next, as root:"
    yield from (f"  {step}" for step in ("systemd-sysusers", "systemd-tmpfiles --create", *units.steps))
    yield "  systemctl daemon-reload"
    yield f"  systemctl enable {units.start}"
    yield f"  systemctl restart {units.start}"


def _apply(change: Change) -> None:
    if change.after is None:
        change.path.unlink()
    elif change.after != change.before:
        durable.make_folder(change.path.parent)
        durable.replace(change.path, change.after.encode(), f".{change.path.name}.tmp", 0o644)
        durable.sync_folder(change.path.parent)


def _difference(change: Change) -> Iterator[str]:
    before, after = (change.before or "").splitlines(), (change.after or "").splitlines()
    for line in difflib.unified_diff(before, after, "now", "then", lineterm="", n=1):
        yield f"    {line}"


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise from_os("read the unit", str(path), error) from None
