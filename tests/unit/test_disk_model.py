"""The model disk of the power-loss campaign: it loses what it may lose, and nothing else. And the record it is fed."""

from __future__ import annotations

from pathlib import Path, PurePath
from random import Random

import pytest

from campaigns.disk import PAGE_BYTES, SECTOR_BYTES, Disk, Held, Variant
from campaigns.trace import read

DROP, DONE = PurePath("drop"), PurePath("done")
VISIT = Path("/somewhere/visit.json")
START = Held({DROP: 0o2770, DONE: 0o2750}, {DROP / "visit.json": VISIT}, {})


@pytest.fixture
def disk() -> Disk:
    return Disk(START)


def files(disk: Disk, variant: Variant, seed: int = 0) -> dict[str, bytes | Path]:
    """What the variant holds, by path; further names as their own entries."""
    held = disk.holds(variant, Random(seed))
    named = dict(held.files) | {path: held.files[first] for path, first in held.links.items()}
    return {str(path): content for path, content in named.items()}


def sync(disk: Disk, *paths: PurePath) -> None:
    for path in paths:
        disk.sync(path)()


def made(disk: Disk, path: PurePath, content: bytes) -> None:
    disk.create(path)
    disk.write(path, content)


@pytest.mark.parametrize("variant", Variant)
def test_what_was_there_stays(disk: Disk, variant: Variant) -> None:
    assert disk.holds(variant, Random(0)) == START


@pytest.mark.parametrize(
    ("variant", "left"),
    [
        (Variant.SYNCED, None),
        (Variant.EMPTY, b""),
        (Variant.ZEROS, b"\0\0\0\0"),
        (Variant.BOTH, b""),
        (Variant.ALL, b"four"),
    ],
)
def test_what_was_not_synced_may_be_lost(disk: Disk, variant: Variant, left: bytes | None) -> None:
    made(disk, DONE / "new", b"four")
    assert files(disk, variant).get("done/new") == left


def test_the_sync_of_a_file_keeps_its_content_and_not_its_name(disk: Disk) -> None:
    made(disk, DONE / "new", b"four")
    sync(disk, DONE / "new")
    assert "done/new" not in files(disk, Variant.SYNCED)
    assert files(disk, Variant.EMPTY)["done/new"] == b"four"


def test_the_sync_of_a_folder_keeps_names_and_not_contents(disk: Disk) -> None:
    made(disk, DONE / "new", b"four")
    sync(disk, DONE)
    assert files(disk, Variant.SYNCED)["done/new"] == b""


def test_a_folder_that_nobody_synced_the_name_of_is_lost_with_all_that_is_in_it(disk: Disk) -> None:
    disk.make_folder(PurePath("state"))
    made(disk, PurePath("state/ledger"), b"four")
    sync(disk, PurePath("state/ledger"), PurePath("state"))
    assert "state/ledger" not in files(disk, Variant.SYNCED)
    sync(disk, PurePath())
    assert files(disk, Variant.SYNCED)["state/ledger"] == b"four"


def test_what_overwrites_is_lost_too(disk: Disk) -> None:
    made(disk, DONE / "new", b"four")
    sync(disk, DONE / "new", DONE)
    disk.write(DONE / "new", b"FIVE!", 0)
    assert files(disk, Variant.EMPTY)["done/new"] == b"four"
    assert files(disk, Variant.ZEROS)["done/new"] == b"four\0"
    disk.write(DONE / "new", None, 2)
    assert files(disk, Variant.ZEROS)["done/new"] == b"fo"
    assert files(disk, Variant.ALL)["done/new"] == b"FI"


def test_a_sync_covers_what_came_before_it_began(disk: Disk) -> None:
    made(disk, DONE / "new", b"four")
    ends = [disk.sync(DONE / "new"), disk.sync(DONE)]
    disk.write(DONE / "new", b"more")
    disk.create(DONE / "later")
    for end in ends:
        end()
    assert files(disk, Variant.SYNCED) == {"drop/visit.json": VISIT, "done/new": b"four"}


def test_of_two_syncs_the_later_one_may_end_first(disk: Disk) -> None:
    made(disk, DONE / "new", b"four")
    first = disk.sync(DONE / "new")
    disk.write(DONE / "new", b"more")
    sync(disk, DONE / "new", DONE)
    first()
    assert files(disk, Variant.SYNCED)["done/new"] == b"fourmore"


def test_a_move_is_kept_once_both_folders_are_synced(disk: Disk) -> None:
    disk.rename(DROP / "visit.json", DONE / "visit.json")
    sync(disk, DONE)
    assert set(files(disk, Variant.SYNCED)) == {"drop/visit.json"}
    assert set(files(disk, Variant.BOTH)) == {"drop/visit.json", "done/visit.json"}
    assert set(files(disk, Variant.EMPTY)) == {"done/visit.json"}
    sync(disk, DROP)
    assert all(set(files(disk, variant)) == {"done/visit.json"} for variant in Variant)


def test_a_rename_within_a_folder_never_leaves_two_names(disk: Disk) -> None:
    made(disk, DONE / ".tmp", b"four")
    sync(disk, DONE / ".tmp", DONE)
    disk.rename(DONE / ".tmp", DONE / "new")
    assert set(files(disk, Variant.BOTH)) == {"drop/visit.json", "done/new"}
    assert set(files(disk, Variant.SYNCED)) == {"drop/visit.json", "done/.tmp"}


def test_two_names_of_one_file_have_one_content(disk: Disk) -> None:
    made(disk, DONE / "new", b"four")
    disk.link(DONE / "new", DROP / "new")
    disk.write(DROP / "new", b"more")
    assert disk.holds(Variant.ALL, Random(0)).links == {DONE / "new": DROP / "new"}
    disk.unlink(DROP / "new")
    sync(disk, DONE / "new", DONE, DROP)
    assert files(disk, Variant.SYNCED) == {"drop/visit.json": VISIT, "done/new": b"fourmore"}


def test_what_a_disk_holds_another_can_begin_with(disk: Disk) -> None:
    disk.make_folder(PurePath("state"))
    made(disk, PurePath("state/ledger"), b"four")
    disk.link(DROP / "visit.json", DONE / "visit.json")
    held = disk.holds(Variant.ALL, Random(0))
    assert all(Disk(held).holds(variant, Random(0)) == held for variant in Variant)


def test_the_names_that_are_left_are_those_of_a_moment(disk: Disk) -> None:
    for name in "abc":
        disk.create(DONE / name)
    found = {
        "".join(sorted(path[-1] for path in files(disk, Variant.TORN, seed) if "done" in path)) for seed in range(50)
    }
    assert found == {"", "a", "ab", "abc"}


def test_a_torn_file_has_sectors_of_different_moments_and_no_others(disk: Disk) -> None:
    size = 2 * PAGE_BYTES
    made(disk, DONE / "new", b"0" * size)
    sync(disk, DONE / "new", DONE)
    for mark in (b"1", b"2"):
        disk.write(DONE / "new", mark * size, 0)
    seen: set[str] = set()
    for seed in range(100):
        content = files(disk, Variant.TORN, seed)["done/new"]
        assert isinstance(content, bytes)
        sectors = [content[start : start + SECTOR_BYTES] for start in range(0, size, SECTOR_BYTES)]
        assert all(sector in (mark * SECTOR_BYTES for mark in (b"0", b"1", b"2")) for sector in sectors)
        seen.add("".join(chr(sector[0]) for sector in sectors))
    assert {"0" * 16, "1" * 16, "2" * 16} < seen
    assert {torn[:8] for torn in seen} > {"0" * 8, "1" * 8, "2" * 8}, "pages are torn too"


def test_a_record_tells_when_calls_began_and_when_they_returned() -> None:
    text = (
        '7  openat(AT_FDCWD<\\x2f\\x74>, "\\x61", O_WRONLY|O_CREAT, 0640) = 3<\\x2f\\x74\\x2f\\x61>\n'
        "7  fsync(3<\\x2f\\x74\\x2f\\x61> <unfinished ...>\n"
        '8  pwrite64(4<\\x2f\\x62>, "\\x00\\x22\\x29", 3, 4096) = 2\n'
        "7  <... fsync resumed>) = -1 EIO (Input/output error)\n"
        "8  --- SIGCONT {si_signo=SIGCONT} ---\n"
        "8  +++ exited with 0 +++\n"
    )
    calls = list(read(text))
    told = [(call.thread, call.name, call.result) for call in calls]
    assert told == [
        ("7", "openat", None), ("7", "openat", 3), ("7", "fsync", None), ("8", "pwrite64", None), ("8", "pwrite64", 2),
        ("7", "fsync", -1),
    ]  # fmt: skip
    assert calls[0].paths == [b"/t/a"]
    assert (calls[2].behind, calls[4].behind) == (b"/t/a", b"/b")
    assert (calls[4].data, calls[4].last_number) == (b'\0")', 4096)
