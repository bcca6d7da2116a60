"""The units: every line gives its reason, and they agree with the program, with each other and with systemd."""

from __future__ import annotations

import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from canarysync import state
from canarysync.cli import cli
from canarysync.config import SYSTEM_CONFIG, load
from canarysync.errors import Exit
from canarysync.folder import DROP_MODE

ROOT = Path(__file__).parents[2]
SERVICE, ONCE, TIMER = (
    ROOT / "systemd" / name for name in ("canarysync.service", "canarysync-once.service", "canarysync-once.timer")
)
UNITS = [SERVICE, ONCE, TIMER]
PROGRAM = "/opt/canarysync/bin/canarysync"

Directives = dict[tuple[str, str], str]
"""(section, name) → value. Our units set each directive once."""


def directives(unit: Path) -> Directives:
    found: Directives = {}
    section = ""
    for line in unit.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals, line
            assert (section, name) not in found, f"{name} is set twice"
            found[section, name] = value
    return found


def setting(unit: Path, name: str) -> str:
    return directives(unit)["Service", name]


def test_these_are_all_units() -> None:
    assert sorted((ROOT / "systemd").iterdir()) == sorted(UNITS)


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_every_directive_has_its_reason_above_it(unit: Path) -> None:
    lines = unit.read_text(encoding="utf-8").splitlines()
    bare = [
        line
        for above, line in pairwise(lines)
        if line and not line.startswith(("#", "[")) and not above.startswith("# ")
    ]
    assert bare == []


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_no_comment_stands_behind_a_value(unit: Path) -> None:
    """systemd.syntax(7): a # behind a value is part of the value."""
    assert [value for value in directives(unit).values() if "#" in value] == []


@pytest.mark.parametrize(("unit", "command"), [(SERVICE, "run"), (ONCE, "run-once")])
def test_the_command_is_one_of_ours(unit: Path, command: str) -> None:
    assert setting(unit, "ExecStart").split() == [PROGRAM, command, "--config", str(SYSTEM_CONFIG)]
    options = [option for parameter in cli.commands[command].params for option in parameter.opts]
    assert "--config" in options


def test_exit_codes_mean_what_the_program_means() -> None:
    assert setting(SERVICE, "RestartPreventExitStatus") == str(int(Exit.CONFIG))
    assert setting(ONCE, "SuccessExitStatus") == str(int(Exit.TRY_AGAIN))
    assert setting(SERVICE, "Restart") == "on-failure"


@pytest.mark.parametrize("unit", [SERVICE, ONCE], ids=lambda unit: unit.name)
def test_paths_are_those_of_the_example_configuration(unit: Path) -> None:
    config = load(ROOT / "examples" / "config" / "one-clinic.yaml")
    assert Path("/var/lib") / setting(unit, "StateDirectory") == config.state
    assert int(setting(unit, "StateDirectoryMode"), 8) == state.MODE
    assert config.api.api_key is not None
    assert setting(unit, "LoadCredential") == f"api-key:{config.api.api_key.name}"
    [writable] = setting(unit, "ReadWritePaths").split()  # one: files cannot be renamed from one to another
    route = config.routes[0]
    assert all(folder.is_relative_to(writable) for folder in (route.drop, route.done, route.failed))
    assert directives(unit)["Unit", "RequiresMountsFor"] == writable


@pytest.mark.parametrize("unit", [SERVICE, ONCE], ids=lambda unit: unit.name)
def test_the_sandbox_lets_drop_folders_be_made(unit: Path) -> None:
    """RestrictSUIDSGID= would refuse the chmod; PrivateUsers= would hide the group."""
    assert DROP_MODE & 0o2000
    assert {("Service", "RestrictSUIDSGID"), ("Service", "PrivateUsers")}.isdisjoint(directives(unit))


def test_there_is_time_to_drain() -> None:
    api = load(ROOT / "examples" / "config" / "one-clinic.yaml").api
    assert setting(SERVICE, "TimeoutStopSec") == "2min"
    assert 2 * (api.connect_timeout_s + api.read_timeout_s) < 120


def test_both_services_run_as_the_same_user_in_the_same_sandbox() -> None:
    of_their_own = {"Type", "ExecStart", "Restart", "RestartSec", "RestartPreventExitStatus", "SuccessExitStatus"}
    of_their_own |= {"TimeoutStartSec"}
    service, once = (
        {name: value for (section, name), value in directives(unit).items() if section == "Service"}
        for unit in (SERVICE, ONCE)
    )
    assert {name for name in service.keys() ^ once.keys() if name not in of_their_own} == set()
    assert {name for name in service.keys() & once.keys() if service[name] != once[name]} == {"Type", "ExecStart"}


def test_the_timer_calls_the_pass() -> None:
    """Without Unit=, a timer starts the service of its own name (systemd.timer(5))."""
    assert ("Timer", "Unit") not in directives(TIMER)
    assert TIMER.stem == ONCE.stem
    assert directives(TIMER)["Install", "WantedBy"] == "timers.target"
    assert ("Install", "WantedBy") not in directives(ONCE)


def can_verify() -> bool:
    """Whether there is a systemd-analyze that can look at units below another root (systemd 250 or later)."""
    if shutil.which("systemd-analyze") is None:
        return False
    said = subprocess.run(["systemd-analyze", "--help"], capture_output=True, text=True, check=False)
    return "--recursive-errors" in said.stdout


@pytest.mark.skipif(not can_verify(), reason="needs systemd-analyze of systemd 250 or later")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_to_say(unit: Path, tmp_path: Path) -> None:
    installed = tmp_path / "etc" / "systemd" / "system"
    installed.mkdir(parents=True)
    for each in UNITS:
        shutil.copy(each, installed)
    program = tmp_path / PROGRAM.lstrip("/")
    program.parent.mkdir(parents=True)
    program.touch(mode=0o755)
    command = ["systemd-analyze", "verify", "--recursive-errors=no", f"--root={tmp_path}", unit.name]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (said.returncode, said.stderr) == (0, "")
