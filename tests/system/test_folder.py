"""Whose folder is it? The life of a drop folder's marker, and the state folder."""

from __future__ import annotations

import errno
import json
import os
import socket
import stat
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import SimpleQueue

import pytest

from canarysync import folder
from canarysync.config import DoubtPolicy, Route
from canarysync.errors import HeldError, SetupError
from canarysync.folder import FolderGone, make_folders, route_id_in
from canarysync.lane import Key, Visit
from canarysync.retry import RetryPolicy
from canarysync.service import service
from canarysync.step import Outcome
from tests.support import PATIENCE_S, Site, score
from tests.system.faults import Crash, failing

ID = "5e0cbd1c-9a5e-4c0e-8d0f-2f6a3f2f7a10"
OTHER_ID = "b5f3f1d0-0f4e-4f36-9c9f-5a0f8f7f1b22"


@dataclass
class Known:
    """What the ledger knows of the route, as a start of the daemon would use it."""

    route: Route
    ids: list[str] = field(default_factory=list)

    def start(self) -> str:
        """Take the folder and let go of it; the id that it has."""
        lock = folder.take(self.route, self.ids[-1] if self.ids else None)
        try:
            found = route_id_in(lock.first_line())
            if not self.ids:
                self.ids.append(found)
            return found
        finally:
            lock.release()

    @property
    def marker(self) -> Path:
        return self.route.drop / ".canarysync"


def make_route(home: Path) -> Route:
    return Route(
        name="clinic-a",
        drop=home / "drop",
        done=home / "done",
        failed=home / "failed",
        match=("*.json",),
        settle_s=2.0,
        rescan_s=60.0,
        max_size_bytes=1 << 20,
        retry=RetryPolicy(1.0, 300.0, None),
        in_doubt=DoubtPolicy.HOLD,
        group=None,
    )


@pytest.fixture
def new(tmp_path: Path) -> Known:
    """An empty folder that no route was ever started on."""
    home = tmp_path / "clinic-a"
    home.mkdir()
    return Known(make_route(home))


@pytest.fixture
def known(new: Known) -> Known:
    """A route that has been at work before."""
    new.start()
    return new


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# --- the first start -------------------------------------------------------------------------------


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_a_first_start_on_an_empty_folder_makes_a_drop_box(new: Known, umask: int) -> None:
    before = os.umask(umask)
    try:
        route_id = new.start()
    finally:
        os.umask(before)

    assert new.ids == [route_id] == [str(uuid.UUID(route_id))]
    assert json.loads(new.marker.read_bytes().splitlines()[0]) == {"routeId": route_id}
    modes = {path.name: mode_of(path) for path in new.route.drop.parent.iterdir()}
    assert modes == {"drop": 0o2770, "done": 0o2750, "failed": 0o2750}


def test_the_next_start_finds_the_folder_again_and_changes_nothing(known: Known) -> None:
    listing = sorted(known.route.drop.parent.rglob("*"))

    assert known.start() == known.ids[0]
    assert len(known.ids) == 1
    assert sorted(known.route.drop.parent.rglob("*")) == listing


def test_a_drop_folder_with_files_is_adopted_as_it_is(new: Known) -> None:
    new.route.drop.mkdir(mode=0o755)
    (new.route.drop / "visit.json").write_bytes(b"{}")
    new.route.drop.chmod(0o755)

    new.start()

    assert sorted(path.name for path in new.route.drop.iterdir()) == [".canarysync", "visit.json"]
    assert mode_of(new.route.drop) == 0o755
    assert new.route.done.is_dir()
    assert new.route.failed.is_dir()


def test_a_folder_that_holds_other_things_is_not_filled_with_ours(new: Known) -> None:
    (new.route.drop.parent / "thesis.doc").touch()

    with pytest.raises(SetupError, match="init") as caught:
        new.start()

    assert str(new.route.drop) in caught.value.hint
    assert [path.name for path in new.route.drop.parent.iterdir()] == ["thesis.doc"]


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(SetupError):
        Known(make_route(tmp_path / "not mounted")).start()

    assert list(tmp_path.iterdir()) == []


def test_a_ledger_that_was_lost_takes_the_id_from_the_marker(known: Known) -> None:
    assert Known(known.route).start() == known.ids[0]


def test_a_group_that_is_unknown_is_told(new: Known) -> None:
    with pytest.raises(SetupError) as caught:
        make_folders(replace(new.route, group="no-such-group-here"))

    assert "group" in caught.value.cause
    assert not new.route.drop.exists(), "the next start would take it for a good one"
    assert "-g no-such-group-here -m 2770" in caught.value.hint


def test_a_first_start_may_break_off_anywhere(tmp_path: Path) -> None:
    for call in range(1, 100):
        home = tmp_path / str(call)
        home.mkdir()
        known = Known(make_route(home))
        with failing(call, Crash(), for_good=True) as count, suppress(Crash):
            known.start()
        route_id = known.start()
        assert known.ids == [route_id]
        assert known.start() == route_id
        if not count.fired:
            assert call > 3
            return
    raise AssertionError("it never ends")


# --- the folder that we know -----------------------------------------------------------------------


def test_without_the_marker_the_folder_is_gone_and_nothing_is_made_there(known: Known) -> None:
    known.marker.unlink()

    with pytest.raises(FolderGone):
        known.start()

    assert list(known.route.drop.iterdir()) == []


def test_a_folder_that_is_gone_is_not_made_again(known: Known) -> None:
    home = known.route.drop.parent
    os.rename(home, home.with_name("unmounted"))
    home.mkdir()

    with pytest.raises(FolderGone):
        known.start()

    assert list(home.iterdir()) == []


def test_a_share_that_goes_between_look_and_lock_gets_no_marker(known: Known, monkeypatch: pytest.MonkeyPatch) -> None:
    """The empty mount point would be recognised as the folder that we know, with all its files taken back."""
    home, real_open = known.route.drop.parent, os.open

    def unmount_then_open(path: Path, *arguments: int, **options: int) -> int:
        monkeypatch.setattr(os, "open", real_open)
        os.rename(home, home.with_name("unmounted"))
        known.route.drop.mkdir(parents=True)
        return os.open(path, *arguments, **options)

    monkeypatch.setattr(os, "open", unmount_then_open)

    with pytest.raises(FolderGone):
        known.start()

    assert list(known.route.drop.iterdir()) == []


def test_another_routes_folder_is_refused(known: Known) -> None:
    known.ids.append(OTHER_ID)

    with pytest.raises(SetupError) as caught:
        known.start()

    assert caught.value.hint
    assert known.marker.read_bytes().startswith(json.dumps({"routeId": known.ids[0]}).encode())


def test_a_folder_that_was_refused_is_let_go_of(known: Known) -> None:
    owner = Known(known.route, known.ids[:1])
    known.ids.append(OTHER_ID)
    with pytest.raises(SetupError):
        known.start()

    assert owner.start() == owner.ids[0]


def test_a_done_folder_elsewhere_that_is_gone_is_not_made_again(known: Known, tmp_path: Path) -> None:
    """It may be on a share of its own that is not mounted now: what is filed below the empty mount point vanishes
    from sight when it is."""
    archive = tmp_path / "archive"
    archive.mkdir()
    known.route = replace(known.route, done=archive / "done")

    with suppress(SetupError, FolderGone):
        known.start()

    assert list(archive.iterdir()) == []


# --- a marker that a crash left half written -------------------------------------------------------

TORN = [b"", b"{", b'{"routeId": "5e0cbd1c', json.dumps({"routeId": OTHER_ID}).encode(), b"\0" * 64, b"\n"]


@pytest.mark.parametrize("torn", TORN, ids=["empty", "begun", "half", "without its end", "zeros", "a bare end"])
def test_a_torn_marker_is_written_anew_before_the_route_is_known(new: Known, torn: bytes) -> None:
    new.route.drop.mkdir()
    new.marker.write_bytes(torn)

    route_id = new.start()

    assert new.ids == [route_id]
    assert Known(new.route, [route_id]).start() == route_id


@pytest.mark.parametrize("torn", TORN, ids=["empty", "begun", "half", "without its end", "zeros", "a bare end"])
def test_a_torn_marker_is_written_anew_with_the_id_that_is_known(known: Known, torn: bytes) -> None:
    known.marker.write_bytes(torn)

    assert known.start() == known.ids[0]
    assert Known(known.route).start() == known.ids[0]


NO_IDS = [
    b"garbage\n",
    b"[]\n",
    b"7\n",
    b'{"routeId": 7}\n',
    b'{"routeId": "x"}\n',
    b"\xff\n",
    b"[" * 4000 + b"\n",
]


@pytest.mark.parametrize("is_known", [False, True])
@pytest.mark.parametrize("line", NO_IDS, ids=range(len(NO_IDS)))
def test_a_marker_that_says_something_else_is_for_a_person(new: Known, line: bytes, is_known: bool) -> None:
    new.route.drop.mkdir()
    new.marker.write_bytes(line)
    if is_known:
        new.ids.append(ID)

    with pytest.raises(SetupError) as caught:
        new.start()

    assert str(new.marker) == caught.value.path
    assert new.ids == [ID] * is_known


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: os.symlink("elsewhere", path)])
def test_a_marker_that_is_no_file_is_refused(new: Known, make: Callable[[Path], None]) -> None:
    new.route.drop.mkdir()
    make(new.marker)

    with pytest.raises(SetupError):
        new.start()

    assert not (new.route.drop / "elsewhere").exists()


# --- one at a time ---------------------------------------------------------------------------------


def test_a_second_taker_is_told_who_has_it(known: Known) -> None:
    """Whatever its state folder: the second one does not know the route."""
    lock = folder.take(known.route, known.ids[0])

    with pytest.raises(HeldError) as caught:
        Known(known.route).start()

    assert f"process {os.getpid()} " in caught.value.cause
    assert socket.gethostname() in caught.value.cause
    lock.release()
    assert known.start() == known.ids[0]


def test_a_holder_that_was_killed_holds_nothing(known: Known) -> None:
    code = (
        "import os, signal, sys; from pathlib import Path; from canarysync.lock import Lock; "
        "lock = Lock(Path(sys.argv[1]), b''); os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code, known.marker], check=False).returncode == -9

    assert known.start() == known.ids[0]


def test_a_folder_that_is_swapped_while_we_have_it_is_noticed(known: Known) -> None:
    lock = folder.take(known.route, known.ids[0])
    assert lock.same_file()

    os.rename(known.route.drop, known.route.drop.with_name("old"))
    assert not lock.same_file()
    known.route.drop.mkdir()
    known.marker.write_bytes(lock.first_line() + b"\n")
    assert not lock.same_file()
    lock.release()


# --- opening it again --------------------------------------------------------------------------------


def test_a_lane_that_could_not_be_opened_to_the_end_is_opened_again(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.put("visit.json", score())
    real_scandir = os.scandir

    def fails_once(path: Path) -> object:
        monkeypatch.setattr(os, "scandir", real_scandir)
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with service(site.config, os.environ, once=True) as daemon:
        lane = daemon._desks[0].lane
        monkeypatch.setattr(os, "scandir", fails_once)
        assert lane.scan_on().gone

        assert lane.scan_on().names == ["visit.json"]
        came: SimpleQueue[Visit] = SimpleQueue()
        lane.visit(Key("visit.json"), None, True, came.put)
        step = came.get(timeout=PATIENCE_S).step
        lane.close()

    assert step.outcome is Outcome.UPLOADED
