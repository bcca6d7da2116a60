"""Every example in the README is run, and what it prints is what the README says."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from canarysync import schema
from canarysync.schema import SchemaName
from tests.support import README, section

ROOT = Path(__file__).parents[2]


def sessions() -> list[str]:
    """The console blocks of the README, in their order: one session, since each goes on where the last ended."""
    return re.findall(r"^```console\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def steps(session: str) -> list[tuple[str, str]]:
    """(command, the output that the README shows) of each command of a block."""
    parts = re.split(r"^\$ (.*)\n", session, flags=re.MULTILINE)
    return list(zip(parts[1::2], parts[2::2], strict=True))


def matches(shown: str, printed: str) -> bool:
    """``…`` in the README stands for anything."""
    pattern = ".*?".join(re.escape(part) for part in shown.strip().split("…"))
    return re.fullmatch(pattern, printed.strip(), re.DOTALL) is not None


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def test_the_five_minutes(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "examples", tmp_path / "examples", symlinks=True)
    commands = tmp_path / "bin"
    commands.mkdir()
    (commands / "canarysync").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m canarysync "$@"\n')
    (commands / "canarysync").chmod(0o755)
    env = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    port = str(free_port())
    servers: list[subprocess.Popen[str]] = []
    try:
        for command, shown in [step for session in sessions() for step in steps(session)]:
            run, expected = command.replace("8787", port), shown.replace("8787", port)
            if run.endswith(" &"):
                process = subprocess.Popen(run.split()[:-1], cwd=tmp_path, env=env, stdout=subprocess.PIPE, text=True)
                servers.append(process)
                assert process.stdout is not None
                printed = process.stdout.readline()
            else:
                printed = subprocess.run(
                    run, shell=True, cwd=tmp_path, env=env, text=True, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT, timeout=60, check=False,
                ).stdout  # fmt: skip
            assert matches(expected, printed), f"$ {run}\n{printed}\nbut the README shows\n{expected}"
    finally:
        for process in servers:
            process.send_signal(signal.SIGTERM)
            process.communicate(timeout=30)


def test_every_key_of_the_sidecars_is_told(tmp_path: Path) -> None:
    """The sidecars of a run of the demo, against the README's two tables."""
    told = set(re.findall(r"`(\w+)`", section("Sidecars")))
    command = [sys.executable, "-m", "canarysync", "demo", str(tmp_path / "demo")]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    sidecars = [*tmp_path.rglob("*.receipt.json"), *tmp_path.rglob("*.error.json")]
    assert len(sidecars) >= 30
    for path in sidecars:
        sidecar: dict[str, Any] = json.loads(path.read_text())
        assert set(sidecar) <= told, path.name


@pytest.mark.parametrize("name", list(SchemaName))
def test_the_schemas_are_printed_whole(name: SchemaName) -> None:
    command = [sys.executable, "-m", "canarysync", "schema", str(name)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout
    assert json.loads(printed) == schema.load(name)
