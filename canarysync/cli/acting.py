"""The commands that act: a person decides, and canarysync carries it out."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import click

from canarysync.cli.options import (
    as_time,
    check_route,
    config_option,
    json_option,
    load,
    print_lines,
    route_argument,
    route_called,
    route_option,
    routes_that_begin,
)
from canarysync.errors import Exit
from canarysync.model import Code

_FAILED_CODES = [code.value for code in Code if code is not Code.UNREADABLE]  # which is `validate`'s alone


@click.command(short_help="Put failed files back into the drop folder.")
@click.argument("names", metavar="[NAME|GLOB]...", nargs=-1)
@route_option
@click.option("--code", "codes", multiple=True, type=click.Choice(_FAILED_CODES), help="What failed with this code.")
@click.option(
    "--since", metavar="TIME", callback=as_time, help="What failed since then: 2h (ago), or a date or time (UTC)."
)
@click.option("--all", "everything", is_flag=True, help="Everything in failed/.")
@click.option("--send-again", is_flag=True, help="Files in done/: their scores are no longer at the API.")
@click.option("--dry-run", is_flag=True, help="Only tell what would be done.")
@json_option
@config_option
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
    config = load(config_path)
    routes = [route_called(route, config)] if route else config.routes
    if send_again:
        found = done.send_again(config, routes, names, datetime.now(UTC), dry_run=dry_run)
    else:
        found = failed.requeue(config, routes, failed.Wanted(names, codes, since), dry_run=dry_run)
    if json_wanted:
        click.echo(views.as_json(views.requeued_json(found, dry_run)))
    else:
        print_lines(views.requeued_lines(found, dry_run))
    raise SystemExit(Exit.NEEDS_A_PERSON if any(each.fate in failed.LEFT_OVER for each in found) else Exit.OK)


@click.command(short_help="Decide on a score in doubt.")
@click.argument("name")
@click.option("--uploaded", "uuid", metavar="UUID", help="It is at the API, under this uuid.")
@click.option("--send-again", is_flag=True, help="It is not at the API: send it again.")
@click.option(
    "--route", metavar="ROUTE", shell_complete=routes_that_begin, help="Where files of several routes have this name."
)
@config_option
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
    config = load(config_path)
    check_route(route, config)
    print_lines(views.resolved_lines(decisions.resolve(config, name, resolution, route)))


@click.command(short_help="Stop a route, and keep its files.")
@route_argument
@click.option("--reason", default="", help="Why, for whoever looks at the status.")
@config_option
def hold(route: str, reason: str, config_path: Path | None) -> None:
    """Stop ROUTE, and keep its files in drop/, until `canarysync release`; also beside a running daemon.

    Nothing of it is checked, sent or moved any more; what is being sent at this moment still ends, and what is
    decided already goes to its place. A hold outlives restarts.
    """
    from canarysync import hold as holds
    from canarysync import views

    config = load(config_path)
    made = holds.made_by(os.environ, reason, datetime.now(UTC))
    print_lines(views.held_lines(route, holds.hold(config, route_called(route, config), made)))


@click.command(short_help="Let a route go on that is on hold.")
@route_argument
@config_option
def release(route: str, config_path: Path | None) -> None:
    """Let ROUTE go on that `canarysync hold` has stopped. A running daemon finds its files at the next rescan."""
    from canarysync import hold as holds
    from canarysync import views

    config = load(config_path)
    held = route_called(route, config)
    print_lines(views.released_lines(held, holds.release(config, held)))
