"""Installed as a wheel, from an sdist, and editable, each into an environment of its own: it finds all it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def call(*command: object, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what git would give, so that builds leave nothing behind here."""
    copy = tmp_path_factory.mktemp("checkout") / "canarysync"
    left_out = shutil.ignore_patterns(".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=left_out)
    return copy


@pytest.mark.parametrize("how", ["wheel", "sdist", "editable"])
def test_it_runs_wherever_it_is_installed_from(how: str, checkout: Path, tmp_path: Path) -> None:
    environment = tmp_path / "venv"
    call(sys.executable, "-m", "venv", environment, cwd=tmp_path)
    python, canarysync = environment / "bin" / "python", environment / "bin" / "canarysync"
    source: list[object] = ["--editable", checkout]
    if how != "editable":
        call(sys.executable, "-m", "build", f"--{how}", "--outdir", tmp_path, checkout, cwd=tmp_path)
        source = [next(tmp_path.glob("*.whl" if how == "wheel" else "*.tar.gz"))]
    call(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *source, cwd=tmp_path)
    assert "canarysync 0." in call(canarysync, "--version", cwd=tmp_path)
    assert "put-score" in call(canarysync, "schema", "score", cwd=tmp_path)
    assert "16 uploaded, 19 failed" in call(canarysync, "demo", cwd=tmp_path)
