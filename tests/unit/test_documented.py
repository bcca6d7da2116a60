"""Whatever an operator can call, set, measure or get is documented, and nothing is that there is not.

The README has the commands, keys, metrics and codes; `--help` and the man page have every option, too.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import click
import pytest

import manual
from canarysync import starter
from canarysync.cli import SECTIONS, cli
from canarysync.errors import Exit
from canarysync.health import RouteVitals, Vitals
from canarysync.metrics import Meter
from canarysync.model import Code
from canarysync.tracks import Tally
from tests.support import README, Site, section

COMMANDS = cli.commands
OPTIONS = {
    name
    for command in COMMANDS.values()
    for option in command.params
    if isinstance(option, click.Option)
    for name in option.opts
}
FOREIGN_OPTIONS = {"--global", "--lazy", "--now", "--force", "--upgrade", "--full"}
"""Of pipx, pip, umount, systemctl and the benchmarks."""


def rows(title: str) -> list[str]:
    """The first cells of the tables in a section of the README."""
    return re.findall(r"^\| (`.+?`[^|]*) \|", section(title).replace(r"\|", "/"), re.MULTILINE)


def test_every_command_has_its_row_in_the_readme_and_its_place_in_the_help() -> None:
    assert {row.strip("`").split()[1] for row in rows("Commands")} == set(COMMANDS)
    assert {str(command.name) for commands in SECTIONS.values() for command in commands} == set(COMMANDS)
    named = re.findall(r"`(?:/opt/canarysync/bin/)?canarysync ([a-z-]+)", README)
    assert set(named) == set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_has_a_help_text(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert command.short_help
    assert len(command.short_help) <= 80 - len("  run-once  ")
    unsaid = [option.name for option in command.params if isinstance(option, click.Option) and not option.help]
    assert not unsaid


def test_the_readme_tells_of_no_option_that_there_is_not() -> None:
    told = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", README))
    assert told - OPTIONS - {"--help", "--version"} <= FOREIGN_OPTIONS


def test_the_man_page_is_made_from_what_there_is_now() -> None:
    assert manual.PAGE.read_text(encoding="utf-8") == manual.page(), "make man"


def test_the_man_page_has_it_all() -> None:
    page = manual.page().replace(r"\-", "-")
    assert set(re.findall(r"^\\fBcanarysync ([a-z-]+)\\fP", page, re.MULTILINE)) == set(COMMANDS)
    heads = re.findall(r"^\.TP\n(.+)$", page, re.MULTILINE)
    typed = {name for head in heads for names in re.findall(r"\\fB(-[^\\]+)", head) for name in names.split(", ")}
    assert typed == OPTIONS | {"-h", "--help", "--version"}
    assert {rf"\fB{name}\fP" for name, _, _ in starter.all_keys()} <= set(heads)
    assert set(manual.EXIT_STATUS) == set(Exit)


def test_the_man_page_is_good_roff() -> None:
    if shutil.which("groff") is None:
        pytest.skip("no groff")
    made = subprocess.run(
        ["groff", "-man", "-ww", "-Kutf8", "-Tutf8", manual.PAGE], capture_output=True, check=True, timeout=60
    )
    assert made.stderr == b""
    assert b"EXIT STATUS" in re.sub(b".\b", b"", made.stdout), "bold is overstruck"


def test_every_key_of_the_configuration_is_told() -> None:
    assert starter.reference() in README
    keys = {name.rpartition("[].")[2] for name, _, _ in starter.all_keys()}
    told = re.findall(r"`((?:api|timeout|read_back|retry|keep|log|metrics)\.(?!py\b)\w+(?:\.\w+)?)`", README)
    assert len(told) > 10
    assert not [name for name in told if not any(f".{key}".endswith(f".{name}") for key in keys)]


def test_every_metric_is_told() -> None:
    """All that a page can hold: one with a route, whose gauges and counters are all there."""
    tally = Tally(Counter(), None)
    vitals = Vitals(0.0, [RouteVitals("clinic", 60.0, tally, False, "", None, 0.0, 0.0)], "", 1, 0)
    page = Meter().page(vitals).body.decode()
    measured = set(re.findall(r"^# TYPE (\w+) ", page, re.MULTILINE))
    assert measured == {name for row in rows("Metrics and health") for name in re.findall(r"`(\w+)`", row)}


def test_every_exit_code_is_told() -> None:
    codes = {str(int(code)) for code in Exit}
    assert set(re.findall(r"\*\*(\d+)\*\*", section("Commands"))) == codes
    assert set(re.findall(r"\b\d+\b", str(cli.help).partition("Exit codes:")[2])) == codes


def test_every_reason_for_a_failed_file_is_told() -> None:
    reasons = next(row for row in section("Sidecars").splitlines() if row.startswith("| `code` "))
    assert set(re.findall(r"`(\w+)`", reasons)) - {"code", "validate"} == set(Code)


def test_every_variable_of_the_environment_is_told() -> None:
    code = "\n".join(path.read_text() for path in Path(manual.PAGE.parents[1], "canarysync").rglob("*.py"))
    read = set(re.findall(r"(?:environ|environment|env)(?:\.get\(|\[)\"(\w+)\"", code))
    read |= set(re.findall(r"^_VARIABLE = \"(\w+)\"", code, re.MULTILINE))
    assert len(read) > 5
    assert {name.upper() for name in read} == {name for names in manual.ENVIRONMENT for name in names.split(", ")}


def ask(words: str, number: int, shell: str = "bash") -> list[str]:
    """What the shell would be given to complete the word with this number."""
    asked = {"_CANARYSYNC_COMPLETE": f"{shell}_complete", "COMP_WORDS": words, "COMP_CWORD": str(number)}
    code = "import sys; sys.argv[0] = 'canarysync'; from canarysync.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_the_shell_completes_commands_options_files_and_routes(site: Site) -> None:
    assert ask("canarysync re", 1) == ["plain,release", "plain,requeue", "plain,resolve"]
    assert ask("canarysync requeue --send", 2) == ["plain,--send-again"]
    assert ask("canarysync check -c ", 3) == ["file,"]
    assert ask(f"canarysync hold -c {site.config_path} cl", 4) == ["plain,clinic"]
    assert ask(f"canarysync history -c {site.config_path} --route ", 5) == ["plain,clinic"]
    assert ask("canarysync release -c none.yaml ", 4) == [], "nothing is there to be told of that"
