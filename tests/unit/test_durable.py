"""Durable writes and moves that never overwrite, on a faked file system; fsyncs of folders on a real one."""

from __future__ import annotations

import ctypes
import errno
import logging
import math
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from canarysync import durable

EXT4, NFS = 0xEF53, 0x6969
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


# --- files together --------------------------------------------------------------------------------


class Calls:
    """Stands in for the C library. ``code``: what syncfs fails with; ``unwritten``: what sync_file_range fails with,
    and for which file."""

    def __init__(self, magic: int, code: int = 0, unwritten: tuple[int, int] = (-1, 0)) -> None:
        self.synced: list[int] = []
        self.waited: list[int] = []
        self._magic = magic
        self._code = code
        self._unwritten = unwritten

    def fstatfs(self, _: int, told: Any) -> int:
        told[0] = self._magic
        return 0

    def syncfs(self, fd: int) -> int:
        self.synced.append(fd)
        ctypes.set_errno(self._code)
        return -1 if self._code else 0

    def sync_file_range(self, fd: int, _offset: object, _length: object, flags: int) -> int:
        if flags != durable._SYNC_FILE_RANGE_WAIT_BEFORE:
            return 0
        self.waited.append(fd)
        unwritten, code = self._unwritten
        ctypes.set_errno(code)
        return -1 if fd == unwritten else 0


@pytest.fixture
def fsynced(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[int]:
    """The descriptors that fsync was called for; on an ext4, where nobody else has written anything."""
    called: list[int] = []
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal: 4028888 kB\nDirty:   100 kB\nWriteback:  0 kB\nWritebackTmp: 99999999 kB\n")
    monkeypatch.setattr(durable, "_MEMINFO", meminfo)
    monkeypatch.setattr(durable, "_TELLS_OF_ERRORS", True)
    monkeypatch.setattr(durable, "_apart", set())
    monkeypatch.setattr(durable, "_libc", Calls(EXT4))
    monkeypatch.setattr(os, "fsync", called.append)
    return called


@pytest.fixture
def neighbours(tmp_path: Path) -> Iterator[list[int]]:
    with ExitStack() as stack:
        files = [stack.enter_context((tmp_path / str(n)).open("wb")) for n in range(durable.TOGETHER_FROM)]
        yield [file.fileno() for file in files]


def test_neighbours_are_synced_with_one_call_and_the_disk_is_flushed_in_any_case(
    neighbours: list[int], fsynced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(EXT4)
    monkeypatch.setattr(durable, "_libc", calls)
    monkeypatch.setattr(os, "fsync", lambda fd: fsynced.append(len(calls.synced)))

    assert durable.sync_files(neighbours) == {}
    assert (calls.synced, fsynced) == ([neighbours[0]], [1]), "the fsync comes last"


def test_a_few_files_are_synced_each(neighbours: list[int], fsynced: list[int]) -> None:
    assert durable.sync_files(neighbours[1:]) == {}
    assert fsynced == neighbours[1:]


def test_another_file_system_syncs_each(
    neighbours: list[int], fsynced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "_libc", Calls(NFS))

    assert durable.sync_files(neighbours) == {}
    assert fsynced == neighbours


@pytest.mark.parametrize("told", ["Dirty: 65500 kB\nWriteback:   100 kB\n", None])
def test_what_others_have_left_to_be_written_is_not_waited_for(
    told: str | None, neighbours: list[int], fsynced: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    meminfo = tmp_path / "another"
    if told is not None:
        meminfo.write_text(told)
    monkeypatch.setattr(durable, "_MEMINFO", meminfo)

    assert durable.sync_files(neighbours) == {}
    assert fsynced == neighbours


def test_a_kernel_whose_syncfs_hides_errors_syncs_each(
    neighbours: list[int], fsynced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "_TELLS_OF_ERRORS", False)

    assert durable.sync_files(neighbours) == {}
    assert fsynced == neighbours


def test_an_error_of_all_may_be_any_files_and_then_each_has_its_own(
    neighbours: list[int], fsynced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(EXT4, errno.EIO)
    monkeypatch.setattr(durable, "_libc", calls)

    failed = durable.sync_files(neighbours)

    assert {fd: error.errno for fd, error in failed.items()} == dict.fromkeys(neighbours, errno.EIO)
    assert len({id(error) for error in failed.values()}) == len(neighbours), "each is raised for itself"
    assert durable.sync_files(neighbours) == {}
    assert (calls.synced, fsynced) == ([neighbours[0]], neighbours)


def test_an_error_that_others_were_told_of_before_is_told_by_the_file(
    neighbours: list[int], fsynced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """syncfs tells each opener of what happens from then on, and of what nobody was told; fsync tells it by file."""
    calls = Calls(EXT4, unwritten=(neighbours[3], errno.EIO))
    monkeypatch.setattr(durable, "_libc", calls)

    assert [(fd, error.errno) for fd, error in durable.sync_files(neighbours).items()] == [(neighbours[3], errno.EIO)]
    assert calls.waited == neighbours
    durable.sync_files(neighbours)
    assert fsynced == [neighbours[0], *neighbours], "then each has its own"


def test_a_file_that_cannot_tell_without_an_fsync_has_its_own(
    neighbours: list[int], fsynced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(durable, "_libc", Calls(EXT4, unwritten=(neighbours[3], errno.ENOSYS)))

    assert durable.sync_files(neighbours) == {}
    assert fsynced == [neighbours[0], neighbours[3]]


def test_of_files_that_are_synced_each_only_those_that_failed_did(
    neighbours: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fsync(fd: int) -> None:
        if fd == neighbours[2]:
            raise OSError(errno.EIO, "")

    monkeypatch.setattr(durable, "TOGETHER_FROM", 99)
    monkeypatch.setattr(os, "fsync", fsync)

    assert [(fd, error.errno) for fd, error in durable.sync_files(neighbours).items()] == [(neighbours[2], errno.EIO)]


@pytest.mark.skipif(os.stat("/dev/shm").st_dev == os.stat("/tmp").st_dev, reason="there is one file system only")
def test_each_file_system_is_synced_for_itself(
    neighbours: list[int], fsynced: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(EXT4)
    monkeypatch.setattr(durable, "_libc", calls)
    with tempfile.TemporaryFile(dir="/dev/shm") as elsewhere:
        assert durable.sync_files([elsewhere.fileno(), *neighbours]) == {}

        assert calls.synced == [neighbours[0]]
        assert fsynced == [elsewhere.fileno(), neighbours[0]]


def test_the_real_calls_sync(neighbours: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever file system this is."""
    magic = durable._file_system(neighbours[0])
    assert magic != 0
    assert 0 <= durable._unwritten_bytes() < math.inf
    monkeypatch.setattr(durable, "_SYNCED_AS_A_WHOLE", {magic})
    monkeypatch.setattr(durable, "_UNWRITTEN_MOST_BYTES", math.inf)
    monkeypatch.setattr(durable, "_apart", apart := set[int]())

    assert durable.sync_files(neighbours) == {}
    assert apart == set()


def test_a_closed_descriptor_is_an_error_of_its_own(neighbours: list[int]) -> None:
    failed = durable.sync_files([*neighbours, 1 << 20])

    assert [(fd, error.errno) for fd, error in failed.items()] == [(1 << 20, errno.EBADF)]


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
