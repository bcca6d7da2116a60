"""The units: every line gives its reason, and they agree with the program, with each other and with systemd."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner

from canarysync import installing, state, units
from canarysync.cli import cli
from canarysync.config import SYSTEM_CONFIG, Config, Route, SecretKind, SecretRef, load
from canarysync.errors import Exit, SetupError
from canarysync.mounts import Mount

ROOT = Path(__file__).parents[2]
SERVICE, TEMPLATE, ONCE, TIMER = (
    ROOT / "systemd" / name
    for name in ("canarysync.service", "canarysync@.service", "canarysync-once.service", "canarysync-once.timer")
)
UNITS = [SERVICE, TEMPLATE, ONCE, TIMER]
SERVICES = [SERVICE, TEMPLATE, ONCE]
PROGRAM = "/opt/canarysync/bin/canarysync"
WORST_EXPOSURE = 1.5

Directives = dict[tuple[str, str], str]
"""(section, name) → value. Our units set each directive once, but SystemCallFilter=, of which the lines add up."""


def directives(unit: Path) -> Directives:
    found: Directives = {}
    section = ""
    for line in unit.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            name, equals, value = line.partition("=")
            assert equals, line
            assert (section, name) not in found or name == "SystemCallFilter", f"{name} is set twice"
            found[section, name] = f"{found.get((section, name), '')} {value}".strip()
    return found


def setting(unit: Path, name: str) -> str:
    return directives(unit)["Service", name]


def test_these_are_all_units() -> None:
    others = [ROOT / "systemd" / kind / "canarysync.conf" for kind in ("sysusers.d", "tmpfiles.d")]
    assert sorted(path for path in (ROOT / "systemd").rglob("*") if path.is_file()) == sorted([*UNITS, *others])


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
    assert setting(TEMPLATE, "ExecStart").replace("%i", SYSTEM_CONFIG.stem) == setting(SERVICE, "ExecStart")
    options = [option for parameter in cli.commands[command].params for option in parameter.opts]
    assert "--config" in options


def test_exit_codes_mean_what_the_program_means() -> None:
    assert setting(SERVICE, "RestartPreventExitStatus") == f"{int(Exit.USAGE)} {int(Exit.CONFIG)}"
    assert setting(ONCE, "SuccessExitStatus") == str(int(Exit.TRY_AGAIN))
    assert setting(SERVICE, "Restart") == "on-failure"


@pytest.mark.parametrize("unit", [SERVICE, ONCE], ids=lambda unit: unit.name)
def test_paths_are_those_of_the_example_configuration(unit: Path) -> None:
    config = load(ROOT / "examples" / "config" / "one-clinic.yaml")
    assert Path("/var/lib") / setting(unit, "StateDirectory") == config.state
    assert int(setting(unit, "StateDirectoryMode"), 8) == state.MODE
    assert config.api.api_key is not None
    name = config.api.api_key.name
    assert setting(unit, "LoadCredential") == f"{name}:{SYSTEM_CONFIG.parent / name}"
    [writable] = setting(unit, "ReadWritePaths").split()  # one: files cannot be renamed from one to another
    route = config.routes[0]
    assert all(folder.is_relative_to(writable) for folder in (route.drop, route.done, route.failed))
    assert ("Unit", "RequiresMountsFor") not in directives(unit), "a share that is away would stop all routes"


def test_there_is_time_to_drain() -> None:
    api = load(ROOT / "examples" / "config" / "one-clinic.yaml").api
    assert setting(SERVICE, "TimeoutStopSec") == "2min"
    assert 2 * (api.connect_timeout_s + api.read_timeout_s) < 120


def test_all_services_run_as_the_same_user_in_the_same_sandbox() -> None:
    of_a_daemon = {"WatchdogSec", "Restart", "RestartSec", "RestartPreventExitStatus", "ExecReload"}
    of_once = {"SuccessExitStatus"}
    service, template, once = (
        {name: value for (section, name), value in directives(unit).items() if section == "Service"}
        for unit in SERVICES
    )
    named = {"ExecStart", "LoadCredential", "StateDirectory"}
    assert service.keys() == template.keys()
    assert {name for name in service if service[name] != template[name]} == named
    assert service.keys() - once.keys() == of_a_daemon
    assert once.keys() - service.keys() == of_once
    own = {"Type", "ExecStart", "TimeoutStartSec"}
    assert {name for name in service.keys() & once.keys() if service[name] != once[name]} == own


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


needs_systemd = pytest.mark.skipif(not can_verify(), reason="needs systemd-analyze of systemd 250 or later")


def installed(root: Path, files: list[Path], programs: list[str]) -> None:
    """Units, and the programs that they call, below another root."""
    for file in files:
        (root / units.FOLDERS["system"]).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, root / units.FOLDERS["system"])
    for program in [*programs, "/bin/kill"]:
        path = root / program.lstrip("/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o755)


def verified(root: Path, unit: str) -> tuple[int, str]:
    command = ["systemd-analyze", "verify", "--recursive-errors=no", f"--root={root}", unit]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return said.returncode, said.stderr


@needs_systemd
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_finds_nothing_to_say(unit: Path, tmp_path: Path) -> None:
    installed(tmp_path, UNITS, [PROGRAM])
    assert verified(tmp_path, unit.name) == (0, "")


@needs_systemd
@pytest.mark.parametrize("unit", SERVICES, ids=lambda unit: unit.name)
def test_systemd_rates_the_sandbox_well(unit: Path) -> None:
    command = ["systemd-analyze", "security", "--offline=yes", "--no-pager", str(unit)]
    said = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout
    [exposure] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert float(exposure) <= WORST_EXPOSURE


# --- filled in for a machine ------------------------------------------------------------------------------


def configured(path: Path = SYSTEM_CONFIG, **changes: object) -> Config:
    """The example of one clinic, at ``path``."""
    config = load(ROOT / "examples" / "config" / "one-clinic.yaml")
    return dataclasses.replace(config, path=path, **changes)


def route(folder: str, **changes: object) -> Route:
    home = Path(folder)
    [example] = configured().routes
    changed = dataclasses.replace(example, drop=home / "drop", done=home / "done", failed=home / "failed")
    return dataclasses.replace(changed, **changes)


def program(script: str = PROGRAM) -> units.Program:
    return units.Program((script,), (Path(script),))


@pytest.mark.parametrize("timer", [False, True])
def test_with_the_usual_paths_the_units_are_those_of_the_package(timer: bool) -> None:
    made = units.for_config(configured(), program(), "canarysync", timer=timer)
    shipped = {file.name: file for file in UNITS}
    for file in made.files:
        source = shipped.get(file.path.name, ROOT / "systemd" / file.path.parent.name / file.path.name)
        assert file.text == source.read_text(encoding="utf-8")
    assert made.start == (TIMER if timer else SERVICE).name


def test_another_configuration_is_another_instance() -> None:
    path = Path("/etc/canarysync/north.yaml")
    config = configured(path, routes=(route("/srv/north/ward", group="lab"),), state=Path("/data/ledger"))
    made = units.for_config(config, program(), "labsync", timer=False)
    assert [file.path.name for file in made.files] == [
        "canarysync@north.service", "canarysync.conf", "canarysync@north.conf",
    ]  # fmt: skip
    lines = made.files[0].text.splitlines()
    assert {
        "User=labsync",
        "SupplementaryGroups=lab",
        f"ExecStart={PROGRAM} run --config {path}",
        "LoadCredential=api-key:/etc/canarysync/north.api-key",
        "ReadWritePaths=/data/ledger /srv/north",
    } < set(lines)
    assert not [line for line in lines if line.startswith("StateDirectory")]
    assert "d /data/ledger :0700 :labsync :labsync" in made.files[2].text
    assert "sudo install -d -o labsync -g lab -m 2770 /srv/north/ward/drop" in made.steps[0]
    with pytest.raises(SetupError, match="north wing"):
        units.for_config(configured(Path("/etc/north wing.yaml")), program(), "labsync", timer=False)


@pytest.mark.parametrize(
    ("secret", "step"),
    [
        (SecretRef(SecretKind.CREDENTIAL, "api-key"), "(umask 077; cat > {}/api-key)   # type"),
        (SecretRef(SecretKind.FILE, "{}/key"), "(umask 027; cat > {}/key) && chgrp labsync {}/key   # type"),
        (SecretRef(SecretKind.ENV, "CANARY_KEY"), "systemctl edit canarysync-once.service   # [Service], Env"),
    ],
)
def test_whatever_way_the_key_comes_the_steps_bring_it(secret: SecretRef, step: str, tmp_path: Path) -> None:
    home = str(tmp_path)
    secret = dataclasses.replace(secret, name=secret.name.format(home))
    config = configured(tmp_path / "canarysync.yaml")
    config = dataclasses.replace(config, api=dataclasses.replace(config.api, api_key=secret))

    *_, told = units.for_config(config, program(), "labsync", timer=True).steps

    assert told.startswith(step.format(home, home))
    if secret.kind is SecretKind.FILE:
        Path(secret.name).write_text("key")
        assert "key" not in "".join(units.for_config(config, program(), "labsync", timer=True).steps)


@pytest.mark.parametrize(
    ("routes", "share", "expected"),
    [
        ([route("/srv/a"), route("/srv/b")], None, ["/srv"]),
        ([route("/srv/x/a"), route("/srv/b")], None, ["/srv"]),
        ([route("/data")], None, ["/data"]),
        ([route("/srv/a/b", done=Path("/mnt/done"))], None, ["/mnt", "/srv/a/b"]),
        ([route("/mnt/tartu/canary")], "/mnt/tartu", ["/mnt/tartu"]),
        ([route("/mnt/tartu/a/b/canary")], "/mnt/tartu", ["/mnt/tartu"]),
        ([route("/mnt/tartu")], "/mnt/tartu", ["/mnt"]),
        ([route("/share")], "/share", ["/share"]),
    ],
)
def test_what_may_be_written_is_one_path_above_the_folders_and_not_inside_a_share(
    routes: list[Route], share: str | None, expected: list[str]
) -> None:
    def mounted(folder: Path) -> Mount:
        return Mount(share, "cifs") if share and folder.is_relative_to(share) else Mount("/", "ext4")

    config = configured(routes=tuple(routes))
    assert [str(path) for path in units.writable(config, mounted)] == expected


def test_a_home_or_a_temporary_folder_that_is_used_is_not_hidden() -> None:
    usual = units.for_config(configured(), program(), "canarysync", timer=False).files[0].text
    assert "ProtectHome=yes" in usual
    assert "PrivateTmp=yes" in usual
    config = configured(routes=(route("/home/lab/canary"), route("/var/tmp/canary")))
    text = units.for_config(config, program(), "canarysync", timer=False).files[0].text
    assert "ProtectHome=read-only" in text
    assert "PrivateTmp=no" in text


@needs_systemd
def test_odd_paths_reach_systemd_whole(tmp_path: Path) -> None:
    """verify looks whether the program is there, and takes no path apart that it should not."""
    odd = "/opt/lab %i $HOME é;/bin/canarysync"
    config = configured(Path('/etc/lab $HOME "x" \\n/canarysync.yaml'), routes=(route('/srv/ward 7%h "b"/a'),))
    made = units.for_config(config, program(odd), "canarysync", timer=False)
    file = tmp_path / made.start
    file.write_text(made.files[0].text)
    installed(tmp_path, [file], [odd])
    assert verified(tmp_path, made.start) == (0, "")
    (tmp_path / odd.lstrip("/")).unlink()
    assert "not executable" in verified(tmp_path, made.start)[1], "verify looks at that very path"


def test_install_dry_run_and_uninstall(tmp_path: Path) -> None:
    config, root = tmp_path / "canarysync.yaml", tmp_path / "root"
    shutil.copy(ROOT / "examples" / "config" / "one-clinic.yaml", config)

    def systemd(*options: str) -> str:
        return str(CliRunner().invoke(cli, ["systemd", "-c", str(config), "--root", str(root), *options]).stdout)

    dry = systemd("--install", "--dry-run")
    unit = root / "etc/systemd/system/canarysync.service"
    assert f"would write {unit}\n" in dry
    assert not root.exists()
    assert f"wrote {unit}\n" in systemd("--install")
    assert unit.stat().st_mode & 0o777 == 0o644
    unit.write_text(unit.read_text().replace("RestartSec=10s", "RestartSec=1s"))
    assert "    +RestartSec=10s\n" in systemd("--dry-run")
    again = systemd("--install")
    assert f"changed {unit}\n" in again
    assert again.count("unchanged") == 2
    wants = unit.parent / "multi-user.target.wants" / unit.name
    wants.parent.mkdir()
    wants.symlink_to(unit)
    with pytest.raises(SetupError, match=r"systemctl disable --now canarysync\.service"):
        installing.to_uninstall(root)
    wants.unlink()
    assert f"would remove {unit}\n" in systemd("--uninstall", "--dry-run")
    assert systemd("--uninstall").startswith("removed ")
    assert installing.to_uninstall(root) == []
    assert not [path for path in root.rglob("*") if path.is_file()]
