"""Files that change under our hands: at every moment between look and move, in every way a producer can.

Whatever happens, what was sent is what its receipt describes, what is new is a new entry, and nothing is lost.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from canarysync import durable, examine
from canarysync.errors import Exit
from canarysync.sandbox import Endpoint, Sandbox
from tests.support import PATIENCE_S, Site, make_site, score, wait_for

LATER = 5000
"""The number of the score that a producer puts in the place of score n is n + LATER."""


# --- what a producer may do --------------------------------------------------------------------------


def text_of(number: int) -> str:
    """As long for every number below ten thousand."""
    return json.dumps(score(number, scoreData={"value": f"{number:04}"}))


def number_in(path: Path) -> int:
    return int(json.loads(path.read_bytes())["scoreData"]["value"])


def rewrite(path: Path) -> None:
    path.write_text(text_of(number_in(path) + LATER) + "\n")


def rewrite_unseen(path: Path) -> None:
    """The inode, the size and the time stay what they were."""
    before = path.stat()
    path.write_text(text_of(number_in(path) + LATER))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (before.st_ino, before.st_size, before.st_mtime_ns)


def append_line(path: Path) -> None:
    """The end of the line, which says nothing new."""
    with path.open("a") as file:
        file.write("\n")


def append_rubbish(path: Path) -> None:
    with path.open("a") as file:
        file.write("{")


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def replace(path: Path) -> None:
    """Written elsewhere and renamed, as careful producers do."""
    aside = path.parent / f".{path.name}.new"
    aside.write_text(text_of(number_in(path) + LATER))
    aside.rename(path)


def rename_away(path: Path) -> None:
    path.rename(path.with_name(f"renamed {path.name}"))


def link_away(path: Path) -> None:
    """A second name for the same file."""
    os.link(path, path.with_name(f"linked {path.name}"))


def become_link(path: Path) -> None:
    path.rename(path.with_name(f"real {path.name}"))
    path.symlink_to(f"real {path.name}")


def become_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()
    (path / "inside.txt").write_text("in a folder")


def become_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


Change = Callable[[Path], None]
CHANGES: list[Change] = [
    rewrite, rewrite_unseen, append_line, append_rubbish, truncate, replace, Path.unlink, rename_away, link_away,
    become_link, become_folder, become_fifo,
]  # fmt: skip


# --- when --------------------------------------------------------------------------------------------


@dataclass
class Changing:
    """Files that are each changed in their own way, once, when their time has come."""

    site: Site
    sandbox: Sandbox
    pending: dict[Path, Change] = field(default_factory=dict)
    by_sending: bool = False

    def put(self) -> None:
        for number, change in enumerate(CHANGES):
            path = self.site.put(f"{number:02} {change.__name__}.json", text_of(number))
            self.pending[path] = change

    def happens_to(self, path: Path) -> None:
        change = self.pending.pop(path, None)
        if change is not None:
            change(path)

    def while_sent(self, line: str) -> None:
        """Called by the sandbox between taking a score and answering for it."""
        if self.by_sending and line.startswith("PUT "):
            number = int(json.loads(self.sandbox.scores[-1].body)["scoreData"]["value"])
            for path in [path for path in self.pending if path.name.startswith(f"{number:02} ")]:
                self.happens_to(path)


Moment = Callable[[pytest.MonkeyPatch, Changing], None]


def at_open(patch: pytest.MonkeyPatch, changing: Changing, which: int) -> None:
    opened, opens = os.open, Counter[str]()

    def watched(path: Any, *arguments: Any, **more: Any) -> int:
        opens[os.fsdecode(path)] += 1
        if opens[os.fsdecode(path)] == which:
            changing.happens_to(Path(os.fsdecode(path)))
        return opened(path, *arguments, **more)

    patch.setattr(examine, "MANY", math.inf)  # in this process
    patch.setattr(os, "open", watched)


def between_look_and_read(patch: pytest.MonkeyPatch, changing: Changing) -> None:
    at_open(patch, changing, 1)


def between_read_and_send(patch: pytest.MonkeyPatch, changing: Changing) -> None:
    """Where what was read is made durable, right before the intent."""
    sync = durable.sync_files

    def watched(fds: Collection[int]) -> dict[int, OSError]:
        for fd in fds:
            changing.happens_to(Path(os.readlink(f"/proc/self/fd/{fd}")))
        return sync(fds)

    patch.setattr(examine, "MANY", math.inf)  # in this process
    patch.setattr(durable, "sync_files", watched)


def while_it_is_sent(patch: pytest.MonkeyPatch, changing: Changing) -> None:
    changing.by_sending = True


def just_before_the_move(patch: pytest.MonkeyPatch, changing: Changing) -> None:
    rename = durable.rename_at_once

    def watched(source: str, target: str) -> bool:
        changing.happens_to(Path(source))
        return rename(source, target)

    patch.setattr(durable, "rename_at_once", watched)


MOMENTS: list[Moment] = [between_look_and_read, between_read_and_send, while_it_is_sent, just_before_the_move]


# --- what has to be true in the end ------------------------------------------------------------------


def contents(*folders: Path) -> Counter[bytes]:
    """Of all score files there, as often as they are there."""
    names = [path for folder in folders for path in folder.glob("[!.]*.json") if path.is_file()]
    sidecars = (".receipt.json", ".error.json")
    return Counter(path.read_bytes() for path in names if not path.is_symlink() and not path.name.endswith(sidecars))


def receipts(site: Site) -> dict[str, dict[str, Any]]:
    """By the name of the file that each is about."""
    found = sorted(site.done.glob("*.receipt.json"))
    return {path.name.removesuffix(".receipt.json"): json.loads(path.read_bytes()) for path in found}


def assert_receipts_are_true(site: Site, sandbox: Sandbox) -> None:
    at_api = {stored.uuid: json.loads(stored.body)["scoreData"]["value"] for stored in sandbox.scores}
    for name, receipt in receipts(site).items():
        path = site.done / name
        assert path.exists() != receipt.get("fileMissing", False), name
        if path.exists():
            assert hashlib.sha256(path.read_bytes()).hexdigest() == receipt["sha256"], name
            assert f"{number_in(path):04}" == at_api[receipt["uuid"]], f"{name} has another file's uuid"
    assert at_api.keys() == {receipt["uuid"] for receipt in receipts(site).values()}
    assert set(site.filed()) <= receipts(site).keys(), "nothing is in done/ without a receipt"


def assert_all_is_well(changing: Changing, there: Counter[bytes], caplog: pytest.LogCaptureFixture) -> None:
    """``there``: what the folders held once everything had changed."""
    site, sandbox = changing.site, changing.sandbox
    assert site.waiting() == ["10 become_folder.json"]
    assert (site.drop / "10 become_folder.json" / "inside.txt").read_text() == "in a folder"
    assert_receipts_are_true(site, sandbox)
    assert set(Counter(stored.body for stored in sandbox.scores).values()) <= {1}, "no score is twice at the API"
    assert there - contents(site.done, site.failed) == Counter(), "nothing that was there is gone"
    assert [vars(r) for r in caplog.records if r.name.startswith("canarysync") and "defect" in str(vars(r))] == []


def puts(sandbox: Sandbox) -> int:
    return sum(count for (endpoint, _), count in sandbox.requests.items() if endpoint == Endpoint.PUT)


@pytest.fixture
def changing(tmp_path: Path) -> Iterator[Changing]:
    """A site that sends one score at a time, with one file for each change."""
    heard: list[Callable[[str], None]] = []
    with Sandbox(log=lambda line: heard[0](line)) as sandbox:
        made = Changing(make_site(tmp_path, sandbox.url, api__concurrency=1), sandbox)
        heard.append(made.while_sent)
        made.put()
        yield made


@pytest.mark.parametrize("when", MOMENTS, ids=lambda when: when.__name__)
def test_every_change_at_every_moment(changing: Changing, caplog: pytest.LogCaptureFixture, when: Moment) -> None:
    site = changing.site
    with pytest.MonkeyPatch.context() as patch:
        when(patch, changing)
        site.once()
    assert changing.pending == {}, "every change has happened"
    there = contents(site.drop, site.done, site.failed)
    site.once(wait_s=PATIENCE_S)
    assert_all_is_well(changing, there, caplog)
    assert puts(changing.sandbox) == len(changing.sandbox.scores), "nothing is sent twice"


@pytest.mark.parametrize("fault", ["drop_after", "drop_before", "status=408"], ids=["taken", "lost", "deferred"])
def test_every_change_between_two_attempts(changing: Changing, caplog: pytest.LogCaptureFixture, fault: str) -> None:
    site, sandbox = changing.site, changing.sandbox
    sandbox.faults.add(f"put:{fault}", "scores:status=500")
    site.once()
    assert puts(sandbox) == len(CHANGES)
    for path in list(changing.pending):
        changing.happens_to(path)
    there = contents(site.drop)
    sandbox.faults.clear()
    wait_for(lambda: site.once(wait_s=0.2).exit_code() != Exit.TRY_AGAIN, "the last of them to go")
    assert_all_is_well(changing, there, caplog)


def test_a_file_that_is_taken_back_just_before_it_is_sent_is_simply_gone(
    site: Site, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = Changing(site, sandbox, {site.put("visit.json", text_of(1)): Path.unlink})
    between_read_and_send(monkeypatch, changing)
    summary = site.once()
    assert (changing.pending, puts(sandbox)) == ({}, 0)
    assert (summary.exit_code(), dict(summary.left)) == (Exit.OK, {})


# --- what a producer goes on to write ----------------------------------------------------------------


def just_after_the_move(patch: pytest.MonkeyPatch, source: Path, happens: Callable[[], object]) -> None:
    """The first time only."""
    rename, pending = durable.rename_at_once, [happens]

    def watched(moved: str, target: str) -> bool:
        done = rename(moved, target)
        if pending and Path(moved) == source:
            pending.pop()()
        return done

    patch.setattr(durable, "rename_at_once", watched)


def test_what_is_written_into_the_file_while_it_is_moved(
    site: Site, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The producer has it open, and does not notice the move: what it holds then was not sent."""
    path = site.put("visit.json", text_of(1))
    with path.open("r+") as file:

        def write() -> None:
            file.write(text_of(2))
            file.flush()

        just_after_the_move(monkeypatch, path, write)
        assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert contents(site.done) == Counter([text_of(1).encode(), text_of(2).encode()])
    assert (site.done / "visit.json").read_text() == text_of(1)
    assert_receipts_are_true(site, sandbox)


def test_two_names_for_one_file_are_two_files_with_one_score(site: Site, sandbox: Sandbox) -> None:
    os.link(site.put("a.json", text_of(1)), site.drop / "b.json")
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert (site.waiting(), site.filed(), len(sandbox.scores)) == ([], ["a.json", "b.json"], 1)
    assert_receipts_are_true(site, sandbox)


# --- two files with one score ------------------------------------------------------------------------


def outcomes(site: Site) -> list[str]:
    return sorted(receipt["outcome"] for receipt in receipts(site).values())


@pytest.mark.parametrize("change", [Path.unlink, rewrite], ids=["deleted", "rewritten"])
def test_the_owner_of_a_score_goes_while_it_is_sent(changing: Changing, change: Change) -> None:
    """Which of the two is the owner is not said: both are to go, and one of them is on its way."""
    site, sandbox = changing.site, changing.sandbox
    for path in list(changing.pending):
        path.unlink()
    pair = [site.put(f"00 {letter}.json", text_of(0)) for letter in "ab"]
    changing.pending = dict.fromkeys(pair, change)
    changing.by_sending = True
    site.once(wait_s=PATIENCE_S)
    site.once(wait_s=PATIENCE_S)
    assert changing.pending == {}
    assert site.waiting() == []
    assert_receipts_are_true(site, sandbox)
    numbers = sorted(json.loads(stored.body)["scoreData"]["value"] for stored in sandbox.scores)
    assert numbers == (["0000"] if change is Path.unlink else ["0000", f"{LATER:04}"])


def test_the_twin_of_a_deferred_file_that_says_something_else_now_goes_in_the_same_pass(
    site: Site, sandbox: Sandbox
) -> None:
    sandbox.faults.add("put:status=408,times=1")
    path = site.put("a.json", text_of(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    site.put("b.json", text_of(1))
    become_link(path)
    assert site.once().exit_code() == Exit.NEEDS_A_PERSON
    assert (site.waiting(), len(sandbox.scores), outcomes(site)) == ([], 1, ["duplicate", "uploaded"])


def second_route(site: Site) -> Site:
    """Another route in the same config, as a site of its own to look at."""
    other = Site(site.home / "other home", site.config_path)
    for folder in (other.drop, other.done, other.failed):
        folder.mkdir(parents=True)
    before, routes, after = site.config_path.read_text().partition("\nroutes:\n")
    route = "  - name: other\n    folder: other home/clinic\n    settle: 100ms\n"
    site.config_path.write_text(f"{before}{routes}{route}{after}")
    return other


def test_a_score_that_is_refused_in_one_route_is_tried_in_the_other(site: Site, sandbox: Sandbox) -> None:
    """The two meet while it is on its way; the one that waits has to hear of it within the pass."""
    other = second_route(site)
    sandbox.faults.add("put:status=422,delay=0.1,times=1")
    for place in (site, other):
        place.put("visit.json", text_of(1))
    assert site.once().exit_code() == Exit.NEEDS_A_PERSON
    assert (puts(sandbox), len(sandbox.scores)) == (2, 1)
    assert sorted([outcomes(site), outcomes(other)]) == [[], ["uploaded"]]
    assert sorted([len(os.listdir(site.failed)), len(os.listdir(other.failed))]) == [0, 2]


def test_a_score_whose_file_is_deleted_in_one_route_is_a_duplicate_in_the_other(changing: Changing) -> None:
    site, sandbox = changing.site, changing.sandbox
    other = second_route(site)
    for path in list(changing.pending):
        path.unlink()
    changing.pending = {place.put("00 visit.json", text_of(0)): Path.unlink for place in (site, other)}
    changing.by_sending = True
    site.once(wait_s=PATIENCE_S)
    (score_there,) = sandbox.scores
    assert changing.pending == {}
    assert {r["uuid"] for place in (site, other) for r in receipts(place).values()} == {score_there.uuid}
    assert "uploaded" in outcomes(site) + outcomes(other)
    assert site.waiting() == other.waiting() == []
