"""Filing away on a real file system: every crash point, every stranger, both kinds of move."""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from canarysync.filing import Move, TargetTaken, file_away, sweep_temporaries
from tests.system import faults
from tests.system.faults import Crash, failing, just_before_leaving, os_error
from tests.system.place import DATA, OTHER, Place, again, make_place, sidecar

Limit = Callable[[pytest.MonkeyPatch], None]
LIMITS: list[Limit] = [
    faults.renameat2,
    faults.no_renameat2,
    faults.no_links_either,
    faults.another_file_system,
]


@pytest.fixture(params=LIMITS, ids=lambda limit: limit.__name__)
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Limit:
    """The whole test on each kind of file system."""
    apply: Limit = request.param
    apply(monkeypatch)
    return apply


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


Run = Callable[[Place, Move], object]
Check = Callable[[Place], None]


def crash_everywhere(home: Path, run: Run, check: Check, *, content: bytes | None = None) -> int:
    """Let the process end at its 1st, 2nd, … call; start again; ``check``. Returns how many calls there were."""
    for call in itertools.count(1):
        place = make_place(home / str(call))
        move = place.move(content)
        try:
            with failing(call, Crash(), for_good=True):
                run(place, move)
        except Crash:
            sweep_temporaries(place.done)
            again(move)
            check(place)
        else:
            check(place)
            return call - 1
    raise AssertionError("unreachable")


def fail_everywhere(home: Path, code: int, run: Run, check: Check, *, content: bytes | None = None) -> int:
    """Let the 1st, 2nd, … call fail once, and try again in the same process when that was not passed over."""
    for call in itertools.count(1):
        place = make_place(home / str(call))
        move = place.move(content)
        passed = False
        try:
            with failing(call, os_error(code), for_good=False):
                run(place, move)
                passed = True
                os.close(os.open("/dev/null", os.O_RDONLY))  # fails when nothing else did
        except OSError:
            if passed and call > 3 and not _failed_before_the_end(home, call):
                check(place)
                return call - 1
            if not passed:
                file_away(move)
            check(place)
    raise AssertionError("unreachable")
