"""What several commands share: options, what they are read as, what completes them, and the configuration."""

from __future__ import annotations

import os
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from canarysync.errors import CanarysyncError

if TYPE_CHECKING:
    from canarysync.config import Config, Route

PATH = click.Path(path_type=Path)


def load(path: Path | None) -> Config:
    """The configuration, and the log as it says."""
    from canarysync import logs

    config = _find(path)
    logs.set_up(config.log.level, config.log.format)
    logs.catch_threads()
    return config


def route_called(name: str, config: Config) -> Route:
    """Raises UsageError where there is none."""
    found = next((route for route in config.routes if route.name == name), None)
    if found is None:
        raise click.UsageError(f"there is no route {name}; there are: {', '.join(r.name for r in config.routes)}")
    return found


def check_route(name: str | None, config: Config) -> None:
    """The same for a route that may have left the configuration: the ledger knows it still."""
    from canarysync.ledger_sqlite import Access
    from canarysync.state import opened

    if name is None:
        return
    with opened(config.state, Access.READER) as ledger:
        if ledger is None or name not in ledger.routes():
            route_called(name, config)


def print_lines(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def as_time(_: click.Context, __: click.Parameter, value: str | None) -> datetime | None:
    """An option's value, read as a time."""
    from canarysync.history import since
    from canarysync.service import utc_now

    if value is None:
        return None
    at = since(value, utc_now())
    if at is None:
        raise click.BadParameter("a time is 2h (ago), 2026-03-10 or 2026-03-10T09:14 (UTC)")
    return at


def as_seconds(_: click.Context, __: click.Parameter, value: str | None) -> float | None:
    """An option's value, read as a duration."""
    from canarysync.quantity import duration_s

    if value is None:
        return None
    seconds = duration_s(value)
    if seconds is None:
        raise click.BadParameter("a duration is a number and a unit: 500ms, 30s, 10m, 1h")
    return seconds


def routes_that_begin(context: click.Context, _: click.Parameter, begun: str) -> list[str]:
    """For the shell: the routes of the configuration. None while that cannot be read, as nobody is there to be told."""
    try:
        return [route.name for route in _find(context.params.get("config_path")).routes if route.name.startswith(begun)]
    except CanarysyncError:
        return []


def _find(path: Path | None) -> Config:
    from canarysync import config as configs

    return configs.load(configs.find(path, os.environ, Path.cwd()))


config_option = click.option(
    "--config",
    "-c",
    "config_path",
    metavar="FILE",
    type=PATH,
    help="The configuration file (default: $CANARYSYNC_CONFIG, ./canarysync.yaml, /etc/canarysync/canarysync.yaml).",
)
json_option = click.option("--json", "json_wanted", is_flag=True, help="Print JSON, for other programs.")
route_option = click.option("--route", metavar="ROUTE", help="Of this route only.", shell_complete=routes_that_begin)
route_argument = click.argument("route", shell_complete=routes_that_begin)
