"""The main job, shown: a simulated API, the example files, the real pipeline, and what came of it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from importlib.resources import as_file, files
from pathlib import Path

from canarysync import logs
from canarysync.config import Config, load
from canarysync.folder import make_folders
from canarysync.sandbox import SANDBOX_API_KEY, Sandbox
from canarysync.service import service
from canarysync.starter import starter_config
from canarysync.views import summary_line, tree

SUB_FOLDERS = ("drop", "done", "failed")
_CLINIC = "clinic-a"


def run(home: Path, say: Callable[[str], None]) -> None:
    """Lay everything out below ``home`` (an empty folder), run one pass over it, and ``say`` what happens."""
    logs.set_up("error", "text")
    with Sandbox() as sandbox:
        config = _lay_out(home, sandbox.url)
        say(f"A simulated Canary Speech API listens on {sandbox.url}.\n\nBefore:\n")
        say(tree(home / _CLINIC, SUB_FOLDERS))
        say(f"\n$ canarysync run-once --config {config.path}\n")
        with service(config, {}, once=True) as daemon:
            summary = daemon.run()
        say(summary_line(summary))
        say("\nAfter:\n")
        say(tree(home / _CLINIC, SUB_FOLDERS))
        for text in _sidecars(home / _CLINIC):
            say(text)
        say(f"\nThe API now has {len(sandbox.scores)} scores, one for each file in done/.")


def _lay_out(home: Path, url: str) -> Config:
    key = home / "api-key"
    key.write_text(SANDBOX_API_KEY)
    key.chmod(0o600)
    path = home / "canarysync.yaml"
    values = {
        "api.url": url,
        "api.api_key": {"file": "api-key"},
        "routes[].folder": _CLINIC,
        "routes[].settle": "200ms",
        "state": "state",
    }
    path.write_text(starter_config(values))
    config = load(path)
    make_folders(config.routes[0])
    _copy_examples(config.routes[0].drop)
    return config


def _copy_examples(drop: Path) -> None:
    """The files of examples/, and one that is too large to be an example."""
    for kind in ("scores", "errors"):
        with as_file(files("canarysync") / "examples" / kind) as folder:
            for source in sorted(folder.iterdir()):
                if not source.is_symlink():
                    shutil.copy(source, drop / source.name)
    (drop / "too-large.json").write_text(" " * (1 << 20) + "{}")
    (drop / "unsafe-link.json").symlink_to("visit.json")


def _sidecars(clinic: Path) -> Iterator[str]:
    for folder, what in (("done", "A receipt"), ("failed", "An error")):
        sidecars = sorted(
            (clinic / folder).glob("*.receipt.json" if folder == "done" else "invalid-misspelt-key.json.error.json")
        )
        for sidecar in sidecars[:1]:
            yield f"\n{what}, {folder}/{sidecar.name}:\n\n{sidecar.read_text()}"
