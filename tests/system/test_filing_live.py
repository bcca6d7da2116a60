"""Where files end, and what is done to them on the way: odd names, odd kinds, full turns of bad luck, real folders."""

from __future__ import annotations

import errno
import grp
import io
import json
import os
import shutil
import socket
import stat
import tempfile
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from canarysync import durable, logs
from canarysync.candidates import MARKER
from canarysync.errors import Exit
from canarysync.sandbox import Endpoint, Sandbox
from canarysync.step import Outcome
from tests.support import Site, log_as_before, make_site, score, stored

NAME = "visit.json"
VALID = json.dumps(score(1))


def puts(sandbox: Sandbox) -> int:
    """All PUTs that the sandbox has answered, or dropped."""
    return sum(count for (endpoint, _), count in sandbox.requests.items() if endpoint == Endpoint.PUT)


@dataclass
class Meanwhile:
    """A sandbox that calls ``action`` once, between taking a score and answering for it."""

    action: Callable[[], object] | None = None
    sandbox: Sandbox = field(init=False)

    def __post_init__(self) -> None:
        self.sandbox = Sandbox(log=self._heard)

    def _heard(self, line: str) -> None:
        if line.startswith("PUT ") and self.action is not None:
            action, self.action = self.action, None
            action()


@pytest.fixture
def meanwhile() -> Iterator[Meanwhile]:
    made = Meanwhile()
    with made.sandbox:
        yield made


@pytest.fixture
def busy_site(tmp_path: Path, meanwhile: Meanwhile) -> Site:
    """A site that sends one score at a time, to the sandbox of ``meanwhile``."""
    return make_site(tmp_path, meanwhile.sandbox.url, api__concurrency=1)


@pytest.fixture
def log_of() -> Iterator[Callable[[str], io.StringIO]]:
    """Sends the log, in a format, to where it can be read."""

    def set_up(format: str) -> io.StringIO:
        stream = io.StringIO()
        logs.set_up("debug", format, stream)
        return stream

    with log_as_before():
        yield set_up


# --- another file system -----------------------------------------------------------------------------


@pytest.fixture
def far(tmp_path: Path) -> Iterator[Path]:
    """A folder on another file system than the drop folder's."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK) or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("/dev/shm is no other file system to write to")
    folder = Path(tempfile.mkdtemp(dir=memory))
    yield folder
    shutil.rmtree(folder)


def far_site(tmp_path: Path, url: str, far: Path) -> Site:
    more = {"routes__done": str(far / "done"), "routes__failed": str(far / "failed")}
    return make_site(tmp_path, url, routes__max_size="1KiB", **more)


def test_done_and_failed_on_another_file_system(tmp_path: Path, sandbox: Sandbox, far: Path) -> None:
    site = far_site(tmp_path, sandbox.url, far)
    contents = {"good.json": VALID, "bad.json": "{", "large.json": VALID + " " * 2000}
    for name, content in contents.items():
        os.utime(site.put(name, content), ns=(1_600_000_000_123_456_789,) * 2)
    assert site.once().exit_code() == Exit.NEEDS_A_PERSON
    assert site.waiting() == []
    assert sorted(os.listdir(far / "done")) == ["good.json", "good.json.receipt.json"]
    assert sorted(name for name in os.listdir(far / "failed") if "error" not in name) == ["bad.json", "large.json"]
    for name, content in contents.items():
        filed = far / ("done" if name == "good.json" else "failed") / name
        assert filed.read_text() == content
        assert filed.stat().st_mtime_ns == 1_600_000_000_123_456_789
    errors = {
        name: json.loads((far / "failed" / f"{name}.error.json").read_bytes()) for name in ("bad.json", "large.json")
    }
    codes = {name: error["code"] for name, error in errors.items()}
    assert codes == {"bad.json": "syntax", "large.json": "too_large"}


def test_a_link_goes_to_another_file_system_as_a_link(tmp_path: Path, sandbox: Sandbox, far: Path) -> None:
    site = far_site(tmp_path, sandbox.url, far)
    (site.drop / "link.json").symlink_to("nowhere.json")
    assert site.once().exit_code() == Exit.NEEDS_A_PERSON
    assert site.waiting() == []
    assert os.readlink(far / "failed" / "link.json") == "nowhere.json"


# --- folders that cannot be used ---------------------------------------------------------------------


def test_a_done_that_is_no_folder_is_said_and_nothing_is_sent(site: Site, sandbox: Sandbox) -> None:
    assert site.once().exit_code() == Exit.OK
    site.put(NAME, VALID)
    site.done.rmdir()
    site.done.write_text("no folder")
    assert site.once().exit_code() == Exit.TRY_AGAIN
    assert (site.waiting(), puts(sandbox)) == ([NAME], 0)


def blocked(folder: Path) -> Callable[[], None]:
    """Puts a file in the place of ``folder``: nothing can be moved into that."""

    def block() -> None:
        folder.rename(folder.with_name(f"{folder.name}-away"))
        folder.write_text("no folder")

    return block


def restore(folder: Path) -> None:
    folder.unlink(missing_ok=True)
    folder.with_name(f"{folder.name}-away").rename(folder)


def away(folder: Path) -> Callable[[], None]:
    """Takes ``folder`` away, as an unmount does."""

    def take() -> None:
        folder.rename(folder.with_name(f"{folder.name}-away"))

    return take


@pytest.mark.parametrize("take", [blocked, away])
def test_a_proof_is_kept_though_the_file_cannot_be_moved(
    busy_site: Site, meanwhile: Meanwhile, take: Callable[[Path], Callable[[], None]]
) -> None:
    """LESSONS 16: the outcome first, then the move; a failed move never leads to another request of any kind."""
    site, sandbox = busy_site, meanwhile.sandbox
    site.put(NAME, VALID)
    meanwhile.action = take(site.done)
    assert site.once().exit_code() == Exit.TRY_AGAIN
    restore(site.done)
    assert site.once(wait_s=5).exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))
    assert (site.receipt(NAME)["outcome"], site.receipt(NAME)["proof"]) == ("uploaded", "response")
    assert dict(sandbox.requests) == {("token", 200): 1, ("put", 200): 1}


@pytest.mark.parametrize("take", [blocked, away])
def test_a_refusal_is_kept_though_the_file_cannot_be_moved(
    busy_site: Site, meanwhile: Meanwhile, take: Callable[[Path], Callable[[], None]]
) -> None:
    site, sandbox = busy_site, meanwhile.sandbox
    sandbox.faults.add("put:status=422")
    site.put(NAME, VALID)
    meanwhile.action = take(site.failed)
    assert site.once().exit_code() == Exit.TRY_AGAIN
    restore(site.failed)
    assert site.once(wait_s=5).exit_code() == Exit.NEEDS_A_PERSON
    assert (site.waiting(), site.error(NAME)["status"]) == ([], 422)
    assert dict(sandbox.requests) == {("token", 200): 1, ("put", 422): 1}


def test_nothing_is_sent_that_could_not_be_moved(busy_site: Site, meanwhile: Meanwhile) -> None:
    site, sandbox = busy_site, meanwhile.sandbox
    for number in range(4):
        site.put(f"{number}.json", score(number))
    meanwhile.action = blocked(site.done)
    assert site.once().exit_code() == Exit.TRY_AGAIN
    assert puts(sandbox) == 1, "the one that was under way"
    restore(site.done)
    assert site.once(wait_s=5).exit_code() == Exit.OK
    site.assert_all_done_once([f"{number}.json" for number in range(4)], stored(sandbox))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_nothing_is_sent_without_the_right_to_write_in_done(site: Site, sandbox: Sandbox) -> None:
    site.put(NAME, VALID)
    site.done.chmod(0o500)
    try:
        assert site.once().exit_code() == Exit.TRY_AGAIN
    finally:
        site.done.chmod(0o700)
    assert (site.waiting(), puts(sandbox)) == ([NAME], 0)


def test_a_drop_folder_that_vanishes_during_a_run_is_not_all_well(busy_site: Site, meanwhile: Meanwhile) -> None:
    """Unmounted between the scan and the visits: what was found there still waits."""
    site = busy_site
    names = [f"{number}.json" for number in range(4)]
    for number, name in enumerate(names):
        site.put(name, score(number))
    meanwhile.action = away(site.drop)
    assert site.once().exit_code() == Exit.TRY_AGAIN
    restore(site.drop)
    assert site.once(wait_s=5).exit_code() == Exit.OK
    assert site.waiting() == []
    assert len(meanwhile.sandbox.scores) == 4
    assert {site.receipt(name)["uuid"] for name in site.filed()} == {uuid for uuid, _ in stored(meanwhile.sandbox)}


# --- too large, unsafe, unreadable -------------------------------------------------------------------


def test_what_is_too_large_is_not_read(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_site(tmp_path, sandbox.url, routes__max_size="1KiB")
    fits = VALID + " " * (1024 - len(VALID))
    site.put("fits.json", fits)
    site.put("large.json", fits + " ")
    site.put("huge.yaml", "\0" * 5_000_000)
    assert site.once().exit_code() == Exit.NEEDS_A_PERSON
    assert (site.waiting(), site.filed()) == ([], ["fits.json"])
    for name in ("large.json", "huge.yaml"):
        assert (site.error(name)["code"], site.error(name)["sha256"]) == ("too_large", None)
    assert (site.failed / "large.json").read_text() == fits + " "
    assert puts(sandbox) == 1


def test_what_is_no_regular_file_is_neither_followed_nor_opened(site: Site, sandbox: Sandbox) -> None:
    outside = site.home / "outside.json"
    outside.write_text(VALID)
    (site.drop / "link.json").symlink_to(outside)
    (site.drop / "loop.json").symlink_to("loop.json")
    (site.drop / "folder-link.json").symlink_to(site.home)
    os.mkfifo(site.drop / "fifo.json")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(site.drop, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/socket.json")  # such names are short, and the folder's is not
        os.close(here)
        assert site.once().exit_code() == Exit.NEEDS_A_PERSON
    names = ["fifo.json", "folder-link.json", "link.json", "loop.json", "socket.json"]
    assert sorted(name for name in os.listdir(site.failed) if ".error." not in name) == names
    assert {site.error(name)["code"] for name in names} == {"unsafe"}
    assert stat.S_ISFIFO((site.failed / "fifo.json").lstat().st_mode)
    assert os.readlink(site.failed / "link.json") == str(outside)
    assert (outside.read_text(), site.waiting(), puts(sandbox)) == (VALID, [], 0)


def test_folders_and_other_files_are_left_alone_and_counted(site: Site) -> None:
    (site.drop / "folder.json").mkdir()
    (site.drop / "folder.json" / "inside.json").write_text(VALID)
    others = [
        ".hidden.json",
        "visit.json~",
        "~$visit.json",
        "visit.json.part",
        "a.receipt.json",
        "a.error.json",
        "a.csv",
    ]
    for name in others:
        site.put(name, VALID)
    summary = site.once()
    assert summary.exit_code() == Exit.OK
    assert site.waiting() == sorted([*others, "folder.json"])
    assert summary.skipped == {
        "subfolders": 1, "hidden files": 1, "temporary files": 3, "sidecars": 2, "files that no pattern matches": 1,
    }  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read anything")
def test_what_may_not_be_read_waits(site: Site, sandbox: Sandbox) -> None:
    path = site.put(NAME, VALID)
    path.chmod(0)
    assert site.once().exit_code() == Exit.TRY_AGAIN
    path.chmod(0o600)
    assert site.once().exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))


def at_first_open(monkeypatch: pytest.MonkeyPatch, path: Path, action: Callable[[], None], times: int = 1) -> None:
    """Has ``action`` run just before ``path`` is opened for the first time, or the first few."""
    opened, todo = os.open, [action] * times

    def watched(target: Any, *arguments: Any, **more: Any) -> int:
        if todo and not isinstance(target, int) and os.fspath(target) == os.fspath(path):
            todo.pop()()
        return opened(target, *arguments, **more)

    monkeypatch.setattr(os, "open", watched)


def fail_with(number: int) -> Callable[[], None]:
    def fail() -> None:
        raise OSError(number, os.strerror(number))

    return fail


@pytest.mark.parametrize("number", [errno.EACCES, errno.EIO, errno.ESTALE, errno.EMFILE])
def test_a_trouble_in_reading_is_no_verdict_on_the_file(
    site: Site, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    at_first_open(monkeypatch, site.put(NAME, VALID), fail_with(number), times=2)  # it looks twice
    assert site.once().exit_code() == Exit.TRY_AGAIN
    assert (site.waiting(), puts(sandbox)) == ([NAME], 0)
    assert site.once().exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))


def test_what_could_not_be_synced_is_not_sent_in_the_same_pass(
    site: Site, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The kernel tells of a write error once: an fsync right after it would be said to succeed."""
    site.put(NAME, VALID)
    sync, todo = durable.sync_files, [errno.EIO]

    def fails_once(fds: Collection[int]) -> dict[int, OSError]:
        return {fd: OSError(todo.pop(), "") for fd in fds} if todo and fds else sync(fds)

    monkeypatch.setattr(durable, "sync_files", fails_once)
    assert site.once().exit_code() == Exit.TRY_AGAIN
    assert (site.waiting(), puts(sandbox)) == ([NAME], 0)
    assert site.once().exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))


def test_what_cannot_be_seen_any_more_is_not_sent(
    site: Site, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = site.put(NAME, VALID)
    sync, lstat = durable.sync_files, os.lstat

    def stale(target: Any, *arguments: Any, **more: Any) -> os.stat_result:
        if target == str(path):
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
        return lstat(target, *arguments, **more)

    def then_stale(fds: Collection[int]) -> dict[int, OSError]:
        failed = sync(fds)
        if fds:
            patch.setattr(os, "lstat", stale)
        return failed

    with monkeypatch.context() as patch:
        patch.setattr(durable, "sync_files", then_stale)
        assert site.once().exit_code() == Exit.TRY_AGAIN
    assert (site.waiting(), puts(sandbox)) == ([NAME], 0)
    assert site.once().exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))


# --- files that move under our hands -----------------------------------------------------------------


def test_a_file_that_vanishes_between_look_and_read_was_never_there(
    site: Site, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = site.put(NAME, VALID)
    at_first_open(monkeypatch, path, path.unlink)
    assert site.once().exit_code() == Exit.OK
    assert (os.listdir(site.done), os.listdir(site.failed), puts(sandbox)) == ([], [], 0)


def test_a_link_that_takes_the_files_place_between_look_and_read_is_not_followed(
    site: Site, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, outside = site.put(NAME, "{}"), site.home / "outside.json"
    outside.write_text(VALID)

    def swap() -> None:
        path.unlink()
        path.symlink_to(outside)

    at_first_open(monkeypatch, path, swap)
    assert site.once(wait_s=5).exit_code() == Exit.NEEDS_A_PERSON
    assert (site.error(NAME)["code"], puts(sandbox)) == ("unsafe", 0)
    assert sorted(os.listdir(site.failed)) == [NAME, f"{NAME}.error.json"]


def test_a_file_that_is_deleted_while_it_is_sent_is_filed_from_memory(busy_site: Site, meanwhile: Meanwhile) -> None:
    path = busy_site.put(NAME, VALID)
    meanwhile.action = path.unlink
    assert busy_site.once().exit_code() == Exit.OK
    busy_site.assert_all_done_once([NAME], stored(meanwhile.sandbox))
    assert (busy_site.done / NAME).read_text() == VALID
    assert "fileMissing" not in busy_site.receipt(NAME)


def test_a_file_that_is_replaced_while_it_is_sent_is_two_files(busy_site: Site, meanwhile: Meanwhile) -> None:
    site, sandbox = busy_site, meanwhile.sandbox
    path = site.put(NAME, VALID)
    meanwhile.action = lambda: path.write_text(json.dumps(score(2)))
    site.once()
    assert (site.done / NAME).read_text() == VALID
    assert site.receipt(NAME)["uuid"] == sandbox.scores[0].uuid
    assert site.once().exit_code() == Exit.OK
    assert site.waiting() == []
    (second,) = set(site.filed()) - {NAME}
    assert json.loads((site.done / second).read_bytes()) == score(2)
    assert site.receipt(second)["uuid"] == sandbox.scores[1].uuid


def test_a_name_in_done_that_is_taken_while_the_file_is_sent(busy_site: Site, meanwhile: Meanwhile) -> None:
    site = busy_site
    site.put(NAME, VALID)

    def take() -> None:
        (site.done / NAME).write_text("somebody's")

    meanwhile.action = take
    assert site.once().exit_code() == Exit.OK
    assert (site.done / NAME).read_text() == "somebody's"
    (ours,) = set(site.filed()) - {NAME}
    assert ((site.done / ours).read_text(), site.receipt(ours)["uuid"]) == (VALID, meanwhile.sandbox.scores[0].uuid)


# --- names and times ---------------------------------------------------------------------------------

NAMES = [
    b"line\nbreak.json",
    b"tab\t return\r bell\x07 escape\x1b[2J.json",
    b"not utf-8 \xff\xfe\x80.json",
    "bidi \u202egnp.json".encode(),
    "line separator \u2028 zero width \u200b.json".encode(),
    b"quotes \" ' back\\slash %s {} $HOME `id`.json",
    b"-rf.json",
    b"a=b c=d.json",
    "日本語 😀 é e\u0301.json".encode(),
    b"two..dots.json.json",
    b"CAPITALS.JSON",
    *(b"a" * (length - 5) + b".json" for length in (229, 230, 242, 243, 255)),
    "é".encode() * 125 + b".json",
    b"\xff" * 250 + b".json",
]


@pytest.mark.parametrize("raw", NAMES, ids=ascii)
def test_any_name_is_filed_and_found_again_in_its_sidecar(
    site: Site, sandbox: Sandbox, raw: bytes, log_of: Callable[[str], io.StringIO]
) -> None:
    name = os.fsdecode(raw)
    for format in ("text", "json"):
        log = log_of(format)
        site.put(name, VALID)
        assert site.once().outcomes.keys() <= {Outcome.UPLOADED, Outcome.DUPLICATE}
        site.put(name, "{")
        assert site.once().exit_code() == Exit.NEEDS_A_PERSON
        assert_lines_are_safe(log.getvalue(), format)
    assert site.waiting() == []
    assert (len(os.listdir(site.done)), len(os.listdir(site.failed))) == (4, 4)
    for folder, suffix in ((site.done, ".receipt.json"), (site.failed, ".error.json")):
        sidecars = [other for other in os.listdir(folder) if other.endswith(suffix)]
        assert len(sidecars) == 2
        for sidecar in sidecars:
            assert os.path.lexists(folder / sidecar.removesuffix(suffix))
            assert json.loads((folder / sidecar).read_bytes())["file"] == name


def assert_lines_are_safe(text: str, format: str) -> None:
    """Every line is an event of its own, and would not move a terminal's cursor or turn its text around."""
    lines = text.removesuffix("\n").split("\n")
    assert lines
    for line in lines:
        assert line.startswith("{" if format == "json" else "20"), line
        assert format != "json" or json.loads(line)
        assert not [c for c in line if not c.isprintable()], ascii(line)


@pytest.mark.parametrize("seconds", [-(2**31), 0, 2**33], ids=["1901", "1970", "2242"])
def test_what_the_clock_of_the_producer_says_does_not_matter(site: Site, sandbox: Sandbox, seconds: int) -> None:
    os.utime(site.put(NAME, VALID), (seconds, seconds))
    assert site.once().exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))


def test_a_file_from_the_far_future_harms_neither_itself_nor_others(site: Site, sandbox: Sandbox) -> None:
    """From 2262-04-11 on, nanoseconds since 1970 need more than 63 bits; ext4 keeps times until 2446."""
    seconds = 10**10
    path = site.put(NAME, VALID)
    os.utime(path, (seconds, seconds))
    if int(path.stat().st_mtime) != seconds:
        pytest.skip("this file system cannot keep such a time")
    site.put("other.json", score(2))
    assert site.once().exit_code() == Exit.OK
    site.assert_all_done_once([NAME, "other.json"], stored(sandbox))


# --- whose folders -----------------------------------------------------------------------------------


def test_folders_and_what_is_filed_belong_to_the_routes_group(tmp_path: Path, sandbox: Sandbox) -> None:
    mine = {os.getegid()}
    others = [group for group in grp.getgrall() if group.gr_gid not in mine]
    if os.geteuid() != 0:
        others = [group for group in others if group.gr_gid in os.getgroups()]
    if not others:
        pytest.skip("this user may give nothing to another group")
    group = others[0]
    site = make_site(tmp_path, sandbox.url, routes__group=group.gr_name)
    site.put(NAME, VALID)
    site.put("bad.json", "{")
    assert site.once().exit_code() == Exit.NEEDS_A_PERSON
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (site.drop, site.done, site.failed)}
    assert modes == {"drop": 0o2770, "done": 0o2750, "failed": 0o2750}
    sidecars = [site.done / f"{NAME}.receipt.json", site.failed / "bad.json.error.json"]
    for path in (site.drop, site.done, site.failed, *sidecars):
        assert path.stat().st_gid == group.gr_gid, path.name
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o640 for path in sidecars)


def test_what_a_crash_left_of_our_own_is_swept_and_nothing_else(site: Site) -> None:
    for name in (".canarysync-0192.tmp", ".somebody.tmp"):
        (site.done / name).write_text("half")
    site.once()
    assert os.listdir(site.done) == [".somebody.tmp"]
    for folder in (site.drop, site.failed):
        (folder / ".canarysync-requeue-0192.tmp").write_text("half")
    site.once()
    assert sorted(os.listdir(site.drop)) == [MARKER]
    assert os.listdir(site.failed) == []
