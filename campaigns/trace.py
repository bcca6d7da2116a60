"""What a program asked of disk and network, call by call, as strace wrote it down."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

CALLS = (
    "openat", "write", "pwrite64", "ftruncate", "rename", "renameat", "renameat2", "link", "linkat", "unlink",
    "unlinkat", "mkdir", "mkdirat", "fsync", "fdatasync", "syncfs", "sendto", "recvfrom",
)  # fmt: skip

OPTIONS = ("-y", "-xx", "-s", str(1 << 24), "-e", f"trace={','.join(CALLS)}")
"""For strace: nothing is shortened, and every string is in hexadecimal, so that none can be taken for syntax."""

_STRING = re.compile(r'"((?:\\x[0-9a-f]{2})*)"|<((?:\\x[0-9a-f]{2})*)>')
_UNFINISHED, _RESUMED = " <unfinished ...>", re.compile(r"<\.\.\. \w+ resumed>(.*)")


@dataclass(frozen=True, slots=True)
class Call:
    """One end of a system call: where it begins (``result`` is None), or where it has returned."""

    thread: str
    name: str
    arguments: str
    result: int | None

    @property
    def behind(self) -> bytes:
        """What the file descriptor stands for: a path, or ``socket:[number]``."""
        return next(_text(fd) for quoted, fd in _STRING.findall(self.arguments) if fd)

    @property
    def data(self) -> bytes:
        """The bytes that were handed over."""
        return next((_text(quoted) for quoted, fd in _STRING.findall(self.arguments) if not fd), b"")

    @property
    def paths(self) -> list[bytes]:
        """The paths that were named, each with the folder that it is relative to."""
        paths, base = [], b""
        for quoted, fd in _STRING.findall(self.arguments):
            if fd:
                base = _text(fd)
            else:
                paths.append(os.path.join(base, _text(quoted)))
        return paths

    @property
    def last_number(self) -> int:
        """The last argument: an offset, or a size."""
        return int(self.arguments.rpartition(",")[2])


def read(text: str) -> Iterator[Call]:
    """Every call twice, where it began and where it returned, in the order in which that happened (``strace -f -o``).

    A line that is whole had no other between its two ends.
    """
    begun: dict[str, str] = {}
    for line in text.splitlines():
        thread, _, rest = line.partition(" ")
        rest = rest.lstrip()
        resumed = _RESUMED.fullmatch(rest)
        if rest.endswith(_UNFINISHED):
            begun[thread] = rest.removesuffix(_UNFINISHED)
            yield _call(thread, begun[thread], None)
        elif resumed:
            yield from _returned(thread, begun.pop(thread) + resumed[1])
        elif " = " in rest:
            yield _call(thread, rest.rpartition(" = ")[0].rstrip().removesuffix(")"), None)
            yield from _returned(thread, rest)


def _returned(thread: str, whole: str) -> Iterator[Call]:
    """Nothing for a call that never did."""
    told, _, result = whole.rpartition(" = ")
    number = re.match(r"-?\d+", result)
    if number:
        yield _call(thread, told.rstrip().removesuffix(")"), int(number[0]))


def _call(thread: str, told: str, result: int | None) -> Call:
    name, _, arguments = told.partition("(")
    return Call(thread, name, arguments, result)


def _text(hexadecimal: str) -> bytes:
    return bytes.fromhex(hexadecimal.replace("\\x", ""))
