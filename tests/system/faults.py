"""File systems and processes that fail: at the n-th call, or in the ways that real ones do not support a call."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from canarysync import durable
from canarysync.candidates import PASSAGE

CALLS = ("open", "write", "fsync", "rename", "link", "unlink", "mkdir", "fchmod", "utime")
"""What filing asks of the system that may fail, or may be the last thing that a process did; and renameat2."""


class Crash(BaseException):
    """The process ended here: nothing that it would have done afterwards is done."""


def os_error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


@dataclass
class Count:
    """How many calls were made, and whether the one that was to fail was among them."""

    made: int = 0
    fired: bool = False


@contextmanager
def failing(at: int, error: BaseException, *, for_good: bool) -> Iterator[Count]:
    """Call number ``at`` (from 1) raises ``error`` instead of being made; ``for_good``: and all that come after."""

    def fail() -> None:
        raise error

    with interrupted(at, fail, for_good=for_good) as count:
        yield count


@contextmanager
def interrupted(at: int, happens: Callable[[], object], *, for_good: bool = False) -> Iterator[Count]:
    """Something ``happens`` right before call number ``at`` (from 1); ``for_good``: and before all that come after."""
    count = Count()

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            count.made += 1
            if count.made == at or (for_good and count.made > at):
                count.fired = True
                happens()
            return call(*arguments, **options)

        return counted

    with pytest.MonkeyPatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, wrapped(getattr(os, name)))
        rename = getattr(durable._libc, "renameat2", None)
        if rename is not None:
            patch.setattr(durable, "_libc", SimpleNamespace(renameat2=wrapped(rename)))
        yield count


def renameat2(patch: pytest.MonkeyPatch) -> None:
    """A file system that can do everything, as most can: nothing to be done."""


def no_renameat2(patch: pytest.MonkeyPatch) -> None:
    """As on CIFS and on kernels or C libraries without it."""
    patch.setattr(durable, "_libc", SimpleNamespace())


def no_links_either(patch: pytest.MonkeyPatch) -> None:
    """As on FAT, and on FUSE file systems without links."""

    def link(*_: Any, **__: Any) -> None:
        raise os_error(errno.EPERM)

    no_renameat2(patch)
    patch.setattr(os, "link", link)


def another_file_system(patch: pytest.MonkeyPatch) -> None:
    """Every folder is a mount of its own, but for the passage: no file can be moved from one to another."""
    rename2, calls = durable._libc.renameat2, {"link": os.link, "rename": os.rename}

    def mount(path: Any) -> str:
        return os.path.dirname(os.fsdecode(path)).removesuffix(f"/{PASSAGE}")

    def crossing(at_source: int, source: bytes, at_target: int, target: bytes, flags: int) -> int:
        if mount(source) == mount(target):
            return int(rename2(at_source, source, at_target, target, flags))
        ctypes.set_errno(errno.EXDEV)
        return -1

    def crossing_too(name: str) -> Callable[..., None]:
        def call(source: Any, target: Any, **options: Any) -> None:
            if mount(source) != mount(target):
                raise os_error(errno.EXDEV)
            calls[name](source, target, **options)

        return call

    patch.setattr(durable, "_libc", SimpleNamespace(renameat2=crossing))
    for name in calls:
        patch.setattr(os, name, crossing_too(name))


LIMITS = (renameat2, no_renameat2, no_links_either, another_file_system)
"""The kinds of file system that a move has to work on."""


def just_before_moving(patch: pytest.MonkeyPatch, path: Path, happens: Callable[[], object]) -> None:
    """Let something happen right before ``path`` is moved away, the first time."""
    pending = [happens]

    def wrapped(call: Callable[..., Any]) -> Callable[..., Any]:
        def moving(source: Any, *others: Any) -> Any:
            if pending and Path(os.fsdecode(source)) == path:
                pending.pop()()
            return call(source, *others)

        return moving

    patch.setattr(durable, "rename_at_once", wrapped(durable.rename_at_once))
    patch.setattr(os, "rename", wrapped(os.rename))
