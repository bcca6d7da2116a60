"""Filing away on a real file system: every crash point, every stranger, both kinds of move."""

from __future__ import annotations

import errno
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from canarysync.filing import TargetTaken, file_away, free_name, sweep_temporaries
from tests.system import faults
from tests.system.faults import Crash, failing, just_before_moving, os_error
from tests.system.place import DATA, OTHER, Place, again, make_place, sidecar

Limit = Callable[[pytest.MonkeyPatch], None]
LIMITS: list[Limit] = [
    faults.renameat2,
    faults.no_renameat2,
    faults.no_links_either,
    faults.another_file_system,
]


@pytest.fixture(params=LIMITS, ids=lambda limit: limit.__name__)
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Limit:
    """The whole test on each kind of file system."""
    apply: Limit = request.param
    apply(monkeypatch)
    return apply


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
        with pytest.MonkeyPatch.context() as patch, failing(call, Crash(), for_good=True) as count:
            prepare(patch, place)
            with suppress(Crash):
                file_away(move)
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
        with pytest.MonkeyPatch.context() as patch, failing(call, os_error(errno.EIO), for_good=False) as count:
            prepare(patch, place)
            try:
                file_away(move)
            except OSError:
                file_away(move)
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
    limit: Limit, tmp_path: Path, everywhere: Callable[..., int], content: bytes | None
) -> None:
    assert everywhere(tmp_path, Place.assert_filed, content=content) > 5


@everywhere
def test_so_does_one_that_was_never_read(limit: Limit, tmp_path: Path, everywhere: Callable[..., int]) -> None:
    assert everywhere(tmp_path, Place.assert_filed, unread=True) > 5


def test_filing_again_changes_nothing(limit: Limit, place: Place) -> None:
    move = place.move()
    assert file_away(move)
    before = place.in_done()

    assert file_away(move)
    assert place.in_done() == before


def test_a_power_cut_that_took_the_sidecars_name_only(place: Place) -> None:
    """Two names in one folder, and no fsync of the folder between them: either may be what is left."""
    move = place.move()
    os.rename(place.source, place.done / place.name)

    file_away(move)

    place.assert_filed()


def test_a_move_to_a_real_other_file_system(tmp_path: Path, other_file_system: Path) -> None:
    place = Place(tmp_path / "drop", other_file_system)
    place.drop.mkdir()
    place.source.write_bytes(DATA)
    os.chmod(place.source, 0o604)
    os.utime(place.source, ns=(1, 1_600_000_000_123_456_789))

    assert file_away(place.move())

    place.assert_filed()
    moved = os.stat(place.done / place.name)
    assert (moved.st_mode & 0o777, moved.st_mtime_ns) == (0o604, 1_600_000_000_123_456_789)


# --- it is gone ------------------------------------------------------------------------------------


def gone(patch: pytest.MonkeyPatch, place: Place) -> None:
    place.take_away()


@everywhere
def test_without_file_and_bytes_the_receipt_stands_alone(tmp_path: Path, everywhere: Callable[..., int]) -> None:
    everywhere(tmp_path, Place.assert_receipt_alone, prepare=gone)


def test_without_the_file_its_bytes_are_filed_from_memory(limit: Limit, place: Place) -> None:
    move = place.move(DATA)
    place.source.unlink()

    assert file_away(move)

    place.assert_filed()


def _receipt_is_true(place: Place) -> None:
    done = place.in_done()
    assert done in ({place.name: DATA, place.receipt: sidecar(False)}, {place.receipt: sidecar(True)})


@everywhere
def test_what_the_receipt_says_of_the_file_is_true_after_a_crash(
    limit: Limit, tmp_path: Path, everywhere: Callable[..., int]
) -> None:
    everywhere(tmp_path, _receipt_is_true, content=DATA, prepare=gone)


def test_a_file_that_goes_at_the_last_moment(limit: Limit, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    just_before_moving(monkeypatch, place.source, place.take_away)

    assert not file_away(place.move())

    place.assert_receipt_alone()


def test_a_drop_folder_that_is_gone(place: Place) -> None:
    move = place.move()
    os.rename(place.drop, place.drop.with_name("elsewhere"))

    assert not file_away(move)

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


def _stranger_stays(place: Place) -> None:
    if not place.strangers:  # it was over before one could come
        place.assert_filed()
        return
    assert place.in_drop() == {place.name: OTHER}
    _receipt_is_true(place)


@strangers
def test_a_stranger_stays_and_what_was_sent_is_filed_from_memory(
    limit: Limit, place: Place, monkeypatch: pytest.MonkeyPatch, comes: Prepare
) -> None:
    move = place.move(DATA)
    comes(monkeypatch, place)

    assert file_away(move)

    assert place.in_drop() == {place.name: OTHER}
    assert place.in_done() == {place.name: DATA, place.receipt: sidecar(False)}


@strangers
def test_a_stranger_stays_and_the_receipt_stands_alone(
    limit: Limit, place: Place, monkeypatch: pytest.MonkeyPatch, comes: Prepare
) -> None:
    move = place.move()
    comes(monkeypatch, place)

    assert not file_away(move)

    assert place.in_drop() == {place.name: OTHER}
    place.assert_receipt_alone()


@strangers
@everywhere
@in_memory
def test_a_stranger_is_never_filed_as_another_whatever_breaks_off(
    limit: Limit, tmp_path: Path, comes: Prepare, everywhere: Callable[..., int], content: bytes | None
) -> None:
    everywhere(tmp_path, _stranger_stays, content=content, prepare=comes)


@pytest.mark.parametrize("stem", ["visit", "v" * 240, "ü" * 120, "💉" * 60], ids=["short", "long", "umlauts", "emoji"])
def test_a_stranger_whose_place_is_taken_again_gets_a_name_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stem: str
) -> None:
    place = make_place(tmp_path, f"{stem}.json")
    third = b'{"what": "came third"}'
    move = place.move(name="visit.json")
    just_before_moving(monkeypatch, place.source, place.replace)
    just_before_moving(monkeypatch, place.done / "visit.json", partial(place.replace, third))

    file_away(move)

    assert sorted(place.in_drop().values()) == sorted([OTHER, third])
    assert place.in_drop()[place.name] == third
    assert all(name.endswith(".json") for name in place.in_drop()), "candidates, both of them"
    assert place.in_done() == {"visit.json.receipt.json": sidecar(True)}


# --- the name is taken -----------------------------------------------------------------------------

THEIRS = b"put there by a person"


def file_away_somewhere(place: Place, content: bytes | None = None) -> None:
    """As often as it takes: what failed is tried again, and what is taken gets another name."""
    for name in (place.name, "visit.2.json"):
        move = place.move(content, name=name)
        for _ in range(3):
            with suppress(OSError, TargetTaken):
                file_away(move)
                return
    raise AssertionError("nowhere to file it")


@pytest.mark.parametrize("taken", ["visit.json", "visit.json.receipt.json"])
@pytest.mark.parametrize("by", [THEIRS, DATA.replace(b"sent", b"SENT"), b"[]", b'{"entryId": "another"}', b"\xff{"])
def test_a_taken_name_is_told_before_anything_is_done(place: Place, taken: str, by: bytes) -> None:
    (place.done / taken).write_bytes(by)
    move = place.move(DATA)

    with pytest.raises(TargetTaken):
        file_away(move)

    assert place.in_done() == {taken: by}
    assert place.in_drop() == {place.name: DATA}


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, partial(os.symlink, "nowhere")])
@pytest.mark.parametrize("taken", ["visit.json", "visit.json.receipt.json"])
def test_a_name_is_taken_by_anything_that_bears_it(place: Place, taken: str, make: Callable[[Path], None]) -> None:
    make(place.done / taken)
    move = place.move(DATA)

    with pytest.raises(TargetTaken):
        file_away(move)

    assert place.in_drop() == {place.name: DATA}
    assert [path.name for path in place.done.iterdir()] == [taken]


@in_memory
def test_a_name_that_is_taken_at_the_last_moment_costs_no_file(
    limit: Limit, place: Place, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    in_their_way = place.done / place.name
    just_before_moving(monkeypatch, place.source, lambda: in_their_way.write_bytes(THEIRS))

    file_away_somewhere(place, content)

    assert place.in_done() == {
        "visit.json": THEIRS,
        "visit.2.json": DATA,
        "visit.2.json.receipt.json": sidecar(False),
    }
    assert place.in_drop() == {}


def test_a_file_that_was_put_beside_our_sidecar_during_a_crash_costs_none_of_ours(place: Place) -> None:
    """The sidecar stands before the file is moved; what stands beside it after a crash need not be the file."""
    (place.done / place.receipt).write_bytes(sidecar(False))
    (place.done / place.name).write_bytes(THEIRS)

    with suppress(OSError, TargetTaken):
        file_away(place.move())

    everything = [*place.in_drop().values(), *place.in_done().values()]
    assert THEIRS in everything
    assert DATA in everything


# --- names -----------------------------------------------------------------------------------------

NAMES = [
    b"v" * 250 + b".json",
    "ü".encode() * 125 + b".json",
    "x".encode() + "💉".encode() * 62 + b".json",
    b"\xff" * 250 + b".json",
    b"\xff.json",
    b"vi\nsit\x1b[31m.json",
    b"two words 'and' \"quotes\".json",
]


@pytest.mark.parametrize("name", NAMES, ids=lambda name: f"{name[:6]!r}-{len(name)}")
@pytest.mark.parametrize("in_use", [False, True], ids=["free", "in_use"])
def test_any_name_finds_a_place_that_people_can_see(tmp_path: Path, name: bytes, in_use: bool) -> None:
    place = make_place(tmp_path, os.fsdecode(name))
    suffix = ".receipt.json"
    if in_use:
        (place.done / place.name).write_bytes(THEIRS)

    target = free_name(place.done, place.name, suffix, "20260101T120000-abc123")
    assert file_away(place.move(name=target))

    assert place.in_drop() == {}
    filed = place.in_done()
    assert filed.pop(target) == DATA
    assert filed.pop(target + suffix) == sidecar(False)
    assert list(filed.values()) == [THEIRS] * in_use
    assert target.endswith(".json")
    assert not target.startswith(".")


# --- what is no regular file -----------------------------------------------------------------------


@pytest.mark.parametrize("make", [os.mkfifo, partial(os.symlink, "/nowhere"), partial(os.symlink, "/etc/hostname")])
def test_what_is_no_file_is_moved_as_it_is(place: Place, make: Callable[[Path], None]) -> None:
    place.source.unlink()
    make(place.source)
    before = os.lstat(place.source)

    assert file_away(place.move(unread=True))

    after = os.lstat(place.done / place.name)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert os.listdir(place.drop) == []


def test_what_is_no_file_cannot_go_to_another_file_system_and_stays(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults.another_file_system(monkeypatch)
    place.source.unlink()
    os.mkfifo(place.source)

    with pytest.raises(OSError, match="regular files"):
        file_away(place.move(unread=True))

    assert os.listdir(place.drop) == [place.name]


def test_a_folder_in_the_place_of_the_file_stays(place: Place) -> None:
    move = place.move()
    place.source.unlink()
    place.source.mkdir()

    assert not file_away(move)

    assert place.source.is_dir()
    place.assert_receipt_alone()
