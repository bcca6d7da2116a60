"""Everything at once, for as long as you like: does anything get lost, is anything there twice?

    make soak                                  ten minutes, 20,000 files
    python -m campaigns.soak --minutes 1 --files 2000 --seed 7

The real daemon works on two routes whose folders lie on a file system of 16 MB. Files of every sort come in bursts; the
simulated API spoils one answer in ten, is down at times, or has nothing but 503 to say; the daemon is killed every few
seconds; the disks of the folders and of the ledger are filled to the last byte now and then. In the end all that may
pass is over, and everything is accounted for. ``--seed`` makes what happens, and when, the same again; not what it
meets. Needs mount(8): as root, or where users may make namespaces. Where it is not to be had: exit code 2, or
``--plain``, without disks that fill up.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from subprocess import CompletedProcess

from campaigns.soak_account import Account, account, wrong_in_status
from campaigns.soak_actors import Agenda, Producers
from campaigns.soak_files import Files
from campaigns.soak_troubles import Api, Disks, Keeper, Rhythm
from campaigns.soak_world import ARCHIVED_AFTER_S, ROUTES, World, into_namespace, world
from canarysync.errors import Exit
from canarysync.sandbox import Sandbox

PATIENCE_S = 300.0
"""How long it may take, once all trouble is over, until nothing waits any more."""

WRONG_MOST = 50
"""So many breaches are told one by one."""


@dataclass(frozen=True, slots=True)
class Course:
    """How a campaign is to go. ``plain``: without file systems of its own, so that none can be filled."""

    seconds: float
    files: int
    seed: int
    plain: bool = False
    rhythm: Rhythm = field(default_factory=Rhythm)

    def random(self, what_for: str) -> Random:
        """Chance for one purpose: what the others draw does not change it."""
        return Random(f"{self.seed} {what_for}")


@dataclass(frozen=True, slots=True)
class Report:
    """How it went."""

    account: Account
    tally: Counter[str]
    requests: Counter[tuple[str, int]]
    most_rss_kib: int
    ledger_kib: int
    seconds: float


def soak(course: Course, home: Path) -> Report:
    """One campaign in the empty folder ``home``."""
    started_s, tally = time.monotonic(), Counter[str]()
    with ExitStack() as stack:
        # An address that no connection of ours starts from: while the API is down, none can take its port.
        sandbox = stack.enter_context(Sandbox(host="127.0.0.2", normalise=True))
        place = stack.enter_context(world(home, sandbox.url, plain=course.plain))
        keeper = Keeper(place, course.random("kills"), tally)
        stack.callback(keeper.kill)
        keeper.wait_until_it_watches()
        agenda = Agenda()
        producers = Producers(place, agenda, course.random("parts"), tally)
        api = Api(sandbox, agenda, course.random("api"), tally, course.rhythm.lasting_s)
        disks = Disks(place, agenda, course.random("disks"), tally, course.rhythm.lasting_s)
        files = Files(course.files, course.seed, ROUTES)
        producers.start(zip(_times_s(course), files, strict=False))
        api.usual_faults()
        _arrange(course, agenda, keeper, api, disks, place)
        agenda.work_while(lambda: producers.busy or agenda.now_s() < course.seconds or api.down or disks.full)
        sandbox.faults.clear()
        wrong = _wait_until_nothing_waits(agenda, place)
        keeper.stop()
        made = account(place, files, producers.dropped, sandbox.scores)
        told = json.loads(_status(place, "--json").stdout)
        made.wrong += producers.wrong + keeper.wrong + wrong + wrong_in_status(told, made) + _wrong_in_log(place)
        ledger_kib = sum(file.stat().st_size for file in place.state.iterdir()) // 1024
        return Report(made, tally, sandbox.requests, keeper.most_rss_kib, ledger_kib, time.monotonic() - started_s)


def _arrange(course: Course, agenda: Agenda, keeper: Keeper, api: Api, disks: Disks, place: World) -> None:
    """What happens again and again; troubles, until the time is over."""

    def trouble(what: str, pauses_s: tuple[float, float], do: Callable[[], None]) -> None:
        random = course.random(f"pauses of {what}")
        agenda.every(lambda: random.uniform(*pauses_s), do, course.seconds)

    agenda.every(lambda: 0.25, keeper.watch)
    agenda.every(lambda: 1.0, lambda: place.tidy_up(ARCHIVED_AFTER_S))
    trouble("kills", course.rhythm.between_kills_s, keeper.strike)
    trouble("outages", course.rhythm.between_outages_s, api.outage)
    if not course.plain:
        trouble("fillings", course.rhythm.between_fillings_s, disks.fill_up)


def _times_s(course: Course) -> Iterator[float]:
    """When each file comes, in seconds: in bursts of up to 200, with pauses between them."""
    random, sizes = course.random("bursts"), list[int]()
    while sum(sizes) < course.files:
        sizes.append(random.choice((1, 3, 10, 30, 100, 200)))
    starts_s = sorted(random.uniform(0, course.seconds) for _ in sizes)
    return (start_s for start_s, size in zip(starts_s, sizes, strict=True) for _ in range(size))


def _wait_until_nothing_waits(agenda: Agenda, place: World) -> list[str]:
    """What is wrong if something still waits in the end."""
    end_s = agenda.now_s() + PATIENCE_S
    while agenda.now_s() < end_s:
        agenda.work_while(lambda: bool(place.waiting()) and agenda.now_s() < end_s)
        if _status(place).returncode != Exit.TRY_AGAIN:
            return []
        look_s = agenda.now_s() + 1.0
        agenda.work_while(lambda: agenda.now_s() < look_s)  # noqa: B023  it is called here and now
    told = _status(place, "--json").stdout
    return [f"after {PATIENCE_S:g} s {len(place.waiting())} files still wait: {told}"]


def _status(place: World, *options: str) -> CompletedProcess[str]:
    return place.site.cli("status", *options, "-c", str(place.site.config_path))


def _wrong_in_log(place: World) -> list[str]:
    """Defects, which the log tells of and which harm no file."""
    log = place.site.log()
    return [f"the log tells of {log.count(word)} times {word}" for word in ("defect", "Traceback") if word in log]


def lines(course: Course, report: Report) -> Iterator[str]:
    """The report, for people."""
    made, tally = report.account, report.tally
    codes = ", ".join(f"{count} {code}" for code, count in sorted(made.failed.items()))
    outcomes = ", ".join(f"{count} {outcome}" for outcome, count in sorted(made.outcomes.items()))
    asked = Counter[str]()
    for (endpoint, _), count in report.requests.items():
        asked[str(endpoint)] += count
    odd = sum(count for (_, status), count in report.requests.items() if status not in (200, 404))
    yield f"seed {course.seed}: {course.files} files in {report.seconds:.0f} s{' (plain)' if course.plain else ''}"
    yield f"done {made.done} ({outcomes})"
    yield f"failed {made.failed.total()} ({codes})"
    yield f"requests {dict(asked)}; of these not answered, or with an error: {odd}"
    yield "troubles " + ", ".join(f"{count} {what}" for what, count in sorted(tally.items()))
    yield f"most memory of the daemon {report.most_rss_kib / 1024:.0f} MiB"
    yield f"state folder {report.ledger_kib / 1024:.1f} MiB"
    yield f"receipts that say possibleDuplicate: {len(made.possible_duplicates)}"
    yield f"lost {made.lost}, twice {made.twice}, wrong {len(made.wrong)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="no file systems of its own, and so none that fill up")
    parser.add_argument("--keep", type=Path, help="an empty folder for the log and all that is left, to look at")
    parser.add_argument("--in-namespace", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.plain and not arguments.in_namespace:
        into_namespace("campaigns.soak")
        print("file systems cannot be mounted here: try as root, or with --plain", file=sys.stderr)
        sys.exit(Exit.USAGE)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as ^C does, it takes the daemon along
    course = Course(arguments.minutes * 60, arguments.files, arguments.seed, arguments.plain)
    with tempfile.TemporaryDirectory() as temporary:
        report = soak(course, arguments.keep or Path(temporary))
    print("\n".join([*report.account.wrong[:WRONG_MOST], *lines(course, report)]))
    sys.exit(1 if report.account.wrong else 0)


if __name__ == "__main__":
    main()
