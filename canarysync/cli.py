"""The commands: parse, call, print, exit code."""

from __future__ import annotations

import os
import signal
import sys
import tempfile
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import tee
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

from canarysync import __version__
from canarysync.errors import CanarysyncError, Exit, from_os
from canarysync.model import Code

if TYPE_CHECKING:
    from canarysync.config import Config, Route
    from canarysync.report import Summary

_PATH = click.Path(path_type=Path)
_config_option = click.option(
    "--config",
    "-c",
    "config_path",
    type=_PATH,
    help="The configuration file (default: $CANARYSYNC_CONFIG, ./canarysync.yaml, /etc/canarysync/canarysync.yaml).",
)
_FAILED_CODES = [code.value for code in Code if code is not Code.UNREADABLE]  # which is `validate`'s alone
_json_option = click.option("--json", "json_wanted", is_flag=True, help="Print JSON, for other programs.")


_route_option = click.option("--route", help="Of this route only.")


class _Since(click.ParamType[datetime]):
    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        from canarysync.history import since
        from canarysync.service import utc_now

        at = since(str(value), utc_now())
        if at is None:
            self.fail("a time is 2h (ago), 2026-03-10 or 2026-03-10T09:14 (UTC)", param, ctx)
        return at


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from canarysync.quantity import duration_s

        seconds = duration_s(str(value))
        if seconds is None:
            self.fail("a duration is a number and a unit: 500ms, 30s, 10m, 1h", param, ctx)
        return seconds


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="canarysync %(version)s")
def cli() -> None:
    """Bring lab score files from a drop folder to the Canary Speech API, each exactly once.

    A file in drop/ is checked, uploaded, and moved to done/ with a receipt, or to failed/ with what is wrong
    and how to mend it. Start with `canarysync demo`, then `canarysync init`.

    Exit codes: 0 all well; 1 something needs a person; 2 usage; 75 something is still waiting, try again;
    78 bad configuration; 130 interrupted; 70 a defect in canarysync.
    """


@cli.command(short_help="Watch the drop folders, and upload what arrives.")
@_config_option
def run(config_path: Path | None) -> None:
    """Watch the drop folders and upload what arrives, until stopped (SIGTERM or ^C: drain, then exit).

    SIGHUP (systemctl reload canarysync, or kill -HUP) reads the configuration again, in the middle of the
    work. One with errors is refused, and the old one stays. `state` and the API's address need a restart.
    """
    from canarysync.service import service

    config = _load(config_path)
    with service(config, os.environ) as daemon:
        daemon.obey_signals()
        summary = daemon.run()
    _exit_for_signal(summary)


@cli.command("run-once", short_help="Upload what is there now, then exit.")
@_config_option
@_json_option
@click.option("--wait", "wait_s", type=_Duration(), default="0s", help="Keep at it for so long while files wait.")
def run_once(config_path: Path | None, json_wanted: bool, wait_s: float) -> None:
    """Upload what is in the drop folders now, then exit.

    Waits one quiet period and tries each file. What is not complete, or cannot be uploaded now, is left for the
    next run (exit code 75).
    """
    from canarysync import views
    from canarysync.service import service

    config = _load(config_path)
    with (
        views.progress(not json_wanted) as observer,
        service(config, os.environ, once=True, wait_s=wait_s, observer=observer) as daemon,
    ):
        daemon.obey_signals()
        summary = daemon.run()
    click.echo(views.as_json(views.summary_json(summary)) if json_wanted else views.summary_line(summary))
    _exit_for_signal(summary)
    raise SystemExit(summary.exit_code())


@cli.command(short_help="Check score files against the schema, offline.")
@click.argument("files", nargs=-1, required=True, type=_PATH)
@_json_option
def validate(files: tuple[Path, ...], json_wanted: bool) -> None:
    """Check score files against the schema, without a configuration and without sending anything."""
    from canarysync import offline, views

    verdicts = [(str(file), offline.verdict(file)) for file in files]
    if json_wanted:
        click.echo(views.as_json([views.verdict_json(*verdict) for verdict in verdicts]))
    else:
        _print(line for verdict in verdicts for line in views.verdict_lines(*verdict))
    raise SystemExit(Exit.NEEDS_A_PERSON if any(rejection for _, rejection in verdicts) else Exit.OK)


@cli.command(short_help="Probe all that a run needs; change nothing.")
@_config_option
@_json_option
def check(config_path: Path | None, json_wanted: bool) -> None:
    """Probe everything that a run needs: folders, disks, limits, secret, proxy, TLS, clock, API. Leaves all as it was.

    A warning needs no haste, and does not count; a problem (exit code 1) keeps a run from doing its work.
    """
    from dataclasses import asdict

    from canarysync import check as probes
    from canarysync import views, views_check
    from canarysync.service import utc_now

    findings, told = tee(probes.check(_load(config_path), os.environ, utc_now))
    if json_wanted:
        click.echo(views.as_json([asdict(finding) for finding in told]))
    else:
        _print(views_check.finding_lines(told, views.width()))
    bad = any(finding.grade is probes.Grade.PROBLEM for finding in findings)
    raise SystemExit(Exit.NEEDS_A_PERSON if bad else Exit.OK)


@cli.command(short_help="Show what waits, is in doubt, done or failed.")
@_config_option
@_json_option
@click.option("--max-age", "max_age_s", type=_Duration(), help="For monitoring: what is younger is well, older is not.")
def status(config_path: Path | None, json_wanted: bool, max_age_s: float | None) -> None:
    """Show who is at work, what waits and why, what is in doubt, done and failed; also beside a running canarysync.

    With --max-age, the exit code is 1 if a file waits, or the last scan was finished, longer ago than that, or if
    something needs a person; else it is 0.
    """
    from canarysync import status as told
    from canarysync import views, views_status
    from canarysync.service import utc_now

    found = told.gather(_load(config_path), utc_now())
    if json_wanted:
        click.echo(views.as_json(views_status.status_json(found, max_age_s)))
    else:
        _print(views_status.status_lines(found, max_age_s, views.width()))
    raise SystemExit(told.exit_code(found, max_age_s))


@cli.command(short_help="Decide on a score in doubt.")
@click.argument("name")
@click.option("--uploaded", "uuid", metavar="UUID", help="It is at the API, under this uuid.")
@click.option("--send-again", is_flag=True, help="It is not at the API: send it again.")
@click.option("--route", help="Where files of several routes have this name.")
@_config_option
def resolve(name: str, uuid: str | None, send_again: bool, route: str | None, config_path: Path | None) -> None:
    """Decide on a score in doubt, by its file's NAME, or by its entry's id, which is told where several have the name.

    Look at the API first: what you say is believed. The daemon carries it out at its next rescan, `canarysync
    run-once` when it runs next; where the file's route has left the config, the next start of either.
    """
    from canarysync import resolve as decisions
    from canarysync import views
    from canarysync.answers import as_uuid
    from canarysync.model import SEND_AGAIN

    resolution = SEND_AGAIN if send_again else as_uuid(uuid)
    if send_again == (uuid is not None):
        raise click.UsageError("give either --uploaded UUID or --send-again")
    if resolution is None:
        raise click.UsageError("--uploaded wants the score's uuid, such as 0192530c-4ce5-7aa1-be9b-bc52dec8a184")
    _print(views.resolved_lines(decisions.resolve(_load(config_path), name, resolution, route)))


@cli.command(short_help="Put failed files back into the drop folder.")
@click.argument("names", metavar="[NAME|GLOB]...", nargs=-1)
@click.option("--route", help="Of this route only.")
@click.option("--code", "codes", multiple=True, type=click.Choice(_FAILED_CODES), help="What failed with this code.")
@click.option("--since", type=_Since(), help="What failed since then: 2h (ago), or a date or time (UTC).")
@click.option("--all", "everything", is_flag=True, help="Everything in failed/.")
@click.option("--send-again", is_flag=True, help="Files in done/: their scores are no longer at the API.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@_json_option
@_config_option
def requeue(
    names: tuple[str, ...], route: str | None, codes: tuple[str, ...], since: datetime | None, everything: bool,
    send_again: bool, dry_run: bool, json_wanted: bool, config_path: Path | None,
) -> None:  # fmt: skip
    """Put failed files back into the drop folder, under the names that they came with; their sidecars go.

    Mend them in failed/ first, or mend what else was wrong. NAME is a file's in failed/, or that which it came with.
    Several filters have to fit together. What cannot go back (drop/ has a file of that name, say) is left, and told.

    With --send-again NAME is a file in done/ whose score somebody deleted at the API. Look there first: a copy of the
    file goes into the drop folder, and its score is created anew, even if it is there after all.
    """
    from canarysync import requeue as failed
    from canarysync import send_again as done
    from canarysync import views

    filtered = codes or since or everything
    if not (names or filtered) or (send_again and (filtered or not names)):
        raise click.UsageError("which files? Give names, globs, --code or --since; or --all; with --send-again, names")
    config = _load(config_path)
    routes = [_route(config, route)] if route else config.routes
    if send_again:
        found = done.send_again(config, routes, names, datetime.now(UTC), dry_run=dry_run)
    else:
        found = failed.requeue(config, routes, failed.Wanted(names, codes, since), dry_run=dry_run)
    if json_wanted:
        click.echo(views.as_json(views.requeued_json(found, dry_run)))
    else:
        _print(views.requeued_lines(found, dry_run))
    raise SystemExit(Exit.NEEDS_A_PERSON if any(each.fate in failed.LEFT_OVER for each in found) else Exit.OK)


@cli.command(short_help="Stop a route, and keep its files.")
@click.argument("route")
@click.option("--reason", default="", help="Why, for whoever looks at the status.")
@_config_option
def hold(route: str, reason: str, config_path: Path | None) -> None:
    """Stop ROUTE, and keep its files in drop/, until `canarysync release`; also beside a running daemon.

    Nothing of it is checked, sent or moved any more; what is being sent at this moment still ends, and what is
    decided already goes to its place. A hold outlives restarts.
    """
    from canarysync import hold as holds
    from canarysync import views

    config = _load(config_path)
    made = holds.made_by(os.environ, reason, datetime.now(UTC))
    _print(views.held_lines(route, holds.hold(config, _route(config, route), made)))


@cli.command(short_help="Let a route go on that is on hold.")
@click.argument("route")
@_config_option
def release(route: str, config_path: Path | None) -> None:
    """Let ROUTE go on that `canarysync hold` has stopped. A running daemon finds its files at the next rescan."""
    from canarysync import hold as holds
    from canarysync import views

    config = _load(config_path)
    held = _route(config, route)
    _print(views.released_lines(held, holds.release(config, held)))


@cli.command(short_help="Tell a file's whole life, or what happened last.")
@click.argument("name", required=False)
@click.option("--uuid", help="Of the score that has this uuid at the API, and of all files that said it.")
@click.option("--entry", "entry_id", metavar="ID", help="Of this entry.")
@_route_option
@click.option("--since", type=_Since(), help="Only what came later: 2h (ago), or a date or time (UTC).")
@_config_option
@_json_option
def history(
    name: str | None, uuid: str | None, entry_id: str | None, route: str | None, since: datetime | None,
    config_path: Path | None, json_wanted: bool,
) -> None:  # fmt: skip
    """Tell the whole life of the files of this NAME (as it was in the drop folder; * and ? stand for others).

    Without NAME, --uuid and --entry: the last 50 events of all files, or all since --since. Times are UTC.
    """
    from canarysync import history as told
    from canarysync import telling

    wanted = told.Wanted(name, uuid, entry_id, route, since)
    if sum(each is not None for each in (name, uuid, entry_id)) > 1:
        raise click.UsageError("give one of NAME, --uuid and --entry")
    with told.opened_for(_load(config_path)) as ledger:
        _print(telling.history_json(ledger, wanted) if json_wanted else telling.history_lines(ledger, wanted))


@cli.command(short_help="Hold every receipt against its file, and the API.")
@_route_option
@click.option("--api", "with_api", is_flag=True, help="Ask the API for every score, too.")
@click.option("--audit", type=_PATH, help="Write a line of JSON for each sidecar to this file.")
@_config_option
@_json_option
def verify(
    route: str | None, with_api: bool, audit: Path | None, config_path: Path | None, json_wanted: bool
) -> None:  # fmt: skip
    """Hold every receipt in done/, and every error sidecar in failed/, against its file and the ledger.

    Exit codes: 0 all fine; 1 something is missing or altered; 75 something could not be looked at now.
    """
    from canarysync import telling, views
    from canarysync import verify as verifying
    from canarysync.service import api_calls

    config = _load(config_path)
    with (
        api_calls(config, os.environ if with_api else None) as calls,
        telling.bar(lambda: verifying.sidecars(config, route)) as tick,
    ):
        tallies = verifying.verify(config, route, audit, verifying.Means(calls, tick))
    if json_wanted:
        click.echo(views.as_json([telling.tally_json(tally) for tally in tallies]))
    else:
        _print(line for tally in tallies for line in telling.tally_lines(tally))
    raise SystemExit(verifying.exit_code(tallies))


@cli.command(short_help="Write a starter configuration, make the folders.")
@click.argument("folder", type=_PATH)
@click.option("--output", "-o", type=_PATH, default="canarysync.yaml", show_default=True, help="The file to write.")
@click.option("--region", type=click.Choice(["eus", "ne", "jpe"]), default="eus", show_default=True)
@click.option("--url", help="The address of the API, instead of --region: the sandbox's, say.")
@click.option("--api-key-file", type=_PATH, default="/etc/canarysync/api-key", show_default=True)
@click.option("--state", type=_PATH, default="/var/lib/canarysync", show_default=True, help="Where the ledger lives.")
def init(folder: Path, output: Path, region: str, url: str | None, api_key_file: Path, state: Path) -> None:
    """Write a commented starter configuration, and create FOLDER with drop/, done/ and failed/."""
    from canarysync import scaffold

    scaffold.init(folder, output, {"api.url": url} if url else {"api.region": region}, api_key_file, state)
    click.echo(f"Wrote {output}, and made drop/, done/ and failed/ in {folder}.")
    click.echo(f"Next: put the API key into {api_key_file} (mode 600), then run: canarysync check -c {output}")


@cli.command(short_help="Print a JSON Schema, for editors.")
@click.argument("name", type=click.Choice(["score", "config"]), default="score")
def schema(name: str) -> None:
    """Print the JSON Schema of score files, or of the configuration, for editors."""
    from canarysync import schema as schemas
    from canarysync import views

    click.echo(views.as_json(schemas.load(schemas.SchemaName(name))))


@cli.command(short_help="Print systemd units for this machine, or install them.")
@_config_option
@click.option("--timer", is_flag=True, help="Units that call run-once every ten minutes, in place of the daemon.")
@click.option("--user", default="canarysync", show_default=True, help="Whom the service runs as.")
@click.option("--install", is_flag=True, help="Write them below /etc.")
@click.option("--uninstall", is_flag=True, help="Remove all units of canarysync; nothing else goes.")
@click.option("--dry-run", is_flag=True, help="Only show what --install, or --uninstall, would change.")
@click.option("--root", type=_PATH, default="/", show_default=True, help="Write below this folder, for packages.")
def systemd(
    config_path: Path | None, timer: bool, user: str, install: bool, uninstall: bool, dry_run: bool, root: Path
) -> None:
    """Print the systemd units for this machine and configuration, or install them. Starts nothing.

    /etc/canarysync/canarysync.yaml becomes canarysync.service, any other NAME.yaml canarysync@NAME.service.
    """
    from canarysync import installing, units

    made = None if uninstall else units.for_config(_load(config_path), units.running_program(), user, timer=timer)
    if made and not install and not dry_run:
        _print(installing.printed(made))
        return
    changes = installing.to_install(made.files, root) if made else installing.to_uninstall(root)
    if not dry_run:
        installing.carry_out(changes)
    _print(installing.told(changes, dry_run=dry_run))
    if not dry_run:
        _print(installing.next_steps(made))


@cli.command(short_help="Serve a simulated API on loopback, with faults.")
@click.option("--port", type=click.IntRange(0, 65535), default=8787, show_default=True, help="0 takes a free one.")
@click.option("--fault", "faults", multiple=True, help="E.g. put:status=503,rate=0.1 or put:drop_after,times=3")
@click.option("--store", type=_PATH, help="A file that keeps the scores from one start to the next.")
@click.option("--token-life", "token_life_s", type=_Duration(), default="15m", show_default=True)
@click.option("--normalise", is_flag=True, help="Show scores re-formatted, as a real server may.")
@click.option("--quiet", is_flag=True, help="No line for each request.")
def sandbox(
    port: int, faults: tuple[str, ...], store: Path | None, token_life_s: float, normalise: bool, quiet: bool
) -> None:
    """Serve a simulated Canary Speech API on loopback, with faults on request."""
    from canarysync import scaffold

    log = None if quiet else lambda line: click.echo(line, err=True)
    with scaffold.sandbox(port, faults, store, token_life_s, normalise, log) as server:
        click.echo(f"Listening on {server.url}; the API key is {scaffold.SANDBOX_API_KEY}")
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(Exit.OK))
        server.wait()


@cli.command(short_help="Show the main job, over the example files.")
@click.argument("folder", type=_PATH, required=False)
def demo(folder: Path | None) -> None:
    """Run the main job over the example files against the simulated API, and show what happens.

    Everything is laid out in FOLDER, to be looked at afterwards (default: a temporary folder, removed in the end).
    """
    from canarysync import demo as shown

    if folder is not None:
        if folder.exists():
            raise click.UsageError(f"{folder} is there already: name a folder that does not exist yet")
        folder.mkdir(parents=True)
        shown.run(folder, click.echo)
        return
    with tempfile.TemporaryDirectory(prefix="canarysync-demo-") as temporary:
        shown.run(Path(temporary), click.echo)


def _load(path: Path | None) -> Config:
    """The configuration, and the log as it says."""
    from canarysync import config as configs
    from canarysync import logs

    config = configs.load(configs.find(path, os.environ, Path.cwd()))
    logs.set_up(config.log.level, config.log.format)
    logs.catch_threads()
    return config


def _route(config: Config, name: str) -> Route:
    found = next((route for route in config.routes if route.name == name), None)
    if found is None:
        raise click.UsageError(f"there is no route {name}; there are: {', '.join(r.name for r in config.routes)}")
    return found


def _print(lines: Iterable[str]) -> None:
    for line in lines:
        click.echo(line)


def _exit_for_signal(summary: Summary) -> None:
    if summary.stopped_by == signal.SIGINT:
        raise SystemExit(Exit.INTERRUPTED)


def main() -> None:
    """The one error boundary: known errors as prose, anything else as a defect, without values."""
    from canarysync.logs import complain, where

    try:
        cli.main(standalone_mode=False)
    except (click.exceptions.Abort, KeyboardInterrupt):
        sys.exit(Exit.INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except CanarysyncError as error:
        _tell(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(Exit.OK)
    except OSError as error:
        _tell(from_os("go on", "", error))
    except Exception as error:
        complain(f"canarysync: unexpected, a defect: {where(error)}")
        sys.exit(Exit.DEFECT)


def _tell(error: CanarysyncError) -> NoReturn:
    from canarysync.logs import complain
    from canarysync.views import error_lines

    for line in error_lines(error):
        complain(line)
    sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
