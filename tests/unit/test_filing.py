"""Looking at files, reading them, finding names for them; on a faked file system where it can fake what is asked."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from pyfakefs.fake_filesystem import FakeFilesystem

from canarysync import reading
from canarysync.filing import drop_stale_error, drop_temporaries, sweep_temporaries
from canarysync.model import Kind, Signature
from canarysync.moving import free_name
from canarysync.reading import Content, NotRead, look, read
from canarysync.room import SHARED_BY, Room
from tests.support import finished

DATA = b'{"a": 1}'
TAG = "20260101T120000-abc123"
SUFFIX = ".receipt.json"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "visit.json"
    path.write_bytes(DATA)
    return path


def signature_of(path: Path) -> Signature:
    seen = os.lstat(path)
    return Signature(seen.st_size, seen.st_mtime_ns, seen.st_ino, seen.st_dev)


def refuse(code: int) -> Callable[..., int]:
    def call(*_: object, **__: object) -> int:
        raise OSError(code, os.strerror(code))

    return call


def bind(path: Path) -> None:
    """A socket under that name; by a relative path, since addresses are short."""
    os.chdir(path.parent)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path.name)


# --- looking and reading (real files: kinds that are not faked, and calls that must not block) ---------


@pytest.mark.parametrize("by_open", [False, True])
def test_a_file_is_seen_with_its_signature(file: Path, by_open: bool) -> None:
    assert look(file, by_open=by_open) == (Kind.FILE, signature_of(file))


def test_a_file_is_read_once_with_its_hash(file: Path) -> None:
    assert read(file, 100) == Content(DATA, hashlib.sha256(DATA).hexdigest(), signature_of(file))


@pytest.mark.parametrize("by_open", [False, True])
@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        bind,
        lambda path: os.symlink("/etc/hostname", path),
        lambda path: os.symlink("nowhere", path),
        lambda path: os.symlink(path.name, path),
    ],
    ids=["fifo", "socket", "link", "dangling link", "loop"],
)
def test_what_is_no_regular_file_is_neither_followed_nor_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None], by_open: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "visit.json"
    make(path)

    assert look(path, by_open=by_open) == (Kind.UNSAFE, signature_of(path))
    assert read(path, 100) == NotRead(Kind.UNSAFE, signature_of(path))


def test_a_device_is_not_opened() -> None:
    assert look(Path("/dev/null"), by_open=True)[0] is Kind.UNSAFE
    assert read(Path("/dev/zero"), 100) == NotRead(Kind.UNSAFE, signature_of(Path("/dev/zero")))


def test_a_folder_is_no_candidate(tmp_path: Path) -> None:
    assert look(tmp_path)[0] is Kind.MISSING
    assert isinstance(read(tmp_path, 100), NotRead)


@pytest.mark.parametrize("name", ["missing.json", "visit.json/below.json"])
def test_what_is_not_there_is_missing(file: Path, name: str) -> None:
    path = file.parent / name

    assert look(path) == look(path, by_open=True) == (Kind.MISSING, None)
    assert read(path, 100) == NotRead(Kind.MISSING)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: os.symlink("/etc/hostname", path)], ids=["fifo", "link"])
def test_what_takes_the_place_of_a_file_between_look_and_open_is_not_read(
    file: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[Path], None]
) -> None:
    real_open = os.open

    def swap_then_open(path: Path, flags: int) -> int:
        file.unlink()
        make(file)
        return real_open(path, flags)

    monkeypatch.setattr(os, "open", swap_then_open)

    found = read(file, 100)

    assert isinstance(found, NotRead)
    assert found.kind is Kind.UNSAFE


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ESTALE])
def test_trouble_with_reading_is_no_verdict_on_the_content(
    file: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(os, "open", refuse(code))

    assert look(file, by_open=True) == (Kind.UNREADABLE, None)
    assert read(file, 100) == NotRead(Kind.UNREADABLE)


def test_an_error_in_the_middle_of_reading_is_trouble_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "read", refuse(errno.EIO))

    assert read(file, 100) == NotRead(Kind.UNREADABLE)


@pytest.mark.parametrize("most", [len(DATA) - 1, 0])
def test_a_file_that_is_too_large_is_not_read(file: Path, monkeypatch: pytest.MonkeyPatch, most: int) -> None:
    monkeypatch.setattr(os, "read", refuse(errno.EIO))

    assert read(file, most) == NotRead(Kind.FILE, signature_of(file))


def test_a_file_may_be_as_large_as_the_limit(file: Path) -> None:
    assert isinstance(read(file, len(DATA)), Content)


@pytest.mark.parametrize("change", [lambda f: f.write_bytes(DATA + b"\n"), lambda f: f.write_bytes(DATA[:-1])])
@pytest.mark.parametrize("most", [len(DATA), 100])
def test_a_file_that_changes_while_it_is_read_is_not_what_was_read(
    file: Path, monkeypatch: pytest.MonkeyPatch, change: Callable[[Path], int], most: int
) -> None:
    real_read, pending = os.read, [change]

    def change_then_read(fd: int, size: int) -> bytes:
        if pending:
            pending.pop()(file)
        return real_read(fd, size)

    monkeypatch.setattr(os, "read", change_then_read)

    found = read(file, most)

    assert found == NotRead(Kind.FILE, signature_of(file), changing=True)


def test_reading_leaves_no_descriptor_open(file: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for most in (0, 4, 100):
        read(file, most)
        look(file, by_open=True)
        finished(reading.sync(file))

    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("code", [errno.EINVAL, errno.EOPNOTSUPP, errno.EROFS])
def test_a_file_that_cannot_be_synced_is_taken_as_it_is(file: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setattr(os, "fsync", refuse(code))

    finished(reading.sync(file))


def test_a_file_that_cannot_be_written_to_disk_is_not_sent(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", refuse(errno.EIO))

    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        finished(reading.sync(file))


# --- can it be moved? ----------------------------------------------------------------------------------


def own(monkeypatch: pytest.MonkeyPatch, *, user: int, folder: int, file: int, sticky: bool = True) -> Path:
    """A drop folder and a file that belong to these users, seen by ``user`` (ids)."""
    drop, path = Path("/srv/drop"), Path("/srv/drop/visit.json")
    mode = 0o777 | (stat.S_ISVTX if sticky else 0)
    seen = {
        drop: os.stat_result((stat.S_IFDIR | mode, 1, 1, 1, folder, 0, 0, 0, 0, 0)),
        path: os.stat_result((stat.S_IFREG | 0o644, 2, 1, 1, file, 0, 0, 0, 0, 0)),
    }
    monkeypatch.setattr(os, "stat", lambda path, **_: seen[Path(path)])
    monkeypatch.setattr(os, "lstat", lambda path, **_: seen[Path(path)])
    monkeypatch.setattr(os, "access", lambda *_, **__: True)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    return path


@pytest.mark.parametrize(("user", "folder", "file"), [(7, 7, 9), (7, 8, 7), (0, 8, 9)])
def test_owners_and_root_may_move_out_of_a_sticky_folder(
    monkeypatch: pytest.MonkeyPatch, user: int, folder: int, file: int
) -> None:
    path = own(monkeypatch, user=user, folder=folder, file=file)

    assert Room(path.parent, tuple).obstacle(path.name) == ""


def test_nobody_else_may(monkeypatch: pytest.MonkeyPatch) -> None:
    path = own(monkeypatch, user=7, folder=8, file=9)
    room = Room(path.parent, tuple)
    assert "sticky" in room.obstacle(path.name)
    assert "sticky" in room.obstacle(path.name), "for the second file, too"

    own(monkeypatch, user=7, folder=8, file=9, sticky=False)
    assert Room(path.parent, tuple).obstacle(path.name) == ""


@pytest.mark.parametrize("closed", ["drop", "done", "failed"])
def test_a_folder_that_we_may_not_write_in_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str
) -> None:
    folders = [tmp_path / name for name in ("drop", "done", "failed")]
    for folder in folders:
        folder.mkdir()
    room = Room(folders[0], lambda: tuple(folders[1:]))
    assert room.obstacle("visit.json") == ""

    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != closed)

    found = [room.obstacle("visit.json") for _ in range(2 * SHARED_BY)]
    assert f"{closed}/" in found[SHARED_BY - 1], "one look does for so many files, and not for one more"
    assert f"{closed}/" in found[-1], "an obstacle is looked at by each"


def test_after_a_file_that_could_not_be_filed_no_earlier_look_will_do(tmp_path: Path) -> None:
    done = tmp_path / "done"
    done.mkdir()
    room = Room(tmp_path, lambda: (done,))
    assert room.obstacle("visit.json") == ""

    done.rmdir()
    room.look_anew()

    assert "done/" in room.obstacle("next.json")


def test_a_folder_that_is_missing_is_an_obstacle(tmp_path: Path) -> None:
    assert "done/" in Room(tmp_path, lambda: (tmp_path / "done",)).obstacle("visit.json")


# --- names (faked) -------------------------------------------------------------------------------------


@pytest.fixture
def done(fs: FakeFilesystem, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(os, "pathconf", lambda path, name: 255, raising=False)
    fs.create_dir("/srv/done")
    return Path("/srv/done")


def longest(stem: str, ending: str = ".json") -> str:
    """``stem`` over and over, as long as a name may be so that its sidecar's name is a name too."""
    room = 255 - len(SUFFIX) - len(ending)
    return stem * (room // len(os.fsencode(stem))) + ending


@pytest.mark.parametrize("name", ["visit.json", "a.b.c.yaml", longest("v"), longest("ü"), longest("💉")])
def test_a_file_keeps_its_name_where_it_can(done: Path, name: str) -> None:
    assert free_name(str(done), name, SUFFIX, lambda: TAG) == name


@pytest.mark.parametrize("taken", ["visit.json", "visit.json" + SUFFIX])
def test_a_name_in_use_gets_the_tag_before_its_ending(fs: FakeFilesystem, done: Path, taken: str) -> None:
    fs.create_file(done / taken)

    assert free_name(str(done), "visit.json", SUFFIX, lambda: TAG) == f"visit.{TAG}.json"


def test_a_name_is_in_use_by_a_dangling_link_too(fs: FakeFilesystem, done: Path) -> None:
    fs.create_symlink(done / "visit.json", "/nowhere")

    assert free_name(str(done), "visit.json", SUFFIX, lambda: TAG) != "visit.json"


@pytest.mark.parametrize("stem", ["v", "ü", "日", "💉", "\udcff", "x\udcff"])
def test_a_name_without_room_for_its_sidecar_is_shortened_at_a_whole_character(done: Path, stem: str) -> None:
    found = free_name(str(done), longest(stem) + ".yaml", SUFFIX, lambda: TAG)

    assert len(os.fsencode(found + SUFFIX)) <= 255
    assert found.endswith(f"{TAG}.yaml")
    found.replace("\udcff", "").encode("utf-8")


# --- sidecars and leftovers (faked) --------------------------------------------------------------------


@pytest.mark.parametrize("still_there", [False, True])
def test_an_error_goes_when_its_file_has_left_failed(fs: FakeFilesystem, still_there: bool) -> None:
    fs.create_file("/srv/failed/visit.json.error.json")
    fs.create_file("/srv/failed/other.json.error.json")
    if still_there:
        fs.create_file("/srv/failed/visit.json")

    drop_stale_error("/srv/failed", "visit.json", ".error.json")

    assert fs.exists("/srv/failed/visit.json.error.json") is still_there
    assert fs.exists("/srv/failed/other.json.error.json")


def test_where_there_is_no_error_nothing_goes(fs: FakeFilesystem) -> None:
    fs.create_file("/srv/failed/visit.json")

    drop_stale_error("/srv/failed", "visit.json", ".error.json")
    drop_stale_error("/srv/failed", "other.json", ".error.json")

    assert fs.exists("/srv/failed/visit.json")


def test_only_our_own_temporaries_are_swept(fs: FakeFilesystem) -> None:
    kept = ["visit.json", "visit.json.receipt.json", "notes.tmp", ".canarysync", ".hidden", "canarysync-1.tmp"]
    for name in [*kept, ".canarysync-019b796d-d600-745f-8fa6-9900b268e9c0.tmp"]:
        fs.create_file(f"/srv/done/{name}")

    sweep_temporaries(Path("/srv/done"))

    assert sorted(os.listdir("/srv/done")) == sorted(kept)


def test_a_temporary_is_found_by_its_entry_without_a_look_at_the_folder(fs: FakeFilesystem) -> None:
    for name in (".canarysync-019b.tmp", ".canarysync-019c.tmp", "visit.json"):
        fs.create_file(f"/srv/done/{name}")

    drop_temporaries(Path("/srv/done"), ["019a", "019b"])
    drop_temporaries(Path("/srv/not-mounted"), ["019b"])

    assert sorted(os.listdir("/srv/done")) == [".canarysync-019c.tmp", "visit.json"]
