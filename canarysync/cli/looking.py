"""The commands that look: they tell how things stand, and change nothing."""

from __future__ import annotations

import os
from datetime import datetime
from itertools import tee
from pathlib import Path

import click

from canarysync.cli.options import (
    PATH,
    as_seconds,
    as_time,
    check_route,
    config_option,
    json_option,
    load,
    print_lines,
    route_called,
    route_option,
)
from canarysync.errors import Exit


@click.command(short_help="Show what waits, is in doubt, done or failed.")
@config_option
@json_option
@click.option(
    "--max-age", "max_age_s", metavar="DURATION", callback=as_seconds,
    help="For monitoring: what is younger is well, older is not.",
)  # fmt: skip
def status(config_path: Path | None, json_wanted: bool, max_age_s: float | None) -> None:
    """Show who is at work, what waits and why, what is in doubt, done and failed; also beside a running canarysync.

    With --max-age, the exit code is 1 if a file waits, or the last scan was finished, longer ago than that, or if
    something needs a person; else it is 0.
    """
    from canarysync import status as told
    from canarysync import views, views_status
    from canarysync.service import utc_now

    found = told.gather(load(config_path), utc_now())
    if json_wanted:
        click.echo(views.as_json(views_status.status_json(found, max_age_s)))
    else:
        print_lines(views_status.status_lines(found, max_age_s, views.width()))
    raise SystemExit(told.exit_code(found, max_age_s))


@click.command(short_help="Tell a file's whole life, or what happened last.")
@click.argument("name", required=False)
@click.option(
    "--uuid", metavar="UUID", help="Of the score that has this uuid at the API, and of all files that said it."
)
@click.option("--entry", "entry_id", metavar="ID", help="Of this entry.")
@route_option
@click.option(
    "--since", metavar="TIME", callback=as_time, help="Only what came later: 2h (ago), or a date or time (UTC)."
)
@config_option
@json_option
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
    config = load(config_path)
    check_route(route, config)
    with told.opened_for(config) as ledger:
        print_lines(telling.history_json(ledger, wanted) if json_wanted else telling.history_lines(ledger, wanted))


@click.command(short_help="Probe all that a run needs; change nothing.")
@config_option
@json_option
def check(config_path: Path | None, json_wanted: bool) -> None:
    """Probe everything that a run needs: folders, disks, limits, secret, proxy, TLS, clock, API. Leaves all as it was.

    A warning needs no haste, and does not count; a problem (exit code 1) keeps a run from doing its work.
    """

    from canarysync import check as probes
    from canarysync import views, views_check
    from canarysync.service import utc_now

    findings, told = tee(probes.check(load(config_path), os.environ, utc_now))
    if json_wanted:
        click.echo(views.as_json(list(told)))
    else:
        print_lines(views_check.finding_lines(told, views.width()))
    bad = any(finding.grade is probes.Grade.PROBLEM for finding in findings)
    raise SystemExit(Exit.NEEDS_A_PERSON if bad else Exit.OK)


@click.command(short_help="Hold every receipt against its file, and the API.")
@route_option
@click.option("--api", "with_api", is_flag=True, help="Ask the API for every score, too.")
@click.option("--audit", metavar="FILE", type=PATH, help="Write a line of JSON for each sidecar to this file.")
@config_option
@json_option
def verify(
    route: str | None, with_api: bool, audit: Path | None, config_path: Path | None, json_wanted: bool
) -> None:  # fmt: skip
    """Hold every receipt in done/, and every error sidecar in failed/, against its file and the ledger.

    Exit codes: 0 all fine; 1 something is missing or altered; 75 something could not be looked at now.
    """
    from canarysync import telling, views
    from canarysync import verify as verifying
    from canarysync.service import api_calls

    config = load(config_path)
    routes = [route_called(route, config)] if route else config.routes
    with (
        api_calls(config, os.environ if with_api else None) as calls,
        telling.bar(lambda: verifying.sidecars(routes)) as tick,
    ):
        tallies = verifying.verify(config, routes, audit, verifying.Means(calls, tick))
    if json_wanted:
        click.echo(views.as_json([telling.tally_json(tally) for tally in tallies]))
    else:
        print_lines(line for tally in tallies for line in telling.tally_lines(tally))
    raise SystemExit(verifying.exit_code(tallies))


@click.command(short_help="Check score files against the schema, offline.")
@click.argument("files", nargs=-1, required=True, type=PATH)
@json_option
def validate(files: tuple[Path, ...], json_wanted: bool) -> None:
    """Check score files against the schema, without a configuration and without sending anything.

    The sidecars among them are left alone, so that failed/* will do.
    """
    from canarysync import offline, views

    verdicts = [(str(file), offline.verdict(file)) for file in files if not offline.is_sidecar(file)]
    if json_wanted:
        click.echo(views.as_json([views.verdict_json(*verdict) for verdict in verdicts]))
    else:
        print_lines(views.verdicts_lines(verdicts, left_alone=len(files) - len(verdicts)))
    raise SystemExit(Exit.NEEDS_A_PERSON if any(rejection for _, rejection in verdicts) else Exit.OK)
