"""What a watch tells of its folder, and how it ends: on real folders."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from queue import SimpleQueue

import pytest

from canarysync.discover import Hints, Watch
from tests.support import PATIENCE_S, room_for_events, wait_for

LAST = "last"


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    (tmp_path / "drop").mkdir()
    return tmp_path / "drop"


def told_by(watch: Watch, told: SimpleQueue[Hints], drop: Path) -> list[str]:
    """All that it tells until it is stopped, with what it has not told of yet."""
    (drop / LAST).touch()
    names: list[str] = []
    while LAST not in names:
        names += told.get(timeout=PATIENCE_S).names
    watch.stop()
    return [name for name in names if name != LAST]


def inotifies() -> int:
    """How many instances of inotify this process has."""
    links = (f"/proc/self/fd/{fd}" for fd in os.listdir("/proc/self/fd"))
    return sum(os.readlink(link) == "anon_inode:inotify" for link in links if os.path.islink(link))


def test_files_are_told_of_in_whatever_way_they_come_and_folders_are_not(drop: Path) -> None:
    told: SimpleQueue[Hints] = SimpleQueue()
    (drop.parent / "outside").touch()
    watch = Watch(drop, told.put)
    (drop / "written").write_text("1")
    os.link(drop.parent / "outside", drop / "linked")
    (drop.parent / "outside").rename(drop / "renamed")
    (drop / "folder").mkdir()
    (drop.parent / "elsewhere").mkdir()
    (drop.parent / "elsewhere").rename(drop / "moved-folder")
    (drop / os.fsdecode(b"no-text-\xff")).touch()
    (drop / "written").unlink()
    assert set(told_by(watch, told, drop)) == {"written", "linked", "renamed", os.fsdecode(b"no-text-\xff")}


def test_what_came_while_nobody_listened_is_told_at_once_and_each_name_once(drop: Path) -> None:
    listening, told = threading.Event(), SimpleQueue[Hints]()

    def hint(hints: Hints) -> None:
        told.put(hints)
        listening.wait(PATIENCE_S)

    watch = Watch(drop, hint)
    (drop / "first").touch()
    told.get(timeout=PATIENCE_S)
    for number in range(300):
        (drop / f"visit-{number % 100}").write_text("1")
    listening.set()
    names = list(told.get(timeout=PATIENCE_S).names)
    watch.stop()
    assert sorted(set(names) - {"first"}) == sorted(f"visit-{number}" for number in range(100))
    assert len(names) == len(set(names))


def test_it_says_that_the_queue_was_full(drop: Path) -> None:
    listening, told = threading.Event(), SimpleQueue[Hints]()

    def hint(hints: Hints) -> None:
        told.put(hints)
        listening.wait(PATIENCE_S)

    watch = Watch(drop, hint)
    (drop / "first").touch()
    assert not told.get(timeout=PATIENCE_S).overflowed
    for number in range(room_for_events()):
        (drop / str(number % 2)).write_bytes(b"")
    listening.set()
    while not told.get(timeout=PATIENCE_S).overflowed:
        pass
    watch.stop()
    assert not watch.alive()


def test_it_is_known_to_be_dead_when_its_folder_is_gone(drop: Path) -> None:
    before = inotifies()
    watch = Watch(drop, lambda _: None)
    assert watch.alive()
    drop.rmdir()
    wait_for(lambda: not watch.alive(), "its end")
    watch.stop()
    watch.stop()
    assert inotifies() == before


def test_it_leaves_nothing_behind_whenever_it_is_stopped(drop: Path) -> None:
    before, threads = inotifies(), threading.active_count()
    for number in range(50):
        watch = Watch(drop, lambda _: None)
        if number % 2:
            (drop / "visit").touch()
        watch.stop()
        assert not watch.alive()
    assert (inotifies(), threading.active_count()) == (before, threads)


def test_there_is_none_to_be_had(drop: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = inotifies()
    with pytest.raises(FileNotFoundError):
        Watch(drop / "nowhere", lambda _: None)

    def no_thread(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", no_thread)
    with pytest.raises(OSError, match="can't start new thread"):
        Watch(drop, lambda _: None)
    assert inotifies() == before
