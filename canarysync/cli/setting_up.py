"""The commands that set up, and those to try things out with."""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import click

from canarysync.cli.options import PATH, as_seconds, config_option, load, print_lines
from canarysync.errors import Exit


@click.command(short_help="Write a starter configuration, make the folders.")
@click.argument("folder", type=PATH)
@click.option(
    "--output", "-o", metavar="FILE", type=PATH, default="canarysync.yaml", show_default=True, help="The file to write."
)
@click.option(
    "--region", type=click.Choice(["eus", "ne", "jpe"]), default="eus", show_default=True,
    help="Where your project is: East US, North Europe or Japan East.",
)  # fmt: skip
@click.option("--url", metavar="URL", help="The address of the API, instead of --region: the sandbox's, say.")
@click.option(
    "--api-key-file", metavar="FILE", type=PATH, default="/etc/canarysync/api-key", show_default=True,
    help="Where the API key is found.",
)  # fmt: skip
@click.option(
    "--state",
    metavar="FOLDER",
    type=PATH,
    default="/var/lib/canarysync",
    show_default=True,
    help="Where the ledger lives.",
)
def init(folder: Path, output: Path, region: str, url: str | None, api_key_file: Path, state: Path) -> None:
    """Write a commented starter configuration, and create FOLDER with drop/, done/ and failed/."""
    from canarysync import scaffold

    scaffold.init(folder, output, {"api.url": url} if url else {"api.region": region}, api_key_file, state)
    click.echo(f"Wrote {output}, and made drop/, done/ and failed/ in {folder}.")
    click.echo(f"Next: put the API key into {api_key_file} (mode 600), then run: canarysync check -c {output}")


@click.command(short_help="Print systemd units for this machine, or install them.")
@config_option
@click.option("--timer", is_flag=True, help="Units that call run-once every ten minutes, in place of the daemon.")
@click.option("--user", metavar="USER", default="canarysync", show_default=True, help="Whom the service runs as.")
@click.option("--install", is_flag=True, help="Write them below /etc.")
@click.option("--uninstall", is_flag=True, help="Remove all units of canarysync; nothing else goes.")
@click.option("--dry-run", is_flag=True, help="Only show what --install, or --uninstall, would change.")
@click.option(
    "--root", metavar="FOLDER", type=PATH, default="/", show_default=True, help="Write below this folder, for packages."
)
def systemd(
    config_path: Path | None, timer: bool, user: str, install: bool, uninstall: bool, dry_run: bool, root: Path
) -> None:
    """Print the systemd units for this machine and configuration, or install them. Starts nothing.

    /etc/canarysync/canarysync.yaml becomes canarysync.service, any other NAME.yaml canarysync@NAME.service.
    """
    from canarysync import installing, units

    made = None if uninstall else units.for_config(load(config_path), units.running_program(), user, timer=timer)
    if made and not install and not dry_run:
        print_lines(installing.printed(made))
        return
    changes = installing.to_install(made.files, root) if made else installing.to_uninstall(root)
    if not dry_run:
        installing.carry_out(changes)
    print_lines(installing.told(changes, dry_run=dry_run))
    if not dry_run:
        print_lines(installing.next_steps(made))


@click.command(short_help="Print a JSON Schema, for editors.")
@click.argument("name", type=click.Choice(["score", "config"]), default="score")
def schema(name: str) -> None:
    """Print the JSON Schema of score files, or of the configuration, for editors."""
    from canarysync import schema as schemas
    from canarysync import views

    click.echo(views.as_json(schemas.load(schemas.SchemaName(name))))


@click.command(short_help="Show the main job, over the example files.")
@click.argument("folder", type=PATH, required=False)
def demo(folder: Path | None) -> None:
    """Run the main job over the example files against the simulated API, and show what happens.

    Everything is laid out in FOLDER, to be looked at afterwards (default: a temporary folder, removed in the end).
    """
    import tempfile

    from canarysync import demo as shown

    if folder is not None:
        if folder.exists():
            raise click.UsageError(f"{folder} is there already: name a folder that does not exist yet")
        folder.mkdir(parents=True)
        shown.run(folder, click.echo)
        return
    with tempfile.TemporaryDirectory(prefix="canarysync-demo-") as temporary:
        shown.run(Path(temporary), click.echo)


@click.command(short_help="Serve a simulated API on loopback, with faults.")
@click.option(
    "--port", metavar="PORT", type=click.IntRange(0, 65535), default=8787, show_default=True, help="0 takes a free one."
)
@click.option(
    "--fault", "faults", metavar="FAULT", multiple=True, help="E.g. put:status=503,rate=0.1 or put:drop_after,times=3"
)
@click.option("--store", metavar="FILE", type=PATH, help="A file that keeps the scores from one start to the next.")
@click.option(
    "--token-life", "token_life_s", metavar="DURATION", callback=as_seconds, default="15m", show_default=True,
    help="How long an access token is good for.",
)  # fmt: skip
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
