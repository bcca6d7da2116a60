"""Filing away on a real file system: every crash point, every stranger, both kinds of move."""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from canarysync.filing import file_away, sweep_temporaries
from tests.support import finished
from tests.system import faults
from tests.system.faults import Crash, failing, interrupted, just_before_moving, os_error
from tests.system.place import DATA, ENTRY, OTHER, Place, again, make_place, sidecar


@pytest.fixture(params=faults.LIMITS, ids=lambda limit: limit.__name__)
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole test on each kind of file system."""
    request.param(monkeypatch)


@pytest.fixture
def other_file_system(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than tmp_path's, where this machine has one."""
    shared_memory = Path("/dev/shm")
    if not shared_memory.is_dir() or shared_memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no other file system here")
    with tempfile.TemporaryDirectory(dir=shared_memory) as folder:
        yield Path(folder)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


Check = Callable[[Place], object]
Prepare = Callable[[pytest.MonkeyPatch, Place], object]


def undisturbed(patch: pytest.MonkeyPatch, place: Place) -> None:
    """Nothing else happens in the folders."""


def crash_everywhere(
    home: Path, check: Check, *, content: bytes | None = None, unread: bool = False, prepare: Prepare = undisturbed
) -> int:
    """Let the process end at its 1st, 2nd, … call; start again; ``check``. Returns how many calls there are."""
    for call in itertools.count(1):
        place = make_place(home / str(call))
        move = place.move(content, unread=unread)
        with failing(call, Crash(), for_good=True) as count, pytest.MonkeyPatch.context() as patch:
            prepare(patch, place)
            with suppress(Crash):
                finished(file_away(move))
        if count.fired:
            sweep_temporaries(place.done)
            again(move)
        check(place)
        if not count.fired:
            return count.made
    raise AssertionError("unreachable")


def fail_everywhere(
    home: Path, check: Check, *, content: bytes | None = None, unread: bool = False, prepare: Prepare = undisturbed
) -> int:
    """Let the 1st, 2nd, … call fail once with EIO; try again, if that was not simply passed over; ``check``."""
    for call in itertools.count(1):
        place = make_place(home / str(call))
        move = place.move(content, unread=unread)
        with failing(call, os_error(errno.EIO), for_good=False) as count, pytest.MonkeyPatch.context() as patch:
            prepare(patch, place)
            try:
                finished(file_away(move))
            except OSError:
                finished(file_away(replace(move, again=True)))
        check(place)
        if not count.fired:
            return count.made
    raise AssertionError("unreachable")


everywhere = pytest.mark.parametrize("everywhere", [crash_everywhere, fail_everywhere])
in_memory = pytest.mark.parametrize("content", [None, DATA], ids=["read_again", "in_memory"])


# --- the file is there -----------------------------------------------------------------------------


@everywhere
@in_memory
def test_a_file_ends_in_done_once_whatever_breaks_off(
    limit: None, tmp_path: Path, everywhere: Callable[..., int], content: bytes | None
) -> None:
    assert everywhere(tmp_path, Place.assert_filed, content=content) > 5


@everywhere
def test_so_does_one_that_was_never_read(limit: None, tmp_path: Path, everywhere: Callable[..., int]) -> None:
    assert everywhere(tmp_path, Place.assert_filed, unread=True) > 4


def test_filing_again_changes_nothing(limit: None, place: Place) -> None:
    move = place.move()
    assert finished(file_away(move))
    before = place.in_done()

    assert finished(file_away(replace(move, again=True)))
    assert place.in_done() == before


def test_a_power_cut_that_took_the_sidecars_name_only(place: Place) -> None:
    """Two names in one folder, and no fsync of the folder between them: either may be what is left."""
    move = place.move()
    os.rename(place.source, place.done / place.name)

    again(move)

    place.assert_filed()


def test_a_move_to_a_real_other_file_system(tmp_path: Path, other_file_system: Path) -> None:
    place = Place(tmp_path / "drop", other_file_system)
    place.drop.mkdir()
    place.source.write_bytes(DATA)
    os.chmod(place.source, 0o604)
    os.utime(place.source, ns=(1, 1_600_000_000_123_456_789))

    assert finished(file_away(place.move()))

    place.assert_filed()
    moved = os.stat(place.done / place.name)
    assert (moved.st_mode & 0o777, moved.st_mtime_ns) == (0o604, 1_600_000_000_123_456_789)


def test_what_is_no_file_cannot_go_to_another_file_system_and_stays(tmp_path: Path, other_file_system: Path) -> None:
    place = Place(tmp_path / "drop", other_file_system)
    place.drop.mkdir()
    os.mkfifo(place.source)

    with pytest.raises(OSError, match="files and links"):
        finished(file_away(place.move(unread=True)))

    assert os.listdir(place.drop) == [place.name]


# --- it is gone ------------------------------------------------------------------------------------


def gone(patch: pytest.MonkeyPatch, place: Place) -> None:
    place.take_away()


@everywhere
def test_without_file_and_bytes_the_receipt_stands_alone(tmp_path: Path, everywhere: Callable[..., int]) -> None:
    everywhere(tmp_path, Place.assert_receipt_alone, prepare=gone)


def test_without_the_file_its_bytes_are_filed_from_memory(limit: None, place: Place) -> None:
    move = place.move(DATA)
    place.source.unlink()

    assert finished(file_away(move))

    place.assert_filed()


def _receipt_is_true(place: Place) -> None:
    done = place.in_done()
    assert done in ({place.name: DATA, place.receipt: sidecar(False)}, {place.receipt: sidecar(True)})


@everywhere
def test_what_the_receipt_says_of_the_file_is_true_after_a_crash(
    limit: None, tmp_path: Path, everywhere: Callable[..., int]
) -> None:
    everywhere(tmp_path, _receipt_is_true, content=DATA, prepare=gone)


def test_a_file_that_goes_at_the_last_moment(limit: None, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    just_before_moving(monkeypatch, place.source, place.take_away)

    assert not finished(file_away(place.move()))

    place.assert_receipt_alone()


def test_a_drop_folder_that_is_gone(place: Place) -> None:
    move = place.move()
    os.rename(place.drop, place.drop.with_name("elsewhere"))

    assert not finished(file_away(move))

    place.assert_receipt_alone()


# --- a stranger is there ---------------------------------------------------------------------------


def replaced(patch: pytest.MonkeyPatch, place: Place) -> None:
    place.replace()


def changed_in_place(patch: pytest.MonkeyPatch, place: Place) -> None:
    place.change()


def slips_in(patch: pytest.MonkeyPatch, place: Place) -> None:
    just_before_moving(patch, place.source, place.replace)


def changes_at_the_last_moment(patch: pytest.MonkeyPatch, place: Place) -> None:
    just_before_moving(patch, place.source, place.change)


strangers = pytest.mark.parametrize("comes", [replaced, changed_in_place, slips_in, changes_at_the_last_moment])


def assert_left(place: Place, content: bytes) -> None:
    """The file is in the drop folder, under its name; where there are no links, perhaps under one of its own."""
    [(name, found)] = place.in_drop().items()
    assert found == content
    assert name == place.name or (name == f"visit.{ENTRY}.json" and not links_work(place.drop))


def links_work(folder: Path) -> bool:
    try:
        os.link(folder / "nothing", folder / "link")
    except FileNotFoundError:
        return True
    except PermissionError:
        return False
    raise AssertionError("unreachable")


def _stranger_stays(place: Place) -> None:
    if not place.strangers:  # it was over before one could come
        place.assert_filed()
        return
    assert_left(place, OTHER)
    _receipt_is_true(place)


@strangers
def test_a_stranger_stays_and_what_was_sent_is_filed_from_memory(
    limit: None, place: Place, monkeypatch: pytest.MonkeyPatch, comes: Prepare
) -> None:
    move = place.move(DATA)
    comes(monkeypatch, place)

    assert finished(file_away(move))

    assert_left(place, OTHER)
    assert place.in_done() == {place.name: DATA, place.receipt: sidecar(False)}


@strangers
def test_a_stranger_stays_and_the_receipt_stands_alone(
    limit: None, place: Place, monkeypatch: pytest.MonkeyPatch, comes: Prepare
) -> None:
    move = place.move()
    comes(monkeypatch, place)

    assert not finished(file_away(move))

    assert_left(place, OTHER)
    place.assert_receipt_alone()


@strangers
@everywhere
@in_memory
def test_a_stranger_is_never_filed_as_another_whatever_breaks_off(
    limit: None, tmp_path: Path, comes: Prepare, everywhere: Callable[..., int], content: bytes | None
) -> None:
    everywhere(tmp_path, _stranger_stays, content=content, prepare=comes)


@in_memory
def test_a_new_version_that_comes_at_any_call_of_the_move_is_not_lost(
    limit: None, tmp_path: Path, content: bytes | None
) -> None:
    for call in itertools.count(1):
        place = make_place(tmp_path / str(call))
        move = place.move(content)
        with interrupted(call, place.replace) as count:
            finished(file_away(move))
        if not count.fired:
            assert call > 5
            return
        assert_left(place, OTHER)
        _receipt_is_true(place)


@pytest.mark.parametrize("stem", ["visit", "v" * 240, "ü" * 120, "💉" * 60], ids=["short", "long", "umlauts", "emoji"])
def test_a_stranger_whose_place_is_taken_again_gets_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stem: str
) -> None:
    place = make_place(tmp_path, f"{stem}.json")
    third = b'{"what": "came third"}'
    move = place.move(name="visit.json")
    just_before_moving(monkeypatch, place.source, place.replace)
    just_before_moving(monkeypatch, place.done / "visit.json", partial(place.replace, third))

    finished(file_away(move))

    assert sorted(place.in_drop().values()) == sorted([OTHER, third])
    assert place.in_drop()[place.name] == third
    assert all(name.endswith(".json") for name in place.in_drop()), "candidates, both of them"
    assert place.in_done() == {"visit.json.receipt.json": sidecar(True)}
