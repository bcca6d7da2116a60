"""Durable writes and moves that never overwrite, on a faked file system; the lock on a real one."""

from __future__ import annotations

import errno
import json
import logging
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from canarysync import durable
from canarysync.durable import Lock, peek
from canarysync.errors import HeldError

TEMPORARY = ".canarysync-1.tmp"
Folder = Path


def refuse(code: int) -> Callable[..., Any]:
    def call(*_: object, **__: object) -> Any:
        raise OSError(code, os.strerror(code))

    return call


@pytest.fixture
def folder(fs: FakeFilesystem, monkeypatch: pytest.MonkeyPatch) -> Folder:
    """Faked; renameat2(2) would not be, so here is none."""
    monkeypatch.setattr(durable, "_libc", SimpleNamespace())
    fs.create_dir("/srv/done")
    return Path("/srv/done")


def contents(folder: Folder) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


# --- writing ---------------------------------------------------------------------------------------


def test_a_new_file_is_written_whole_and_synced_before_it_gets_its_name(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[dict[str, bytes]] = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(contents(folder)))

    durable.write_new(folder / "a", b"content", TEMPORARY)

    assert synced == [{TEMPORARY: b"content"}]
    assert contents(folder) == {"a": b"content"}


def test_a_file_that_is_there_stays_as_it_is(folder: Folder) -> None:
    (folder / "a").write_bytes(b"old")

    with pytest.raises(FileExistsError):
        durable.write_new(folder / "a", b"new", TEMPORARY)

    assert contents(folder) == {"a": b"old"}


def test_what_a_crash_left_under_the_temporary_name_is_no_part_of_the_file(folder: Folder) -> None:
    (folder / TEMPORARY).write_bytes(b"a longer one, half written")

    durable.write_new(folder / "a", b"new", TEMPORARY)

    assert contents(folder) == {"a": b"new"}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
@pytest.mark.parametrize("call", ["write", "fsync", "link"])
@pytest.mark.parametrize("before", [{}, {"a": b"old"}])
def test_a_write_that_fails_leaves_the_folder_as_it_was(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, call: str, code: int, before: dict[str, bytes]
) -> None:
    for name, content in before.items():
        (folder / name).write_bytes(content)
    monkeypatch.setattr(os, call, refuse(code))

    with pytest.raises(OSError, match=os.strerror(code)):
        durable.write_new(folder / "a", b"new", TEMPORARY)

    assert contents(folder) == before


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
def test_a_replacement_that_fails_leaves_the_old_file(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    (folder / "a").write_bytes(b"old")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, refuse(errno.ENOSPC))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            durable.replace(folder / "a", b"new", TEMPORARY)

    assert (folder / "a").read_bytes() == b"old"


def test_a_replacement_takes_the_place_of_the_old_file(folder: Folder) -> None:
    (folder / "a").write_bytes(b"old")
    (folder / TEMPORARY).write_bytes(b"of a crash")

    durable.replace(folder / "a", b"new", TEMPORARY)

    assert contents(folder) == {"a": b"new"}


def test_a_short_write_is_gone_on_with(folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    real_write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real_write(fd, bytes(data[:3])))

    durable.write_new(folder / "a", b"0123456789", TEMPORARY)

    assert contents(folder) == {"a": b"0123456789"}


# --- moving ----------------------------------------------------------------------------------------


@pytest.fixture(params=[None, errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def links(request: pytest.FixtureRequest, folder: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system with hard links, and some that refuse them in their own way."""
    if request.param is not None:
        monkeypatch.setattr(os, "link", refuse(request.param))


@pytest.mark.usefixtures("links")
def test_a_move_keeps_the_file_and_its_content(folder: Folder) -> None:
    (folder / "a").write_bytes(b"content")
    inode = (folder / "a").stat().st_ino

    durable.rename_new(folder / "a", folder / "b")

    assert contents(folder) == {"b": b"content"}
    assert (folder / "b").stat().st_ino == inode


@pytest.mark.usefixtures("links")
def test_a_move_overwrites_nothing(folder: Folder) -> None:
    (folder / "a").write_bytes(b"mine")
    (folder / "b").write_bytes(b"theirs")

    with pytest.raises(FileExistsError):
        durable.rename_new(folder / "a", folder / "b")

    assert contents(folder) == {"a": b"mine", "b": b"theirs"}


@pytest.mark.usefixtures("links")
def test_a_move_does_not_overwrite_a_dangling_link(fs: FakeFilesystem, folder: Folder) -> None:
    (folder / "a").write_bytes(b"mine")
    fs.create_symlink(folder / "b", "/nowhere")

    with pytest.raises(FileExistsError):
        durable.rename_new(folder / "a", folder / "b")

    assert (folder / "b").is_symlink()


@pytest.mark.usefixtures("links")
def test_a_move_of_what_is_not_there_says_so(folder: Folder) -> None:
    with pytest.raises(FileNotFoundError):
        durable.rename_new(folder / "a", folder / "b")


@pytest.mark.parametrize("code", [errno.EXDEV, errno.EACCES, errno.EIO, errno.ENOSPC])
def test_trouble_is_not_taken_for_something_unsupported(
    folder: Folder, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    (folder / "a").write_bytes(b"content")
    monkeypatch.setattr(os, "link", refuse(code))

    with pytest.raises(OSError, match=os.strerror(code)):
        durable.rename_new(folder / "a", folder / "b")

    assert contents(folder) == {"a": b"content"}


def test_the_kernels_own_move_overwrites_nothing_either(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"mine")
    (tmp_path / "b").write_bytes(b"theirs")

    with pytest.raises(FileExistsError):
        durable.rename_new(tmp_path / "a", tmp_path / "b")
    durable.rename_new(tmp_path / "a", tmp_path / "c")

    assert contents(tmp_path) == {"b": b"theirs", "c": b"mine"}


# --- folders ---------------------------------------------------------------------------------------


def test_a_folder_that_cannot_be_synced_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(os, "fsync", refuse(errno.EINVAL))

    with caplog.at_level(logging.WARNING):
        for folder in (tmp_path, tmp_path, tmp_path / "other"):
            durable.sync_folder(folder)

        assert [record.args for record in caplog.records] == [(tmp_path,), (tmp_path / "other",)]


def test_a_folder_that_fails_to_sync_is_trouble(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))

    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        durable.sync_folder(tmp_path)


def test_syncing_leaves_no_descriptor_open(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    durable.sync_folder(tmp_path)

    assert len(os.listdir("/proc/self/fd")) == before


# --- the lock (real: flock(2) is not faked) --------------------------------------------------------


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


@pytest.mark.parametrize(
    ("changes", "room"),
    [
        ({}, True),
        ({"f_bavail": 0}, False),
        ({"f_bavail": 1}, False),
        ({"f_favail": 0}, False),
        ({"f_files": 0, "f_favail": 0}, True),  # btrfs and most network mounts count no names
        ({"f_blocks": 0, "f_bavail": 0}, True),  # some FUSE mounts tell nothing
    ],
    ids=str,
)
def test_whether_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, int], room: bool
) -> None:
    told = {"f_blocks": 1000, "f_bavail": 500, "f_frsize": 4096, "f_files": 100, "f_favail": 50} | changes
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(**told))

    assert durable.has_room(tmp_path, 65536) is room


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
