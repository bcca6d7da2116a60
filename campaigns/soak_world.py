"""Where the soak campaign happens: two routes and a state folder, on small file systems that can be filled up."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from campaigns.soak_files import MAX_SIZE_BYTES
from canarysync.candidates import ERROR_SUFFIX, RECEIPT_SUFFIX
from canarysync.folder import make_folders
from canarysync.sandbox import SANDBOX_API_KEY
from tests.support import Site

ROUTES = ("clinic-a", "clinic-b")
SUFFIXES = {"done": RECEIPT_SUFFIX, "failed": ERROR_SUFFIX}

FILES_MIB = 16
STATE_MIB = 48
"""Room for a ledger of 20,000 entries and its WAL, and some more that ballast takes."""

READ_BACK_WAIT_S = 3.0
"""Longer than any delay of the sandbox: what is carried out after both looks would be twice, whoever looks."""

READ_TIMEOUT_S = 1.0

ARCHIVED_AFTER_S = 10.0
"""How long a filed pair is left alone: longer than the state folder is ever full. Until the ledger has recorded it as
filed, a daemon that was killed looks for it in its place."""


@dataclass(frozen=True, slots=True)
class World:
    """All folders of a campaign, below ``home``: ``files`` holds those of the routes, ``archive`` what left them."""

    home: Path

    @property
    def files(self) -> Path:
        return self.home / "files"

    @property
    def state(self) -> Path:
        return self.home / "state"

    @property
    def archive(self) -> Path:
        return self.home / "archive"

    @property
    def site(self) -> Site:
        return Site(self.home, self.home / "canarysync.yaml")

    def filed(self) -> Iterator[tuple[str, str, Path]]:
        """Each route, and its done/ and failed/: (route, folder's name, folder)."""
        for route in ROUTES:
            for folder in SUFFIXES:
                yield route, folder, self.files / route / folder

    def waiting(self) -> list[str]:
        """What is in the drop folders, but for their markers."""
        return sorted(
            f"{route}/{name}"
            for route in ROUTES
            for name in os.listdir(self.files / route / "drop")
            if name != ".canarysync"
        )

    def tidy_up(self, older_than_s: float) -> None:
        """What an operator does so that the disk does not fill up: whole pairs go to the archive.

        The sidecar first: an error sidecar without its file is stale, and canarysync would remove it.
        """
        before_s = time.time() - older_than_s
        for route, folder, place in self.filed():
            target, suffix = self.archive / route / folder, SUFFIXES[folder]
            names = set(os.listdir(place))
            for name in names:
                if f"{name}{suffix}" in names and all(_older(place / n, before_s) for n in (name, name + suffix)):
                    shutil.move(place / f"{name}{suffix}", target)
                    shutil.move(place / name, target)


def _older(path: Path, before_s: float) -> bool:
    """By ctime, which a rename changes too."""
    return path.lstat().st_ctime < before_s


@contextmanager
def world(home: Path, url: str, *, plain: bool) -> Iterator[World]:
    """A world for the API at ``url``; on file systems of its own unless ``plain``."""
    made = World(home)
    made.files.mkdir()
    made.state.mkdir()
    mounts = {} if plain else {made.files: FILES_MIB, made.state: STATE_MIB}
    try:
        for folder, size_mib in mounts.items():
            subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size_mib}m", "soak", folder], check=True)
        _configure(made, url)
        yield made
    finally:
        for folder in mounts:
            subprocess.run(["umount", "--lazy", folder], check=False)


def _configure(made: World, url: str) -> None:
    key = made.home / "api-key"
    key.write_text(SANDBOX_API_KEY)
    key.chmod(0o600)
    route = {
        "settle": "2s",
        "rescan": "5s",
        "max_size": f"{MAX_SIZE_BYTES // 1024}KiB",
        "retry": {"first": "200ms", "most": "2s"},
    }
    config = {
        "api": {
            "url": url,
            "api_key": {"file": "api-key"},
            "timeout": {"connect": "1s", "read": f"{READ_TIMEOUT_S:g}s"},
            "read_back": {"wait": f"{READ_BACK_WAIT_S:g}s"},
        },
        "routes": [{"folder": f"files/{name}", **route} for name in ROUTES],
        "state": "state",
    }
    made.site.config_path.write_text(json.dumps(config, indent=2))  # which is YAML too
    for loaded in made.site.config.routes:
        make_folders(loaded)
    for name, folder, _ in made.filed():
        (made.archive / name / folder).mkdir(parents=True)


def fill(folder: Path) -> None:
    """Fill the file system of ``folder``, to its last byte."""
    with (folder / "ballast").open("ab", buffering=0) as ballast:
        try:
            while True:
                ballast.write(bytes(1 << 16))
        except OSError as error:
            if error.errno != errno.ENOSPC:
                raise


def unfill(folder: Path) -> None:
    """Take the ballast away."""
    (folder / "ballast").unlink(missing_ok=True)


def into_namespace(module: str) -> None:
    """Start anew where mounts may be made, and vanish with the process; return if that is not to be had.

    As root in a mount namespace; else in a user namespace too, where the system allows it.
    """
    for options in ("-m", "-rm"):
        trial = ["unshare", options, "mount", "-t", "tmpfs", "soak", tempfile.gettempdir()]
        try:
            possible = subprocess.run(trial, capture_output=True, check=False).returncode == 0
        except FileNotFoundError:
            return
        if possible:
            again = [sys.executable, "-m", module, *sys.argv[1:], "--in-namespace"]
            os.execvp("unshare", ["unshare", options, *again])
