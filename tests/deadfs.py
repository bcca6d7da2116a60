"""A file system that never answers, as a share whose server died: a FUSE mount that nobody serves. Needs root."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

_libc = ctypes.CDLL(None, use_errno=True)
_MNT_DETACH = 2

needs_dead_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or not os.access("/dev/fuse", os.R_OK | os.W_OK), reason="needs root and /dev/fuse"
)


@contextmanager
def dead(folder: Path) -> Iterator[None]:
    """While this lasts, whoever looks at ``folder`` waits in the kernel for an answer that never comes. At the end they
    get errors, as when a dead mount is taken away by force, and the folder is what it was."""
    line = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    options = f"fd={line},rootmode=40000,user_id=0,group_id=0".encode()
    if _libc.mount(b"dead", os.fsencode(folder), b"fuse", 0, options) != 0:
        os.close(line)
        pytest.skip(f"cannot mount: {os.strerror(ctypes.get_errno())}")
    try:
        yield
    finally:
        _libc.umount2(os.fsencode(folder), _MNT_DETACH)
        os.close(line)
