"""The process that makes the requests: it does as it is told, and whatever becomes of it, each request has a reply."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from queue import SimpleQueue
from typing import cast

import pytest

from canarysync import remote
from canarysync.answers import Answer, NoAnswer, Reply
from canarysync.errors import IoTrouble, SetupError
from canarysync.examine import answers
from canarysync.exchange import Request, Way
from canarysync.line import Line
from canarysync.remote import Remote
from canarysync.sender import Sender
from canarysync.upload import Http
from tests.support import PATIENCE_S, score, wait_for
from tests.system.raw_api import HANG_UP, Asked, RawApi, plain

GET = Request("GET", "/v2/org/assessment/0/get-scores", {"Authorization": "Bearer t"})
DIED = NoAnswer(sent=True, reason="the process that made the request has ended")


def way(url: str, **changes: object) -> Way:
    return Way(url, None, None, connect_timeout_s=5.0, read_timeout_s=20.0, connections=40)._replace(**changes)


@pytest.fixture
def api() -> Iterator[RawApi]:
    with RawApi() as api:
        yield api


class Never:
    """Says nothing, and tells that it was asked."""

    def __init__(self, api: RawApi) -> None:
        self.asked = SimpleQueue[str]()
        self._end = threading.Event()
        api.says = self

    def __call__(self, asked: Asked) -> Iterator[bytes]:
        self.asked.put(asked.path)
        self._end.wait(PATIENCE_S)
        yield HANG_UP


def began(distant: Remote, *requests: Request) -> SimpleQueue[Reply]:
    replies = SimpleQueue[Reply]()
    distant.begin([(request, replies.put) for request in requests])
    return replies


def child_of(distant: Remote) -> int:
    assert distant._child is not None
    return distant._child.process.pid


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"


def test_a_request_arrives_as_it_is_and_so_does_the_reply(api: RawApi) -> None:
    body = bytes(range(256)) * 4096
    api.says = lambda asked: plain(asked.body, b"Retry-After: 7", b"Date: Thu, 01 Jan 2026 12:00:00 GMT")
    with closing(Remote(way(api.url + "/base"), {})) as distant:
        reply = distant.request(Request("PUT", "/v2/x", {"X-Mine": "é"}, body, len(body)))

    assert reply == Answer(200, "application/json", body, "7", complete=True, date="Thu, 01 Jan 2026 12:00:00 GMT")
    [asked] = api.asked
    assert (asked.method, asked.path, asked.headers["x-mine"], asked.body) == ("PUT", "/base/v2/x", "é", body)


def test_as_many_requests_at_once_as_there_are(api: RawApi) -> None:
    """None is answered before all have come."""
    together = threading.Barrier(24)

    def says(asked: Asked) -> Iterator[bytes]:
        together.wait(PATIENCE_S)
        return plain(asked.path.encode())

    api.says = says
    with closing(Remote(way(api.url), {})) as distant:
        replies = began(distant, *(GET._replace(path=f"/{number}") for number in range(24)))
        came = [replies.get(timeout=PATIENCE_S) for _ in range(24)]
        in_flight = [sample.in_flight for sample in distant.traffic.heard()]

    assert sorted(reply.body for reply in came if isinstance(reply, Answer)) == sorted(b"/%d" % n for n in range(24))
    assert in_flight == [], "a GET says nothing of the limit"
    assert distant.traffic.in_flight == 0


def test_one_after_the_other_they_need_one_connection(api: RawApi) -> None:
    with closing(Remote(way(api.url), {})) as distant:
        began(distant, GET).get(timeout=PATIENCE_S)
        for _ in range(50):
            assert began(distant, GET).get(timeout=PATIENCE_S) == Answer(200, "application/json", b'{"scores": []}')

    assert {asked.connection for asked in api.asked} == {1}


def test_what_was_told_of_each_request(api: RawApi) -> None:
    told: list[tuple[str, Reply]] = []
    with closing(Remote(way(api.url), {})) as distant:
        distant.observer = lambda call, reply, seconds: told.append((call, reply))
        reply = distant.request(Request("PUT", "/v2/org/assessment/7/put-score", {}, b"{}"))
        [sample] = distant.traffic.heard()

    assert told == [("put-score", reply)]
    assert (sample.pushed_back, sample.in_flight) == (False, 1)


# --- it is asked something else ------------------------------------------------------------------------


@pytest.fixture
def question(tmp_path: Path) -> list[tuple[str, int, str]]:
    path = tmp_path / "visit.json"
    path.write_text(json.dumps(score()))
    return [(str(path), 1 << 20, "json")]


def test_files_are_examined_whatever_requests_wait_for(api: RawApi, question: list[tuple[str, int, str]]) -> None:
    never = Never(api)
    with closing(Remote(way(api.url), {})) as distant:
        distant.check()
        began(distant, GET)
        never.asked.get(timeout=PATIENCE_S)

        assert distant.ask(question) == answers(question) != [None]


def test_a_question_that_it_cannot_answer_costs_nothing_else(api: RawApi, question: list[tuple[str, int, str]]) -> None:
    with closing(Remote(way(api.url), {})) as distant:
        distant.check()
        first = child_of(distant)

        assert distant.ask([("/nowhere", "much", "latin")]) is None
        assert distant.ask(question) == answers(question)
        assert child_of(distant) == first


def test_an_answer_that_there_is_no_memory_for_does_not_end_it(question: list[tuple[str, int, str]]) -> None:
    """Requests may be in hand."""
    told: list[object] = []

    class Narrow:
        def send(self, value: tuple[int, object]) -> None:
            if value[1] is not None:
                raise MemoryError
            told.append(value)

    Sender(Narrow(), None, 1)._answer(7, question)  # type: ignore[arg-type]
    assert told == [(7, None)]


def test_one_that_hangs_is_killed_whatever_it_was_asked(
    api: RawApi, question: list[tuple[str, int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_SPARE_S", 0.1)
    with closing(Remote(way(api.url, connect_timeout_s=0.1, read_timeout_s=0.1), {})) as distant:
        distant.check()
        os.kill(child_of(distant), signal.SIGSTOP)

        assert distant.ask(question) is None


def test_who_is_asked_and_ends_says_nothing(api: RawApi, question: list[tuple[str, int, str]]) -> None:
    with closing(Remote(way(api.url), {})) as distant:
        distant.check()
        pid, told = child_of(distant), SimpleQueue[object]()
        os.kill(pid, signal.SIGSTOP)
        threading.Thread(target=lambda: told.put(distant.ask(question))).start()
        child = distant._child
        assert child is not None
        wait_for(lambda: bool(child.asked), "the question to be asked")
        os.kill(pid, signal.SIGKILL)

        assert told.get(timeout=PATIENCE_S) is None
        assert distant.ask(question) is None, "another one is started for the next request"


# --- it ends ------------------------------------------------------------------------------------------


def test_one_that_is_killed_gives_no_answer_and_another_one_takes_its_place(
    api: RawApi, caplog: pytest.LogCaptureFixture
) -> None:
    never = Never(api)
    with closing(Remote(way(api.url), {})) as distant, caplog.at_level(logging.WARNING):
        replies = began(distant, GET, GET, GET)
        never.asked.get(timeout=PATIENCE_S)
        os.kill(first := child_of(distant), signal.SIGKILL)
        assert [replies.get(timeout=PATIENCE_S) for _ in range(3)] == [DIED] * 3
        assert distant.traffic.in_flight == 0

        api.says = lambda asked: plain(b"again")
        assert distant.request(GET) == Answer(200, "application/json", b"again")
        assert child_of(distant) != first

    assert [record.message for record in caplog.records] == [
        "the process that makes the requests has ended: another one is started"
    ]


def test_one_that_hangs_is_killed(api: RawApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_SPARE_S", 0.05)
    with closing(Remote(way(api.url, connect_timeout_s=0.1, read_timeout_s=0.05), {})) as distant:
        distant.check()
        os.kill(child_of(distant), signal.SIGSTOP)
        assert distant.request(GET) == DIED


def test_one_that_took_only_a_part_of_a_request_gets_no_other(api: RawApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """It would take what comes next for the rest."""
    monkeypatch.setattr(remote, "_SPARE_S", -24.5)
    with closing(Remote(way(api.url, read_timeout_s=10.0), {})) as distant:
        assert isinstance(distant.request(GET), Answer)
        child = child_of(distant)
        os.kill(child, signal.SIGSTOP)
        replies = began(distant, Request("PUT", "/v2/org/assessment/0/put-score", {}, b"x" * 1_000_000))
        os.kill(child, signal.SIGCONT)
        assert replies.get(timeout=PATIENCE_S) == DIED
        assert isinstance(distant.request(GET), Answer)
        assert api.count("put") == 0


def test_one_that_cannot_even_say_that_it_works_has_sent_nothing(api: RawApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/bin/false")
    with closing(Remote(way(api.url), {})) as distant:
        with pytest.raises(IoTrouble, match="start the process"):
            distant.check()
        for _ in range(2):
            assert distant.request(GET) == NoAnswer(sent=False, reason=DIED.reason)
    assert api.asked == []


def test_where_there_is_no_process_to_be_had_nothing_is_sent(api: RawApi, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Remote(way(api.url), {})) as distant:
        assert isinstance(distant.request(GET), Answer)
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        os.kill(child_of(distant), signal.SIGKILL)
        wait_for(lambda: distant._child is None, "its end to be noticed")
        assert distant.request(GET) == NoAnswer(sent=False, reason="No such file or directory")
        assert distant.traffic.in_flight == 0
    with pytest.raises(IoTrouble, match="start the process"):
        Remote(way(api.url), {})


@pytest.mark.parametrize("trouble", [TimeoutError, MemoryError])
def test_one_that_was_told_only_a_part_is_ended(
    api: RawApi, monkeypatch: pytest.MonkeyPatch, trouble: type[Exception]
) -> None:
    """What it is told next would be taken for the rest."""

    def breaks_off(value: object) -> None:
        raise trouble

    with closing(Remote(way(api.url), {})) as distant:
        distant.check()
        first = distant._child
        assert first is not None
        monkeypatch.setattr(first.line, "send", breaks_off)
        assert began(distant, GET).get(timeout=PATIENCE_S) == DIED
        assert isinstance(distant.request(GET), Answer)
        assert distant._child is not first


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_after_a_defect_in_who_hears_them_all_have_a_reply(api: RawApi) -> None:
    def defect(call: str, reply: Reply, seconds: float) -> None:
        raise KeyError(call)

    never = Never(api)
    with closing(Remote(way(api.url), {})) as distant:
        distant.observer = defect
        replies = began(distant, GET)
        never.asked.get(timeout=PATIENCE_S)
        api.says = lambda asked: plain(b"now")
        began(distant, GET)
        assert replies.get(timeout=PATIENCE_S) == DIED
        wait_for(lambda: distant._child is None, "its end to be noticed")
        distant.observer = lambda call, reply, seconds: None
        assert isinstance(began(distant, GET).get(timeout=PATIENCE_S), Answer)


def test_once_closed_no_other_one_is_started(api: RawApi) -> None:
    """A visit that hung may come back while canarysync stops: nobody would end that one."""
    distant = Remote(way(api.url), {})
    distant.check()
    distant.close()
    wait_for(lambda: distant._child is None, "its end to be noticed")
    assert distant.request(GET) == NoAnswer(sent=False, reason="canarysync is stopping")
    assert (distant._child, distant.traffic.in_flight, api.asked) == (None, 0, [])


def test_who_is_brought_in_takes_what_waits_though_others_are_at_work() -> None:
    go, asked = threading.Event(), SimpleQueue[str]()

    class Slow:
        def request(self, request: Request) -> Reply:
            asked.put(request.path)
            go.wait(2 * PATIENCE_S)
            return DIED

    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = Sender(Line(theirs), cast(Http, Slow()), 2)
        with sender._changed:
            sender._take([(number, *GET._replace(path=f"/{number}")) for number in range(2)])
            sender._bring_in(1)
        assert sorted(asked.get(timeout=PATIENCE_S) for _ in range(2)) == ["/0", "/1"]
        go.set()
        wait_for(lambda: sender._free == 2, "both to be done")


def test_a_way_that_leads_nowhere_is_said_at_the_start(api: RawApi, tmp_path: Path) -> None:
    bundle = str(tmp_path / "none.pem")
    with closing(Remote(way(api.url, ca_bundle=bundle), {})) as distant, pytest.raises(SetupError) as refused:
        distant.check()
    assert (refused.value.path, refused.value.hint) == (bundle, "name a PEM file in api.ca_bundle")


def test_signals_are_not_for_it(api: RawApi) -> None:
    """systemd, a terminal: they tell all processes of the service."""
    with closing(Remote(way(api.url), {})) as distant:
        distant.check()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            os.kill(child_of(distant), number)
        first = child_of(distant)
        assert isinstance(distant.request(GET), Answer)
        assert child_of(distant) == first
    assert not is_there(first)


SENDER_WITHOUT_THREADS = """
import sys, threading
left, start = [None] * int(sys.argv[1]), threading.Thread.start
def limited(self):
    if not left:
        raise RuntimeError("can't start new thread")
    left.pop()
    start(self)
threading.Thread.start = limited
from canarysync import sender
sender.main()
"""


def test_one_that_has_no_thread_says_so(api: RawApi) -> None:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", SENDER_WITHOUT_THREADS, "1"]  # that which watches over requests
    with ours, subprocess.Popen(command, stdin=theirs.fileno()) as process:
        theirs.close()
        ours.settimeout(PATIENCE_S)
        line = Line(ours)
        line.send((tuple(way(api.url)), {}))
        line.send([(1, *GET), (2, *GET)])
        greeting, *told = line.receive()
        told = told or line.receive()
        assert greeting == ()
        assert [(number, sent) for number, _, _, sent, _ in told[0]] == [(1, False), (2, False)]
        ours.shutdown(socket.SHUT_RDWR)
        process.wait(PATIENCE_S)


def test_that_it_has_no_thread_to_begin_with_is_no_fault_of_the_config(api: RawApi) -> None:
    """With a refusal the service would end as one with a bad config, and stay down."""
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-c", SENDER_WITHOUT_THREADS, "0"]
    with ours, subprocess.Popen(command, stdin=theirs.fileno(), stderr=subprocess.DEVNULL) as process:
        theirs.close()
        line = Line(ours)
        line.send((tuple(way(api.url)), {}))
        with pytest.raises(EOFError):
            line.receive()
        process.wait(PATIENCE_S)


PARENT = """
import os, sys
from canarysync.exchange import Way
from canarysync.remote import Remote
lock = os.open(sys.argv[2], os.O_RDWR | os.O_CREAT)
import fcntl; fcntl.flock(lock, fcntl.LOCK_EX)
distant = Remote(Way(sys.argv[1], None, None, 5.0, 20.0, 4), {}, (lock,))
distant.check()
print(distant._child.process.pid, flush=True)
sys.stdin.read()
"""


def test_it_ends_with_its_parent_and_until_then_holds_the_lock(api: RawApi, tmp_path: Path) -> None:
    """Or another canarysync could look for a score at the API while this one is still being sent."""
    lock = tmp_path / "lock"
    command = [sys.executable, "-c", PARENT, api.url, str(lock)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent, lock.open("wb") as mine:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.kill(child, signal.SIGSTOP)
        parent.kill()
        parent.wait()
        assert not is_locked_by(mine.fileno())
        os.kill(child, signal.SIGCONT)
        wait_for(lambda: is_locked_by(mine.fileno()), "the lock")
        wait_for(lambda: not is_there(child), "its end")


def is_locked_by(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def test_nothing_is_imported_from_where_it_is_started(
    api: RawApi, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file in a drop folder is data, whatever its name."""
    (tmp_path / "requests.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(tmp_path)
    with closing(Remote(way(api.url), {})) as distant:
        assert isinstance(distant.request(GET), Answer)
