"""Filing away where the name is taken, is long or odd, or belongs to something that is no file."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from canarysync.filing import TargetTaken, file_away
from canarysync.moving import free_name
from tests.support import finished
from tests.system import faults
from tests.system.faults import just_before_moving
from tests.system.place import DATA, Place, make_place, sidecar


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return make_place(tmp_path)


@pytest.fixture(params=faults.LIMITS, ids=lambda limit: limit.__name__)
def limit(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole test on each kind of file system."""
    request.param(monkeypatch)


# --- the name is taken -----------------------------------------------------------------------------

THEIRS = b"put there by a person"


def file_away_somewhere(place: Place, content: bytes | None = None) -> None:
    """As often as it takes: what failed is tried again, and what is taken gets another name."""
    first = place.move(content)
    for name in (place.name, "visit.2.json"):
        for tries in range(3):
            move = replace(first, target=name, again=tries > 0 or name != first.target)
            with suppress(OSError, TargetTaken):
                finished(file_away(move))
                return
    raise AssertionError("nowhere to file it")


@pytest.mark.parametrize("taken", ["visit.json", "visit.json.receipt.json"])
@pytest.mark.parametrize("by", [THEIRS, DATA.replace(b"sent", b"SENT"), b"[]", b'{"entryId": "another"}', b"\xff{"])
def test_a_taken_name_is_told_before_anything_is_done(place: Place, taken: str, by: bytes) -> None:
    (place.done / taken).write_bytes(by)
    move = place.move(DATA)

    with pytest.raises(TargetTaken):
        finished(file_away(move))

    assert place.in_done() == {taken: by}
    assert place.in_drop() == {place.name: DATA}


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, partial(os.symlink, "nowhere")])
@pytest.mark.parametrize("taken", ["visit.json", "visit.json.receipt.json"])
def test_a_name_is_taken_by_anything_that_bears_it(place: Place, taken: str, make: Callable[[Path], None]) -> None:
    make(place.done / taken)
    move = place.move(DATA)

    with pytest.raises(TargetTaken):
        finished(file_away(move))

    assert place.in_drop() == {place.name: DATA}
    assert [path.name for path in place.done.iterdir()] == [taken]


@pytest.mark.parametrize("content", [None, DATA], ids=["read_again", "in_memory"])
def test_a_name_that_is_taken_at_the_last_moment_costs_no_file(
    limit: None, place: Place, monkeypatch: pytest.MonkeyPatch, content: bytes | None
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
        finished(file_away(place.move()))

    everything = [*place.in_drop().values(), *place.in_done().values()]
    assert THEIRS in everything
    assert DATA in everything


# --- names -----------------------------------------------------------------------------------------

NAMES = [
    b"v" * 250 + b".json",
    "ü".encode() * 125 + b".json",
    b"x" + "💉".encode() * 62 + b".json",
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

    target = free_name(str(place.done), place.name, suffix, lambda: "20260101T120000-abc123")
    assert finished(file_away(place.move(name=target)))

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

    assert finished(file_away(place.move(unread=True)))

    after = os.lstat(place.done / place.name)
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)
    assert os.listdir(place.drop) == []


def test_a_folder_in_the_place_of_the_file_stays(place: Place) -> None:
    move = place.move()
    place.source.unlink()
    place.source.mkdir()

    assert not finished(file_away(move))

    assert place.source.is_dir()
    place.assert_receipt_alone()
