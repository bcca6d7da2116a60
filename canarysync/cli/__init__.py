"""The commands: parse, call, print, exit code. Here are their group, in the order in which people need them, and the
one error boundary. What a command needs is imported when it runs: `--help` and the shell's completion stay quick.
"""

from __future__ import annotations

import os
import sys
from typing import NoReturn

import click

from canarysync import __version__
from canarysync.cli import acting, looking, running, setting_up
from canarysync.errors import CanarysyncError, Exit, from_os

SECTIONS: dict[str, tuple[click.Command, ...]] = {
    "Run": (running.run, running.run_once),
    "Look": (looking.status, looking.history, looking.check, looking.verify, looking.validate),
    "Act": (acting.requeue, acting.resolve, acting.hold, acting.release),
    "Set up": (setting_up.init, setting_up.systemd, setting_up.schema, setting_up.demo, setting_up.sandbox),
}


class _Sections(click.Group):
    """Shows its commands by what they are for; click alone has them in one list, by the alphabet."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, self.commands))
        for title, commands in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(str(command.name).ljust(widest), str(command.short_help)) for command in commands])


@click.group(cls=_Sections, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, message="canarysync %(version)s")
def cli() -> None:
    """Bring lab score files from a drop folder to the Canary Speech API, each exactly once.

    A file in drop/ is checked, uploaded, and moved to done/ with a receipt, or to failed/ with what is wrong
    and how to mend it. Start with `canarysync demo`, then `canarysync init`.

    Exit codes: 0 all well; 1 something needs a person; 2 usage; 75 something is still waiting, try again;
    78 bad configuration; 130 interrupted; 70 a defect in canarysync.
    """


for _commands in SECTIONS.values():
    for _command in _commands:
        cli.add_command(_command)


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
