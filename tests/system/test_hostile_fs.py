"""A file system that fails, once here and there or all the time, in every way it knows, during whole runs.

When the trouble is over, the next run brings everything home: each file to its one place, each score once at the API.
"""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from canarysync import durable, lane, outcomes
from canarysync.candidates import MARKER
from canarysync.errors import CanarysyncError, Exit
from canarysync.sandbox import Endpoint, Sandbox
from tests.support import PATIENCE_S, Site, make_site, score, stored

CODES = [
    errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.EXDEV, errno.ESTALE,
    errno.EMFILE, errno.ENAMETOOLONG, errno.EEXIST,
]  # fmt: skip
LASTING = [errno.ENOSPC, errno.EACCES, errno.EPERM, errno.EIO, errno.EXDEV, errno.EEXIST]
"""Of these, one for each way that a call which always fails is answered."""

LATER = [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ESTALE, errno.EMFILE]
"""Of these, those that may well be over at the next try, without anybody mending anything."""

CALLS = [
    "open", "read", "write", "fsync", "stat", "lstat", "fstat", "renameat2", "rename", "link", "unlink", "scandir",
    "access", "statvfs",
]  # fmt: skip


# --- the trouble -------------------------------------------------------------------------------------


@dataclass
class Trouble:
    """Fails the calls of one function on what lies below ``folder``: each one that ``strikes`` picks by its number."""

    folder: Path
    strikes: Callable[[int], bool]
    codes: Iterator[int]
    spared: str = ""
    made: int = 0
    struck: list[int] = field(default_factory=list)

    def code_for(self, *arguments: Any) -> int:
        """The error of this call; 0 when it is to be made."""
        paths = [path for path in map(_path_of, arguments) if path]
        if not any(path.startswith(str(self.folder)) and path != self.spared for path in paths):
            return 0
        self.made += 1
        if not self.strikes(self.made):
            return 0
        self.struck.append(next(self.codes))
        return self.struck[-1]


def _path_of(argument: object) -> str:
    """Of a path, or of an open file."""
    if isinstance(argument, int):
        with suppress(OSError):
            return _readlink(f"/proc/self/fd/{argument}")
    return os.fsdecode(argument) if isinstance(argument, str | bytes | os.PathLike) else ""


_readlink = os.readlink


@contextmanager
def befalling(call: str, trouble: Trouble) -> Iterator[None]:
    """The system's ``call`` fails as ``trouble`` has it."""
    holder: Any = durable._libc if call == "renameat2" else os
    real = getattr(holder, call)

    def hindered(*arguments: Any, **options: Any) -> Any:
        code = trouble.code_for(*arguments)
        if code and call == "renameat2":
            ctypes.set_errno(code)
            return -1
        if code:
            raise OSError(code, os.strerror(code))
        return real(*arguments, **options)

    with pytest.MonkeyPatch.context() as patch:
        if call == "renameat2":
            patch.setattr(durable, "_libc", SimpleNamespace(renameat2=hindered))
        else:
            patch.setattr(os, call, hindered)
        if call in ("rename", "link", "unlink"):  # which are asked only where there is no renameat2
            patch.setattr(durable, "_libc", SimpleNamespace())
        if call == "rename":  # nor hard links
            patch.setattr(os, "link", no_links)
        yield


def no_links(*_: object, **__: object) -> None:
    raise OSError(errno.EPERM, os.strerror(errno.EPERM))


# --- the runs ----------------------------------------------------------------------------------------


def put_files(site: Site, number: int) -> tuple[list[str], list[str]]:
    """Valid ones and invalid ones."""
    good = [f"good-{index:02}.json" for index in range(number)]
    bad = [f"bad-{index:02}.json" for index in range(number // 4 + 1)]
    for index, name in enumerate(good):
        site.put(name, score(index))
    for name in bad:
        site.put(name, "{")
    return good, bad


def assert_all_is_home(site: Site, sandbox: Sandbox, good: list[str], bad: list[str]) -> None:
    site.assert_all_done_once(good, stored(sandbox))
    assert sorted(os.listdir(site.done)) == sorted([*good, *(f"{name}.receipt.json" for name in good)])
    assert sorted(os.listdir(site.failed)) == sorted([*bad, *(f"{name}.error.json" for name in bad)])
    assert not any("fileMissing" in site.receipt(name) for name in good)
    puts = sum(count for (endpoint, _), count in sandbox.requests.items() if endpoint == Endpoint.PUT)
    assert puts == len(good), "nothing is sent twice"


def assert_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    assert [vars(r) for r in caplog.records if r.name.startswith("canarysync") and "defect" in str(vars(r))] == []


@pytest.fixture
def site(tmp_path: Path, sandbox: Sandbox) -> Site:
    """With one worker, so that the calls come in the same order each time."""
    return make_site(tmp_path, sandbox.url, api__concurrency=1)


@pytest.fixture(autouse=True)
def short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder whose stat fails looks as if it were gone."""
    monkeypatch.setattr(lane, "FOLDER_GONE_WAIT_S", 0.05)
    monkeypatch.setattr(outcomes, "FOLDER_GONE_WAIT_S", 0.05)


EVERY = dict.fromkeys(CALLS, 5) | {"access": 2, "statvfs": 2, "pread": 2, "pwrite": 2, "ftruncate": 2}
"""How often a call fails: seldom made are two, for many files together, and three on the marker only."""


@pytest.mark.parametrize("call", EVERY)
def test_trouble_here_and_there(site: Site, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, call: str) -> None:
    """Every few calls one fails, each with another error: in the end all points of the way have been hit."""
    site.once()
    good, bad = put_files(site, 12)
    trouble = Trouble(site.drop.parent, lambda number: number % EVERY[call] == 0, itertools.cycle(CODES))
    with befalling(call, trouble):
        for _ in range(2):
            with suppress(CanarysyncError):  # it may fail to start: known, and told
                site.once()
    assert trouble.struck
    site.once(wait_s=PATIENCE_S)
    assert_all_is_home(site, sandbox, good, bad)
    assert_no_defect(caplog)


@pytest.mark.parametrize("call", CALLS)
def test_trouble_all_the_time(site: Site, sandbox: Sandbox, caplog: pytest.LogCaptureFixture, call: str) -> None:
    """A run for each error, in which no call succeeds but on the marker, so that the run itself can begin."""
    site.once()
    good = put_files(site, 2)[0]
    (site.drop / "bad-00.json").unlink()
    for code in LASTING:
        trouble = Trouble(site.drop.parent, lambda number: True, itertools.repeat(code), str(site.drop / MARKER))
        with befalling(call, trouble), suppress(CanarysyncError):
            site.once()
        assert trouble.struck or site.waiting() == []
    site.once(wait_s=PATIENCE_S)
    assert_all_is_home(site, sandbox, good, [])
    assert_no_defect(caplog)


@pytest.mark.parametrize("which", range(1, 5))
def test_a_look_that_fails(site: Site, sandbox: Sandbox, which: int) -> None:
    """The file was moved, and nobody can be sure; then the n-th look at what is in done/ fails."""
    site.once()
    good = put_files(site, 1)[0]
    (site.drop / "bad-00.json").unlink()
    with befalling("fsync", Trouble(site.done, lambda number: number > 1, itertools.repeat(errno.EIO))):
        assert site.once().exit_code() == Exit.TRY_AGAIN
    assert site.filed() == good
    look = Trouble(site.done / good[0], lambda number: number == which, itertools.repeat(errno.ESTALE))
    with befalling("lstat", look):
        site.once()
    assert look.struck
    site.once(wait_s=PATIENCE_S)
    assert_all_is_home(site, sandbox, good, [])


@pytest.mark.parametrize("call", ["open", "pread", "pwrite", "ftruncate", "fsync"])
def test_a_trouble_at_the_start_that_may_pass_is_not_called_bad_configuration(site: Site, call: str) -> None:
    site.once()
    for code in LATER:
        trouble = Trouble(site.drop / MARKER, lambda number: True, itertools.repeat(code))
        with befalling(call, trouble):
            summary = site.once()
        # Only this route waits; after exit code 78 systemd would not start it again.
        assert (summary.exit_code(), summary.gone) == (Exit.TRY_AGAIN, ["clinic"]), os.strerror(code)
