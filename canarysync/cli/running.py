"""The commands that run: they upload what is in the drop folders."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import click

from canarysync.cli.options import as_seconds, config_option, json_option, load
from canarysync.errors import Exit

if TYPE_CHECKING:
    from canarysync.report import Summary


@click.command(short_help="Watch the drop folders, and upload what arrives.")
@config_option
def run(config_path: Path | None) -> None:
    """Watch the drop folders and upload what arrives, until stopped (SIGTERM or ^C: drain, then exit).

    SIGHUP (systemctl reload canarysync, or kill -HUP) reads the configuration again, in the middle of the
    work. One with errors is refused, and the old one stays. `state`, `metrics` and the API's address need a restart.
    """
    from canarysync.service import service

    config = load(config_path)
    with service(config, os.environ) as daemon:
        daemon.obey_signals()
        summary = daemon.run()
    _exit_for_signal(summary)


@click.command("run-once", short_help="Upload what is there now, then exit.")
@config_option
@json_option
@click.option(
    "--wait", "wait_s", metavar="DURATION", callback=as_seconds, default="0s",
    help="Keep at it for so long while files wait, such as 10m.",
)  # fmt: skip
def run_once(config_path: Path | None, json_wanted: bool, wait_s: float) -> None:
    """Upload what is in the drop folders now, then exit.

    Waits one quiet period and tries each file. What is not complete, or cannot be uploaded now, is left for the
    next run (exit code 75).
    """
    from canarysync import views
    from canarysync.service import service

    config = load(config_path)
    with (
        views.progress(not json_wanted) as observer,
        service(config, os.environ, once=True, wait_s=wait_s, observer=observer) as daemon,
    ):
        daemon.obey_signals()
        summary = daemon.run()
    click.echo(views.as_json(views.summary_json(summary)) if json_wanted else views.summary_line(summary))
    _exit_for_signal(summary)
    raise SystemExit(summary.exit_code())


def _exit_for_signal(summary: Summary) -> None:
    if summary.stopped_by == signal.SIGINT:
        raise SystemExit(Exit.INTERRUPTED)
