"""Requests, given to a process of their own (sender.py): started here, told what to send, and heard.

Were it to die, whatever it had in hand may have been sent: that is no answer, as when a connection breaks. Another one
is started for the next request.
"""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from itertools import count
from queue import SimpleQueue
from typing import Any, NamedTuple

from canarysync.answers import NoAnswer, Reply
from canarysync.errors import IoTrouble, SetupError, no_thread
from canarysync.exchange import Request, Then, Way, unpacked
from canarysync.line import Line
from canarysync.logs import event
from canarysync.traffic import Traffic
from canarysync.workers import elsewhere

_log = logging.getLogger(__name__)

START_S = 30.0
END_S = 3.0
_SPARE_S = 30.0
"""Where nothing is heard for so much longer than any request takes, the process hangs."""

_DIED = "the process that made the request has ended"
_PROXY = ("https_proxy", "HTTPS_PROXY", "no_proxy", "NO_PROXY")


class _Pending(NamedTuple):
    """A request that was handed over, when so many were in flight with it."""

    request: Request
    then: Then
    in_flight: int


class _Child:
    """A sender, and what it has in hand. ``greeted``: it has said whether it can make requests, or has ended;
    ``refusal``: why it cannot."""

    def __init__(self, way: Way, environment: Mapping[str, str], held: Collection[int]) -> None:
        """``held`` are descriptors that stay open for as long as it lives. Raises OSError."""
        ours, theirs = socket.socketpair()
        command = [sys.executable, "-P", "-m", "canarysync.sender"]  # -P: nothing is imported from where we stand
        try:
            with theirs:
                self.process = subprocess.Popen(
                    command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, pass_fds=held
                )
        except BaseException:
            ours.close()
            raise
        ours.settimeout(way.most_s + _SPARE_S)
        self.line = Line(ours)
        self.greeted = threading.Event()
        self.works = False
        self.refusal: SetupError | None = None
        self.pending: dict[int, _Pending] = {}
        self.asked: dict[int, SimpleQueue[Any]] = {}
        proxies = {name: environment[name] for name in _PROXY if name in environment}
        self.send((tuple(way), proxies))

    def send(self, value: object) -> None:
        """Tell it something. If that does not go, or not to its end, it is made to end; who hears it finds out."""
        try:
            self.line.send(value)
        except (OSError, MemoryError):  # it would take what is told next for the rest of this
            self.process.kill()

    def hear(self) -> list[Any]:
        """What it tells next. Raises EOFError when it has ended; one that hangs is made to."""
        had_something_in_hand = False
        while True:
            try:
                return self.line.receive()
            except TimeoutError:
                if had_something_in_hand:
                    self.process.kill()
                had_something_in_hand = bool(self.pending or self.asked)

    def greet(self, greeting: tuple[str, ...]) -> None:
        """It says that it can make requests; or why it cannot."""
        self.refusal, self.works = (SetupError(*greeting), False) if greeting else (None, True)
        self.greeted.set()

    def end(self) -> None:
        """Make it end, and wait until it has."""
        if not self.works:
            self.process.kill()  # it may be starting yet, and has nothing in hand
        with suppress(OSError):
            self.line.socket.shutdown(socket.SHUT_RDWR)
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            with suppress(subprocess.TimeoutExpired):  # a folder may hang in it that nothing can interrupt
                self.process.wait(END_S)


class Remote:
    """An Exchange whose requests are made elsewhere. Safe to use from many threads."""

    def __init__(self, way: Way, environment: Mapping[str, str], held: Collection[int] = ()) -> None:
        """Start the process. ``held``: descriptors that it keeps open, so that a lock on them ends with the last
        request that may yet be made. Raises IoTrouble where there is no process to be had."""
        self.observer: Callable[[str, Reply, float], None] = lambda call, reply, seconds: None
        """Told of every request: the last part of its path, what came back, and how long it took."""
        self.traffic = Traffic()
        self._way = way
        self._environment = dict(environment)
        self._held = held
        self._changing = threading.Lock()
        self._numbers = count()
        self._closed = False
        self._child: _Child | None = None
        with self._changing:
            self._child = self._another()

    def check(self) -> None:
        """Wait until the process can make requests. Raises SetupError if it never could, IoTrouble if it died."""
        with self._changing:
            child = self._child = self._child or self._another()
        if not child.greeted.wait(START_S) or not (child.works or child.refusal):
            raise IoTrouble("start the process that makes the requests", sys.executable, "it did not get ready")
        if child.refusal is not None:
            raise child.refusal

    def _another(self) -> _Child:
        """To be called with the lock, so that nobody hears of its end before it is known."""
        if self._closed:  # nobody would end it
            raise IoTrouble("start the process that makes the requests", sys.executable, "canarysync is stopping")
        try:
            child = _Child(self._way, self._environment, self._held)
        except OSError as error:
            raise IoTrouble(
                "start the process that makes the requests", sys.executable, error.strerror or "",
                "raise the limit on processes (ulimit -u, TasksMax) or on memory",
            ) from None  # fmt: skip
        try:
            threading.Thread(target=self._hear, args=(child,), name="replies", daemon=True).start()
        except RuntimeError as error:
            child.end()
            raise no_thread(error) from None
        return child

    # --- out -----------------------------------------------------------------------------------------

    def request(self, request: Request) -> Reply:
        """Make it, and wait for what comes back."""
        replies: SimpleQueue[Reply] = SimpleQueue()
        with elsewhere(2 * self._way.most_s):
            self.begin([(request, replies.put)])
            return replies.get()

    def begin(self, requests: Sequence[tuple[Request, Then]]) -> None:
        """Make them. What comes back is handed over in a thread that hears all replies."""
        pending = [_Pending(request, then, self.traffic.begins()) for request, then in requests]
        try:
            with self._changing:
                child = self._child = self._child or self._another()
                numbered = [(next(self._numbers), each) for each in pending]
                child.pending.update(numbered)
        except IoTrouble as error:
            self._give_back(pending, NoAnswer(sent=False, reason=error.cause))
            return
        child.send([(number, *each.request) for number, each in numbered])

    def ask(self, question: Any) -> Any:
        """Hand it something else to answer, in plain values, and wait for that. None where it does not, or ends."""
        answer: SimpleQueue[Any] = SimpleQueue()
        with self._changing:
            child = self._child
            if child is None or not child.works:
                return None
            number = next(self._numbers)
            child.asked[number] = answer
        child.send((number, question))
        return answer.get()

    # --- in ------------------------------------------------------------------------------------------

    def _hear(self, child: _Child) -> None:
        try:
            with suppress(EOFError):
                greeting, *replies = child.hear()
                child.greet(greeting)
                while True:
                    for told in replies:
                        self._told(child, told)
                    replies = child.hear()
        finally:  # after a defect nobody hears it any more: it is as good as gone
            self._ended(child)

    def _told(self, child: _Child, told: Any) -> None:
        if isinstance(told, tuple):
            number, answer = told
            child.asked.pop(number).put(answer)
            return
        for number, began_s, took_s, *values in told:
            self._replied(child.pending.pop(number), unpacked(values), began_s, took_s)

    def _replied(self, pending: _Pending, reply: Reply, began_s: float, took_s: float) -> None:
        request = pending.request
        self.traffic.ends()
        self.traffic.told(request.method, reply, began_s, took_s, pending.in_flight)
        self.observer(request.path.rpartition("/")[2], reply, took_s)
        pending.then(reply)

    def _ended(self, child: _Child) -> None:
        """It is gone, or as good as gone: what it had in hand has no answer."""
        with self._changing:
            if self._child is child:
                self._child = None
        child.end()
        if child.works and not self._closed:
            message = "the process that makes the requests has ended: another one is started"
            event(_log, logging.WARNING, message, code=child.process.returncode, in_hand=len(child.pending))
        reply = NoAnswer(sent=child.works, reason=child.refusal.cause if child.refusal else _DIED)
        self._give_back(child.pending.values(), reply)
        for answer in child.asked.values():
            answer.put(None)
        child.greeted.set()

    def _give_back(self, pending: Iterable[_Pending], reply: NoAnswer) -> None:
        for each in pending:
            self.traffic.ends()
            each.then(reply)

    def close(self) -> None:
        """End the process. What is under way then gets no answer."""
        with self._changing:
            self._closed, child = True, self._child
        if child is not None:
            child.end()
