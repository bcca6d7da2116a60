"""Installed as a wheel, from an sdist, and editable: each time it finds all it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet")


def call(*command: object, cwd: Path) -> str:
    env = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what git would give, so that builds leave nothing behind here."""
    copy = tmp_path / "checkout" / "canarysync"
    left_out = shutil.ignore_patterns(".git", ".venv", "build", "dist", "*.egg-info", "__pycache__", ".*_cache")
    shutil.copytree(ROOT, copy, symlinks=True, ignore=left_out)
    return copy


def source(how: str, checkout: Path, built: Path) -> list[object]:
    """What pip is given to install it."""
    if how == "editable":
        return ["--editable", checkout]
    call(sys.executable, "-m", "build", f"--{how}", "--outdir", built, checkout, cwd=built)
    return [next(built.glob("*.whl" if how == "wheel" else "*.tar.gz"))]


def test_it_runs_wherever_it_is_installed_from(checkout: Path, tmp_path: Path) -> None:
    """In turn, in one new environment: its dependencies come with the first, its own files go before the next."""
    environment = tmp_path / "venv"
    call(sys.executable, "-m", "venv", "--without-pip", environment, cwd=tmp_path)
    pip = (*PIP, "--python", environment / "bin" / "python")
    canarysync = environment / "bin" / "canarysync"
    for how in ("wheel", "sdist", "editable"):
        call(*pip, "install", *source(how, checkout, tmp_path), cwd=tmp_path)
        assert "canarysync 0." in call(canarysync, "--version", cwd=tmp_path)
        assert "put-score" in call(canarysync, "schema", "score", cwd=tmp_path)
        example = checkout / "examples" / "config" / "one-clinic.yaml"
        assert "[Service]" in call(canarysync, "systemd", "-c", example, cwd=tmp_path)
        assert "16 uploaded, 19 failed" in call(canarysync, "demo", cwd=tmp_path)
        assert (environment / "share" / "man" / "man1" / "canarysync.1").is_file(), how
        call(*pip, "uninstall", "--yes", "canarysync", cwd=tmp_path)
        assert not canarysync.exists(), how
