"""Passes that are taken on together: what is on disk when, who hears of trouble, and who waits for whom."""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue

import pytest

from canarysync import crew
from canarysync.crew import Crew
from canarysync.errors import LedgerError
from canarysync.ledger_sqlite import SqliteLedger
from canarysync.passes import ON_DISK, Ask, OnDisk, Pass, Send, ask
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
    a_crew, come, was_busy = crew_of(ledger, workers), threading.Event(), object()

    def busy() -> Pass[object]:
        come.wait(PATIENCE_S)
        return was_busy
        yield

    came: Came = SimpleQueue()
    for a_pass in (*(busy() for _ in range(crew.CLERKS)), *passes):
        a_crew.begin(a_pass, came.put)
    come.set()
    each_came = [came.get(timeout=PATIENCE_S) for _ in range(crew.CLERKS + len(passes))]
    return [each for each in each_came if each is not was_busy]  # which need not end before the others


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


def test_what_a_call_raises_is_raised_in_its_pass(ledger: SqliteLedger, workers: Workers[object]) -> None:
    def broken() -> Pass[object]:
        return (yield from ask(lambda: {}["nothing"]))

    assert [type(each) for each in came_of(crew_of(ledger, workers), failing(KeyError, broken))] == [KeyError]


# --- requests -----------------------------------------------------------------------------------------

Then = Callable[[object], None]


class Distant:
    """An API that keeps what it is asked until a test replies: each time all that came together."""

    def __init__(self) -> None:
        self.asked = SimpleQueue[Sequence[tuple[object, Then]]]()

    def begin(self, requests: Sequence[tuple[object, Then]]) -> None:
        self.asked.put(requests)

    def get(self) -> Sequence[tuple[object, Then]]:
        return self.asked.get(timeout=PATIENCE_S)

    def asking(self, request: object) -> Pass[object]:
        reply: object = yield Send(self.begin, request)
        return f"{request}: {reply}"


def test_what_was_noted_is_on_disk_before_a_request_is_sent(
    tmp_path: Path, ledger: SqliteLedger, workers: Workers[object]
) -> None:
    def begin(requests: Sequence[tuple[object, Then]]) -> None:
        for name, then in requests:
            then(name in on_disk(tmp_path))

    def noting(name: str) -> Pass[object]:
        claim(ledger, draft(name))
        reply: object = yield Send(begin, name)
        return reply

    assert came_of(crew_of(ledger, workers), *(noting(f"{number}.json") for number in range(8))) == [True] * 8


def test_neighbours_requests_are_sent_together_and_each_gets_its_own_reply(
    ledger: SqliteLedger, workers: Workers[object]
) -> None:
    distant, sent = Distant(), list[int]()

    def reply() -> None:
        while sum(sent) < 6:
            requests = distant.get()
            sent.append(len(requests))
            for request, then in reversed(requests):
                then(f"to {request}")

    replying = threading.Thread(target=reply)
    replying.start()
    came = together(ledger, workers, [distant.asking(number) for number in range(6)])
    replying.join()

    assert sorted(map(str, came)) == [f"{number}: to {number}" for number in range(6)]
    assert len(sent) <= crew.CLERKS


def test_a_slow_request_keeps_nobody_waiting_who_comes_later(ledger: SqliteLedger, workers: Workers[object]) -> None:
    distant = Distant()
    a_crew, came = crew_of(ledger, workers), SimpleQueue[object]()
    for _ in range(crew.CLERKS + 1):
        a_crew.begin(distant.asking("slow"), came.put)
    slow: list[tuple[object, Then]] = []
    while len(slow) < crew.CLERKS + 1:
        slow += distant.get()
    a_crew.begin(distant.asking("quick"), came.put)
    for _, then in distant.get():
        then("here")
    assert came.get(timeout=PATIENCE_S) == "quick: here"
    for _, then in slow:
        then("at last")
    assert [came.get(timeout=PATIENCE_S) for _ in slow] == ["slow: at last"] * (crew.CLERKS + 1)


def test_no_folder_is_blamed_for_a_slow_api(ledger: SqliteLedger, workers: Workers[object]) -> None:
    distant = Distant()
    a_crew, came = crew_of(ledger, workers), SimpleQueue[object]()
    task = a_crew.begin(distant.asking("slow"), came.put)
    [(_, then)] = distant.get()
    silent_s = task.silent_s(time.monotonic())
    then("at last")

    assert silent_s < 0
    assert came.get(timeout=PATIENCE_S) == "slow: at last"


def test_a_request_that_cannot_even_begin_is_a_defect_of_its_pass(
    ledger: SqliteLedger, workers: Workers[object]
) -> None:
    def begin(requests: Sequence[tuple[object, Then]]) -> None:
        raise KeyError("nothing")

    def broken() -> Pass[object]:
        reply: object = yield Send(begin, None)
        return reply

    a_crew = crew_of(ledger, workers)
    assert [type(each) for each in came_of(a_crew, failing(KeyError, broken))] == [KeyError]


# --- clerks that hang ---------------------------------------------------------------------------------


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
