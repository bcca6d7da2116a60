"""The commands as a user runs them: what they print, and their exit codes."""

from __future__ import annotations

import json
import os
import pty
import select
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from canarysync.sandbox import SANDBOX_API_KEY, Sandbox
from tests.support import Site, command, score, stored

ROOT = Path(__file__).parents[2]


def config(site: Site) -> tuple[str, str]:
    return ("-c", str(site.config_path))


def test_run_once_says_what_it_did_and_exits_by_it(site: Site, sandbox: Sandbox) -> None:
    nothing = site.cli("run-once", *config(site))
    assert (nothing.returncode, nothing.stdout) == (0, "nothing to do\n")
    site.put("good.json", score(1))
    good = site.cli("run-once", *config(site))
    assert (good.returncode, good.stdout) == (0, "1 uploaded\n")
    site.put("bad.json", "{")
    bad = site.cli("run-once", *config(site))
    assert (bad.returncode, bad.stdout) == (1, "1 failed (1 syntax)\n")
    sandbox.stop()
    site.put("later.json", score(2))
    site.put("bad too.json", "{")
    waiting = site.cli("run-once", *config(site))
    assert waiting.returncode == 75, "75 wins over 1"
    assert waiting.stdout == "1 failed (1 syntax), 1 waiting (1 until the API can be used)\n"
    sandbox.start()
    assert site.cli("run-once", *config(site)).returncode == 0
    site.assert_all_done_once(["good.json", "later.json"], stored(sandbox))


def test_run_once_for_programs(site: Site) -> None:
    site.put("good.json", score(1))
    site.put("bad.json", "{}")
    told = site.cli("run-once", "--json", *config(site))
    summary = json.loads(told.stdout)
    assert summary["outcomes"] == {"uploaded": 1, "failed": 1}
    assert summary["failedByCode"] == {"invalid": 1}
    assert summary["exitCode"] == told.returncode == 1


def test_run_once_wait_keeps_at_it(site: Site, sandbox: Sandbox) -> None:
    site.put("visit.json", score(1))
    sandbox.faults.add("put:status=503,retry_after=1,times=1")
    left = site.cli("run-once", *config(site))
    assert left.returncode == 75
    sandbox.faults.add("put:status=429,retry_after=1,times=1")
    kept = site.cli("run-once", "--wait", "1m", *config(site))
    assert (kept.returncode, kept.stdout) == (0, "1 uploaded\n")


def test_run_once_shows_a_progress_bar_on_a_terminal_only(site: Site) -> None:
    for number in range(30):
        site.put(f"visit-{number}.json", score(number))
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "canarysync", "run-once", *config(site)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"})
    os.close(theirs)
    seen = b""
    while select.select([ours], [], [], 60)[0]:
        try:
            part = os.read(ours, 65536)
        except OSError:  # EIO: the other end is closed
            break
        if not part:
            break
        seen += part
    stdout, _ = process.communicate(timeout=60)
    assert stdout == b"30 uploaded\n"
    assert b"30/30" in seen
    piped = site.cli("run-once", *config(site))
    assert "\x1b" not in piped.stderr + piped.stdout


def test_validate_tells_all_problems_with_their_places(tmp_path: Path) -> None:
    (tmp_path / "good.json").write_text(json.dumps(score(1)))
    (tmp_path / "bad.json").write_text('{"assessmentId": "x",\n "extradata": {}}')
    command = [sys.executable, "-m", "canarysync", "validate", "good.json", "bad.json", "missing.json"]
    command.append("bad.json.error.json")
    told = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert told.returncode == 1
    lines = told.stdout.splitlines()
    assert lines[0] == "good.json: valid"
    assert any(line.startswith("bad.json:1:18: ") for line in lines)
    assert any(line.startswith("bad.json:2:2: ") and "extradata" in line for line in lines)
    assert lines[-2:] == [
        "missing.json: There is no such file.",
        "3 files: 1 valid, 2 not (1 invalid, 1 unreadable); 1 sidecars left alone",
    ]


def test_check_probes_everything_and_changes_nothing(site: Site, sandbox: Sandbox) -> None:
    before = sorted(site.home.rglob("*"))
    good = site.cli("check", *config(site))
    assert good.returncode == 0, good.stdout
    assert sorted(site.home.rglob("*")) == before
    assert SANDBOX_API_KEY not in good.stdout + good.stderr
    (site.home / "api-key").chmod(0o644)
    site.done.rmdir()
    sandbox.stop()
    bad = json.loads(site.cli("check", "--json", *config(site)).stdout)
    grades = {f"{finding['route']} {finding['subject']}".strip(): finding["grade"] for finding in bad}
    assert grades["API key"] == "warning"
    assert grades["clinic done"] == "problem"
    assert grades["API"] == "problem"
    assert all(finding["remedy"] for finding in bad if finding["grade"] == "problem")


def test_init_overwrites_nothing(tmp_path: Path) -> None:
    def init() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "canarysync", "init", "clinic", "--state", "state"]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)

    assert init().returncode == 0
    assert {path.name for path in (tmp_path / "clinic").iterdir()} == {"drop", "done", "failed"}
    written = (tmp_path / "canarysync.yaml").read_text()
    again = init()
    assert again.returncode == 78
    assert "it is there already" in again.stderr
    assert (tmp_path / "canarysync.yaml").read_text() == written


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "cannot be read"),
        ("routes: []\n", "needs `api`"),
        ("api: {region: eus, api_key: 1A2B3C:c2VjcmV0}\nroutes: [{folder: /srv/x}]\n", "canarysync.yaml:1:"),
        ("a: [\n", "canarysync.yaml:"),
    ],
)
def test_a_bad_config_is_told_with_places_and_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str | None, told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if text is not None:
        (tmp_path / "canarysync.yaml").write_text(text)
    for name in ("run", "run-once", "status", "check"):
        done = command(name, "-c", "canarysync.yaml")
        assert done.returncode == 78, name
        assert told in done.stderr
        assert "c2VjcmV0" not in done.stderr
        assert "Traceback" not in done.stderr


def test_a_missing_secret_or_a_foreign_state_folder_is_said_at_the_start(site: Site) -> None:
    (site.home / "api-key").unlink()
    told = site.cli("run-once", *config(site))
    assert told.returncode == 78
    assert "api-key" in told.stderr
    assert "what to do" in told.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another user")
def test_the_state_folder_of_another_user_is_refused_with_the_command_that_mends_it(site: Site) -> None:
    (site.home / "state").mkdir()
    shutil.chown(site.home / "state", user="nobody")
    told = site.cli("run-once", *config(site))
    assert told.returncode == 78
    assert "sudo -u nobody" in told.stderr


def test_a_defect_is_told_without_values(site: Site) -> None:
    code = (
        "import canarysync.config as c\n"
        "def broken(*_): raise ValueError('CANARY-VALUE')\n"
        "c.load = broken\n"
        "from canarysync.cli import main; main()\n"
    )
    command = [sys.executable, "-c", code, "status", *config(site)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 70
    assert "ValueError at" in done.stderr
    assert "CANARY-VALUE" not in done.stderr


@pytest.mark.parametrize("arguments", [["--help"], ["run-once", "--help"], ["--version"]])
def test_help_needs_no_config(arguments: list[str]) -> None:
    command = [sys.executable, "-m", "canarysync", *arguments]
    assert subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).returncode == 0


def test_usage_errors_exit_with_2() -> None:
    command = [sys.executable, "-m", "canarysync", "run-once", "--wait", "soon"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "10m" in done.stderr


def test_the_console_script_is_the_program() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["scripts"] == {"canarysync": "canarysync.cli:main"}
