"""The man page, canarysync(1), made from the commands, the schema of the configuration and the words below.

    python -m manual     # or: make man; writes manual/canarysync.1

The page is kept in the repository, so that whoever installs needs nothing to make it; a test holds it to the commands.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click

from canarysync import __version__, starter
from canarysync.cli import SECTIONS, cli, running
from canarysync.errors import Exit

PAGE = Path(__file__).parent / "canarysync.1"

SHARED = [option for option in running.run_once.params if isinstance(option, click.Option) and option.name != "wait_s"]
"""The options of many commands, --config and --json: described once."""

EXIT_STATUS = {
    Exit.OK: "All is well.",
    Exit.NEEDS_A_PERSON: "Something needs a person: a file was rejected or refused, or is held; a route is on hold; "
    "or what was looked at is not as it should be.",
    Exit.USAGE: "The command was called in a way that it does not know.",
    Exit.DEFECT: "A defect in canarysync.",
    Exit.TRY_AGAIN: "Something still waits, another canarysync is at work there, or the system could not do "
    "something now: try again. Wins over 1.",
    Exit.CONFIG: "The configuration, a folder or a secret is not as it has to be.",
    Exit.INTERRUPTED: "Interrupted with ^C.",
}

SIGNALS = {
    "SIGTERM, SIGINT": "Drain: finish what is being sent, then exit. A second SIGINT (^C) ends it at once, as a crash "
    "would: what was being sent is in doubt then, and is looked for at the next start.",
    "SIGHUP": "Read the configuration again (`run` only). When the terminal of a `run` closes, it drains instead.",
}

ENVIRONMENT = {
    "CANARYSYNC_CONFIG": "The configuration file, where --config is not given.",
    "HTTPS_PROXY, NO_PROXY": "The proxy to the API, and the hosts that are reached without it, where `api.proxy` is "
    "not set. In small letters too.",
    "CREDENTIALS_DIRECTORY": "Where systemd puts the secrets that `{credential: NAME}` names.",
    "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID": "Where and how often systemd is told that `run` is well.",
    "JOURNAL_STREAM": "If stderr is that of the journal, log lines carry priorities and no times.",
    "SUDO_USER": "Who puts a route on hold with sudo.",
}

FILES = {
    "/etc/canarysync/canarysync.yaml": "The configuration of the service.",
    "./canarysync.yaml": "The configuration where --config and CANARYSYNC_CONFIG name none, before that in /etc.",
    "/var/lib/canarysync": "The state folder: the ledger (`ledger.sqlite3`) and a running canarysync's sign of life. "
    "Keep it, and restore it from no backup: a ledger that is lost is built again from the sidecars.",
    "drop/.canarysync": "Whose drop folder it is: the marker of the route, and its lock. Leave it there.",
    "drop/.canarysync-passage": "Where a file is for a moment on its way out of drop/, on mounts that need two calls "
    "for a move.",
    "done/NAME.receipt.json": "The receipt of a file that was uploaded.",
    "failed/NAME.error.json": "What is wrong with a file, where, and how to mend it.",
}


def page() -> str:
    """The whole page, in the man macros of roff."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield '.\\" Made by `make man` from the commands: change those.'
    yield f'.TH CANARYSYNC 1 "" "canarysync {__version__}" "User Commands"'
    yield from (".nh", ".ad l")  # no command or path is torn apart
    yield from (".SH NAME", r"canarysync \- bring lab score files from a drop folder to the Canary Speech API")
    yield from (".SH SYNOPSIS", r"\fBcanarysync\fP \fICOMMAND\fP [\fIOPTION\fP]... [\fIARGUMENT\fP]...")
    yield from (".SH DESCRIPTION", *_paragraphs(cli, ".PP"))
    yield from (".SH OPTIONS", *_item("--version", "Show the version and exit."))
    yield from _item("-h, --help", "Show what canarysync, or a command of it, does.")
    for option in SHARED:
        yield from _option(option)
    yield ".SH COMMANDS"
    for title, commands in SECTIONS.items():
        yield f".SS {title}"
        for command in commands:
            yield from _command(command)
    yield ".SH CONFIGURATION"
    yield _text("One YAML file. `canarysync init` writes a commented one; after a change, run `canarysync check`.")
    for name, default, meaning in starter.all_keys():
        yield from _item(name, f"{meaning}.{f' Default: `{default}`.' if default else ''}")
    yield from _table("EXIT STATUS", {str(int(code)): meaning for code, meaning in EXIT_STATUS.items()})
    yield from _table("SIGNALS", SIGNALS)
    yield from _table("ENVIRONMENT", ENVIRONMENT)
    yield from _table("FILES", FILES)
    yield from (".SH SEE ALSO", r"\fBsystemctl\fP(1), \fBjournalctl\fP(1), \fBsystemd.exec\fP(5)")


def _table(title: str, rows: dict[str, str]) -> Iterator[str]:
    yield f".SH {title}"
    for name, meaning in rows.items():
        yield from _item(name, meaning)


def _command(command: click.Command) -> Iterator[str]:
    """What it is called with, what it does, and the options that it alone has, set in."""
    options = [each for each in command.params if isinstance(each, click.Option)]
    shared = [option for option in SHARED if option.name in {each.name for each in options}]
    own = [option for option in options if option.name not in {each.name for each in SHARED}]
    usage = [rf"\fBcanarysync {_literal(str(command.name))}\fP", *(f"[{_names(each)[0]}]" for each in shared)]
    usage += ["[OPTION]..."] if own else []
    usage += [_argument(each) for each in command.params if isinstance(each, click.Argument)]
    yield from (".TP", " ".join(usage))
    yield from _paragraphs(command, ".IP")
    yield ".RS"
    for option in own:
        yield from _option(option)
    yield ".RE"


def _option(option: click.Option) -> Iterator[str]:
    default = f" Default: `{option.default}`." if option.show_default else ""
    often = " May be given several times." if option.multiple else ""
    yield from (".TP", ", ".join(_names(option)), _text(f"{str(option.help).removesuffix('.')}.{often}{default}"))


def _names(option: click.Option) -> list[str]:
    """What an option is called, the short name first, each with what stands behind it (nothing for a flag)."""
    value = "" if option.is_flag else rf" \fI{_literal(_value(option) or option.type.name.upper())}\fP"
    return [rf"\fB{_literal(name)}\fP{value}" for name in sorted(option.opts, key=len)]


def _argument(argument: click.Argument) -> str:
    name = _value(argument) or f"{str(argument.name).upper()}{'...' * (argument.nargs < 0)}"
    return _literal(name if argument.required or argument.metavar else f"[{name}]")


def _value(param: click.Parameter) -> str:
    choices = param.type.choices if isinstance(param.type, click.Choice) else ()
    return param.metavar or "|".join(map(str, choices))


def _paragraphs(command: click.Command, macro: str) -> Iterator[str]:
    """A command's help, each paragraph after ``macro``; the exit codes have a section of their own."""
    paragraphs = [" ".join(part.split()) for part in inspect.cleandoc(str(command.help)).split("\n\n")]
    told = [part for part in paragraphs if command is not cli or not part.startswith("Exit codes")]
    for number, paragraph in enumerate(told):
        if number:
            yield macro
        yield _text(paragraph)


def _item(name: str, meaning: str) -> Iterator[str]:
    yield from (".TP", rf"\fB{_literal(name)}\fP", _text(meaning))


def _text(words: str) -> str:
    """Prose: what stands between backticks, and options, bold. No line of it may look like a macro."""
    parts = re.split(r"`([^`]+)`|(?<![\w-])(--?[a-z][a-z-]*)", words)
    made = (rf"\fB{_literal(part)}\fP" if place % 3 else _escaped(part) for place, part in enumerate(parts) if part)
    return re.sub(r"^([.'])", r"\\&\1", "".join(made))


def _literal(words: str) -> str:
    """What is typed as it stands: with real hyphens and quotes."""
    return _escaped(words).replace("-", r"\-").replace("'", r"\(aq")


def _escaped(words: str) -> str:
    for character, escape in (("\\", r"\e"), ("~", r"\(ti"), ("^", r"\(ha"), ("`", r"\(ga")):
        words = words.replace(character, escape)
    return words
