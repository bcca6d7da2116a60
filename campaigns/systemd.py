"""Does it work under a real systemd? A Debian is booted, canarysync installed in it, and everything tried.

    make systemd
    python -m campaigns.systemd --only drained,watchdog

Needs root, and debootstrap and systemd-nspawn (apt install debootstrap systemd-container). The first time, debootstrap
fetches a small Debian from the mirror that this machine's apt uses; it is kept in --cache. Ends with a table, and
with 1 if anything failed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from campaigns.systemd_checks import CHECKS
from campaigns.systemd_machine import Machine, booted, debian, in_namespace, missing_tools
from campaigns.systemd_place import Place, install
from canarysync.errors import Exit

ROOT = Path(__file__).parents[1]
PYTHON = "3.11"  # Debian 12's
_TROUBLES = (AssertionError, OSError, LookupError, ValueError, subprocess.SubprocessError)

Check = Callable[[Place], str | None]


@dataclass(frozen=True, slots=True)
class Result:
    """How a check ended. ``note``: what it has to tell, or why it failed."""

    check: Check
    good: bool
    note: str
    seconds: float

    @property
    def line(self) -> str:
        """For the table."""
        word = "ok" if self.good else "FAILED"
        return f"{word:6}  {self.seconds:5.1f} s  {(self.check.__doc__ or '').strip()}"


def wheels(folder: Path) -> Path:
    """canarysync as it is here, and all that it needs, as wheels for the machine's Python."""
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT)], check=True)
    fetch = ["download", "--only-binary=:all:", f"--python-version={PYTHON}", "--dest", str(folder)]
    subprocess.run([*pip, *fetch, *map(str, folder.glob("canarysync-*.whl"))], check=True)
    return folder


def carry_out(check: Check, place: Place) -> Result:
    """One check; if it fails, with the end of the service's log."""
    began_s = time.monotonic()
    try:
        note, good = check(place) or "", True
    except _TROUBLES as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else ""
        log = place.machine.run("journalctl", "--unit=canarysync*", "--lines=16", "--output=short", check=False).stdout
        note, good = f"{type(error).__name__}: {error}\n{said}\n{log}", False
    return Result(check, good, note, time.monotonic() - began_s)


def campaign(checks: Sequence[Check], machine: Machine, scratch: Path) -> list[Result]:
    """Install, then every check; each is told as it ends."""
    place = Place(machine)
    results = []

    def installed(place: Place) -> str:
        """canarysync is installed as the README says"""
        return install(place, wheels(scratch / "wheels"))

    for check in (installed, *checks):
        result = carry_out(check, place)
        results.append(result)
        print(result.line, *result.note.splitlines(), sep="\n        ", flush=True)
        if check is installed and not result.good:
            break
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--cache", type=Path, default=Path("/var/cache/canarysync"), help="keeps the fresh Debian")
    parser.add_argument("--mirror", help="of Debian; by default the one that this machine's apt uses")
    parser.add_argument("--only", help="the names of some checks, with commas")
    arguments = parser.parse_args()
    if os.geteuid() != 0 or missing_tools():
        print(f"this needs root, and {', '.join(missing_tools()) or 'nothing more'}", file=sys.stderr)
        sys.exit(Exit.USAGE)
    in_namespace("campaigns.systemd")
    only = arguments.only.split(",") if arguments.only else [check.__name__ for check in CHECKS]
    checks = [check for check in CHECKS if check.__name__ in only]
    fresh = debian(arguments.cache, arguments.mirror)
    with tempfile.TemporaryDirectory() as temporary, booted(fresh, Path(temporary)) as machine:
        told = machine.shell(". /etc/os-release; echo $PRETTY_NAME; systemctl --version | head -n 1").splitlines()
        print(", ".join(told), flush=True)
        results = campaign(checks, machine, Path(temporary))
    print("\n".join(["", *(result.line for result in results)]))
    sys.exit(0 if all(result.good for result in results) else 1)


if __name__ == "__main__":
    main()
