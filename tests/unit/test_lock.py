"""The lock on a file, and looks at it, on a real file system: flock(2) is not faked."""

from __future__ import annotations

import errno
import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from canarysync.errors import HeldError
from canarysync.lock import Lock, peek


def test_a_lock_says_who_has_it(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock", b"mine")

    first, second, rest = (tmp_path / "lock").read_bytes().split(b"\n")
    lock.release()

    assert (first, rest) == (b"mine", b"")
    holder = json.loads(second)
    assert (holder["pid"], holder["host"]) == (os.getpid(), socket.gethostname())


def test_a_second_taker_is_told_who_was_first(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock", b"mine")
    before = (tmp_path / "lock").read_bytes()

    with pytest.raises(HeldError) as caught:
        Lock(tmp_path / "lock", b"theirs")

    assert str(os.getpid()) in caught.value.cause
    assert socket.gethostname() in caught.value.cause
    assert (tmp_path / "lock").read_bytes() == before
    lock.release()


def test_a_lock_can_be_taken_again_after_its_release(tmp_path: Path) -> None:
    Lock(tmp_path / "lock", b"mine").release()

    lock = Lock(tmp_path / "lock", b"theirs")

    assert lock.first_line() == b"mine", "which belongs to whoever came first"
    lock.release()


@pytest.mark.parametrize("torn", [b"", b"mi", b"\0" * 40, b"a longer line that does not end"])
def test_a_first_line_that_was_never_ended_is_written_anew(tmp_path: Path, torn: bytes) -> None:
    (tmp_path / "lock").write_bytes(torn)

    lock = Lock(tmp_path / "lock", b"mine")

    assert lock.first_line() == b"mine"
    assert (tmp_path / "lock").read_bytes().count(b"\n") == 2
    lock.release()


SECOND_LINES = [
    b"",
    b"\n",
    b"garbage\n",
    b"[]\n",
    b"{}\n",
    b'{"pid": "x", "host": "h", "since": "s"}\n',
    b'{"pid": [], "host": "h", "since": "s"}\n',
    b'{"pid": Infinity, "host": "h", "since": "s"}\n',
    b"[" * 4000 + b"\n",
    b"\xff\xfe\n",
]


@pytest.mark.parametrize("line", SECOND_LINES, ids=range(len(SECOND_LINES)))
def test_whatever_is_written_into_the_file_a_lock_in_use_is_told(tmp_path: Path, line: bytes) -> None:
    """Everybody who may drop files may write into the drop folder's marker."""
    lock = Lock(tmp_path / "lock", b"mine")
    (tmp_path / "lock").write_bytes(b"mine\n" + line)

    with pytest.raises(HeldError):
        Lock(tmp_path / "lock", b"theirs")

    lock.release()


def test_a_holders_name_can_do_nothing_to_a_terminal(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock", b"mine")
    line = json.dumps({"pid": 1, "host": "\x1b[31mred" * 50, "since": "\x07"}).encode()
    (tmp_path / "lock").write_bytes(b"mine\n" + line + b"\n")

    with pytest.raises(HeldError) as caught:
        Lock(tmp_path / "lock", b"theirs")

    assert caught.value.cause.isprintable()
    assert len(caught.value.cause) < 600
    lock.release()


def test_a_lock_knows_whether_its_file_is_still_the_one_at_its_path(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock", b"mine")
    assert lock.same_file()

    os.rename(tmp_path / "lock", tmp_path / "elsewhere")
    assert not lock.same_file()
    (tmp_path / "lock").write_bytes(b"mine\n")
    assert not lock.same_file()
    os.rename(tmp_path / "elsewhere", tmp_path / "lock")
    assert lock.same_file()
    lock.release()


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"content")
    (tmp_path / "lock").symlink_to("precious")

    with pytest.raises(OSError, match=os.strerror(errno.ELOOP)):
        Lock(tmp_path / "lock", b"mine")

    assert (tmp_path / "precious").read_bytes() == b"content"


def test_a_lock_that_was_not_got_leaves_no_descriptor_open(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock", b"mine")
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(HeldError):
        Lock(tmp_path / "lock", b"theirs")

    assert len(os.listdir("/proc/self/fd")) == before
    lock.release()


def test_a_look_at_a_lock_says_who_holds_it_and_what_was_left_there(tmp_path: Path) -> None:
    lock = Lock(tmp_path / "lock", b"mine")
    lock.leave_note("page 7")

    held = peek(tmp_path / "lock")
    lock.release()
    free = peek(tmp_path / "lock")

    assert (held.first_line, held.note, held.pid, free.pid) == (b"mine", "page 7", os.getpid(), os.getpid())
    assert held.holder.startswith(f"process {os.getpid()} on ")
    assert free.holder == ""


def test_looks_at_a_lock_keep_nobody_from_taking_it(tmp_path: Path) -> None:
    Lock(tmp_path / "lock", b"mine").release()
    enough = threading.Event()

    def look_on() -> None:
        while not enough.is_set():
            peek(tmp_path / "lock")

    onlookers = [threading.Thread(target=look_on) for _ in range(2)]
    for thread in onlookers:
        thread.start()
    try:
        for _ in range(100):
            Lock(tmp_path / "lock", b"mine").release()
    finally:
        enough.set()
        for thread in onlookers:
            thread.join()


def test_a_process_inherits_it_even_where_standard_input_was_closed(tmp_path: Path) -> None:
    """As 0 it would be lost to the process that makes the requests, which has a socket there."""
    code = "import pathlib, sys; from canarysync import lock; print(lock.Lock(pathlib.Path(sys.argv[1]), b'a').fd)"
    command = ["sh", "-c", 'exec "$@" <&-', "sh", sys.executable, "-c", code, str(tmp_path / "lock")]
    said = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    assert int(said.stdout) > 2
