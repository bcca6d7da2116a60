"""Passes that are taken on together: what is on disk when, who hears of trouble, and who waits for whom."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue

import pytest

from canarysync import crew
from canarysync.crew import Crew
from canarysync.errors import LedgerError
from canarysync.ledger_sqlite import SqliteLedger
from canarysync.passes import ON_DISK, Ask, OnDisk, Pass, ask
from canarysync.workers import Workers
from tests.ledger.support import ROUTE, claim, draft
from tests.support import PATIENCE_S, wait_for

Came = SimpleQueue[object]


@pytest.fixture
def workers() -> Iterator[Workers[object]]:
    workers: Workers[object] = Workers(lambda result: None)
    yield workers
    assert workers.finish(PATIENCE_S)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    with SqliteLedger(tmp_path / "ledger.sqlite3") as ledger:
        yield ledger


def crew_of(ledger: SqliteLedger, workers: Workers[object]) -> Crew:
    return Crew(ledger.gather, workers.lend)


def on_disk(tmp_path: Path) -> list[str]:
    """The names in the ledger, as another process sees them: what is committed."""
    with closing(sqlite3.connect(f"file:{tmp_path / 'ledger.sqlite3'}?mode=ro", uri=True)) as other:
        return [os.fsdecode(name) for (name,) in other.execute("SELECT name FROM entries ORDER BY id")]


def came_of(a_crew: Crew, *passes: Pass[object]) -> list[object]:
    """What passes come to that begin one after the other, in the order in which they end."""
    came: Came = SimpleQueue()
    for a_pass in passes:
        a_crew.begin(a_pass, came.put)
    return [came.get(timeout=PATIENCE_S) for _ in passes]


def failing(kind: type[Exception], a_pass: Callable[[], Pass[object]]) -> Pass[object]:
    try:
        return (yield from a_pass())
    except kind as error:
        return error


def test_what_was_noted_is_on_disk_before_a_request(
    tmp_path: Path, ledger: SqliteLedger, workers: Workers[object]
) -> None:
    def noting(name: str) -> Pass[object]:
        claim(ledger, draft(name))
        return (yield from ask(lambda: name in on_disk(tmp_path)))

    assert came_of(crew_of(ledger, workers), *(noting(f"{number}.json") for number in range(8))) == [True] * 8


def test_what_was_noted_is_on_disk_before_a_pass_goes_on(
    tmp_path: Path, ledger: SqliteLedger, workers: Workers[object]
) -> None:
    def noting() -> Pass[object]:
        claim(ledger, draft("visit.json"))
        before = on_disk(tmp_path)
        yield ON_DISK
        return before, on_disk(tmp_path)

    assert came_of(crew_of(ledger, workers), noting()) == [([], ["visit.json"])]


def test_what_was_noted_is_on_disk_before_a_pass_is_over(
    tmp_path: Path, ledger: SqliteLedger, workers: Workers[object]
) -> None:
    """One that ends with an error does not wait for what it had noted; its name may come again at once."""

    def noting() -> Pass[object]:
        claim(ledger, draft("visit.json"))
        return None
        yield

    came: Came = SimpleQueue()
    crew_of(ledger, workers).begin(noting(), lambda _: came.put(on_disk(tmp_path)))
    assert came.get(timeout=PATIENCE_S) == ["visit.json"]


def together(ledger: SqliteLedger, workers: Workers[object], passes: list[Pass[object]]) -> list[object]:
    """What passes come to that a clerk takes on together: it was kept busy until all of them had come."""
    a_crew, come = crew_of(ledger, workers), threading.Event()

    def busy() -> Pass[object]:
        come.wait(PATIENCE_S)
        return None
        yield

    came: Came = SimpleQueue()
    for a_pass in (*(busy() for _ in range(crew.CLERKS)), *passes):
        a_crew.begin(a_pass, came.put)
    come.set()
    return [came.get(timeout=PATIENCE_S) for _ in range(crew.CLERKS + len(passes))][crew.CLERKS :]


def test_neighbours_share_the_fsyncs(
    tmp_path: Path, ledger: SqliteLedger, workers: Workers[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    real = os.fsync

    def fsync(fd: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{fd}"))
        real(fd)

    def filing(number: int) -> Pass[object]:
        with (tmp_path / str(number)).open("wb") as file:
            yield OnDisk(files=(file.fileno(),), folders=(str(tmp_path),))
        return number

    monkeypatch.setattr(os, "fsync", fsync)
    assert sorted(map(str, together(ledger, workers, [filing(n) for n in range(6)]))) == [str(n) for n in range(6)]
    assert sorted(path for path in synced if path != str(tmp_path)) == [str(tmp_path / str(n)) for n in range(6)]
    assert synced.count(str(tmp_path)) <= crew.CLERKS


def test_trouble_with_a_folder_is_that_of_those_who_wait_for_it(
    tmp_path: Path, ledger: SqliteLedger, workers: Workers[object]
) -> None:
    def filing(folder: Path) -> Pass[object]:
        yield OnDisk(folders=(str(folder),))
        return None

    gone = tmp_path / "gone"
    passes = [failing(OSError, lambda folder=folder: filing(folder)) for folder in (gone, tmp_path, gone)]  # type: ignore[misc]
    came = together(ledger, workers, passes)

    assert [type(each) for each in came if each is not None] == [FileNotFoundError] * 2
    assert [each.errno for each in came if isinstance(each, OSError)] == [errno.ENOENT] * 2


def test_a_commit_that_fails_is_told_to_all_who_noted_something(ledger: SqliteLedger, workers: Workers[object]) -> None:
    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA defer_foreign_keys = ON")
        columns = "entry_id, position, assessment_id, fingerprint, match_key, near_key, state"
        connection.execute(f"INSERT INTO scores ({columns}) VALUES ('nobody', 0, '', '', '', '', 'refused')")

    asked: list[bool] = []

    def noting(number: int) -> Pass[object]:
        claim(ledger, draft(f"{number}.json"))
        ledger._database.write(broken)
        yield Ask(lambda: asked.append(True))
        return None

    came = together(ledger, workers, [failing(LedgerError, lambda n=n: noting(n)) for n in range(3)])  # type: ignore[misc]

    assert [type(each) for each in came] == [LedgerError] * 3
    assert (asked, list(ledger.open_entries(ROUTE))) == ([], [])


def test_what_a_request_raises_is_raised_in_its_pass(ledger: SqliteLedger, workers: Workers[object]) -> None:
    def broken() -> Pass[object]:
        return (yield from ask(lambda: {}["nothing"]))

    a_crew = crew_of(ledger, workers)
    for _ in range(2):  # by a worker of its own, and by the clerk
        assert [type(each) for each in came_of(a_crew, failing(KeyError, broken))] == [KeyError]


def test_a_slow_request_keeps_nobody_waiting_who_comes_later(ledger: SqliteLedger, workers: Workers[object]) -> None:
    go, asked = threading.Event(), threading.Event()

    def slow() -> Pass[object]:
        return (yield from ask(lambda: (asked.set(), go.wait(PATIENCE_S))[1]))

    def quick() -> Pass[object]:
        return (yield from ask(lambda: "quick"))

    a_crew, came = crew_of(ledger, workers), SimpleQueue[object]()
    for _ in range(20):
        assert came_of(a_crew, quick()) == ["quick"], "and after some of them the clerk asks by itself"
    a_crew.begin(slow(), came.put)
    assert asked.wait(PATIENCE_S)
    for _ in range(8):
        a_crew.begin(quick(), came.put)
    assert [came.get(timeout=PATIENCE_S) for _ in range(8)] == ["quick"] * 8
    go.set()
    assert came.get(timeout=PATIENCE_S) is True


def test_who_was_answered_is_not_blamed_for_a_slow_neighbour(
    ledger: SqliteLedger, workers: Workers[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clerk that asks for both is silent: that says nothing of the folder of the one that has its answer."""
    monkeypatch.setattr(crew, "QUICK_S", PATIENCE_S)
    come, go, asked = threading.Event(), threading.Event(), threading.Event()

    def begun_together() -> Pass[object]:
        come.wait(PATIENCE_S)
        return None
        yield

    def slow() -> Pass[object]:
        return (yield from ask(lambda: (asked.set(), go.wait(PATIENCE_S))[1]))

    def quick() -> Pass[object]:
        return (yield from ask(lambda: "quick"))

    a_crew, came = crew_of(ledger, workers), SimpleQueue[object]()
    assert came_of(a_crew, *(quick() for _ in range(40))) == ["quick"] * 40, "now the clerk asks by itself"
    for _ in range(crew.CLERKS):
        a_crew.begin(begun_together(), came.put)
    answered = a_crew.begin(quick(), came.put)
    a_crew.begin(slow(), came.put)
    come.set()
    assert asked.wait(PATIENCE_S)
    silent_s = answered.silent_s(time.monotonic())
    go.set()

    assert silent_s < 0
    assert {came.get(timeout=PATIENCE_S) for _ in range(crew.CLERKS + 2)} == {None, "quick", True}


def test_a_clerk_that_hangs_is_replaced(
    ledger: SqliteLedger, workers: Workers[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "HANGS_S", 0.05)
    go, hanging = threading.Event(), list[bool]()

    def hangs() -> Pass[object]:
        hanging.append(go.wait(PATIENCE_S))
        return "at last"
        yield

    def sound() -> Pass[object]:
        yield ON_DISK
        return "sound"

    a_crew, came = crew_of(ledger, workers), SimpleQueue[object]()
    for _ in range(crew.CLERKS):
        a_crew.begin(hangs(), came.put)

    def sound_ones_end() -> bool:
        a_crew.begin(sound(), came.put)
        return not came.empty()

    wait_for(sound_ones_end, "a clerk in the place of those that hang")
    assert came.get() == "sound"
    go.set()
    wait_for(lambda: len(hanging) == crew.CLERKS, "those that hung to end")


def test_a_clerk_that_hangs_is_waited_for_once(
    ledger: SqliteLedger, workers: Workers[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "HANGS_S", 0.5)
    go, hanging = threading.Event(), threading.Event()

    def hangs() -> Pass[object]:
        hanging.set()
        return go.wait(PATIENCE_S)
        yield

    def sound() -> Pass[object]:
        for _ in range(20):
            yield ON_DISK
        return "sound"

    a_crew, came = crew_of(ledger, workers), SimpleQueue[object]()
    a_crew.begin(hangs(), came.put)
    assert hanging.wait(PATIENCE_S)
    began_s = time.monotonic()
    assert came_of(a_crew, sound()) == ["sound"]
    took_s = time.monotonic() - began_s
    go.set()

    assert came.get(timeout=PATIENCE_S) is True
    assert took_s < 10 * crew.HANGS_S


def test_who_came_before_the_clerks_hung_is_not_left_with_them(
    ledger: SqliteLedger, workers: Workers[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody comes after them, who would notice."""
    go, hanging = threading.Event(), SimpleQueue[object]()

    def hangs() -> Pass[object]:
        hanging.put(None)
        go.wait(PATIENCE_S)
        return "at last"
        yield

    def sound() -> Pass[object]:
        yield ON_DISK
        return "sound"

    a_crew, came = crew_of(ledger, workers), SimpleQueue[object]()
    a_crew.begin(hangs(), came.put)
    hanging.get(timeout=PATIENCE_S)
    a_crew.begin(hangs(), came.put)
    wait_for(lambda: not a_crew._ready, "the second clerk, which waits for its turn")
    a_crew.begin(sound(), came.put)
    a_crew.look_after()
    assert came.empty(), "they may yet go on"

    monkeypatch.setattr(crew, "HANGS_S", 0.0)
    a_crew.look_after()
    assert came.get(timeout=PATIENCE_S) == "sound"
    go.set()
    assert [came.get(timeout=PATIENCE_S) for _ in range(2)] == ["at last"] * 2


def test_what_can_go_on_is_not_left_to_clerks_that_hang_in_a_request(
    ledger: SqliteLedger, workers: Workers[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(crew, "HANGS_S", 0.2)
    monkeypatch.setattr(crew, "QUICK_S", PATIENCE_S)  # else a busy machine decides who makes the requests
    go, asked = threading.Event(), list[int]()

    def request(number: int) -> bool:
        asked.append(number)
        return go.wait(PATIENCE_S)

    def slow(number: int) -> Pass[object]:
        return (yield from ask(lambda: request(number)))

    a_crew, came = crew_of(ledger, workers), SimpleQueue[object]()
    a_crew._usual_s = 0.0
    for number in range(crew.CLERKS):
        a_crew.begin(slow(number), came.put)
        wait_for(lambda number=number: number in asked, "a clerk to be in a request")  # type: ignore[misc]
    rest = range(crew.CLERKS, crew.CLERKS + 5)
    for number in rest:  # at once, and then none any more
        a_crew.begin(slow(number), came.put)

    def all_are_asked() -> bool:
        a_crew.look_after()
        return set(rest) < set(asked)

    try:
        wait_for(all_are_asked, "another clerk, which leaves the requests to others", 10.0)
    finally:
        go.set()
    assert [came.get(timeout=PATIENCE_S) for _ in range(crew.CLERKS + 5)] == [True] * (crew.CLERKS + 5)
