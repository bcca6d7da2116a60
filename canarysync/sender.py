"""The process that makes the requests, and examines what is to be sent: ``python -m canarysync.sender``, started and
told what to do by remote.py.

One interpreter runs one thread at a time: requests, with their TLS, would take turns with all else that canarysync
does. The process's standard input is a socket. Over it comes the way to the API; it says whether requests can be made
that way. From then on it hears lists of numbered requests, and tells what came of each; and pairs, of a number and
questions about files, which it answers together (examine.py). It keeps nothing, and ends with the process that it works
for.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import threading
import time
from collections import deque
from functools import partial
from math import inf
from typing import Any

from canarysync.answers import NoAnswer, Reply
from canarysync.errors import CanarysyncError, SetupError
from canarysync.examine import answers
from canarysync.exchange import Request, Way, packed
from canarysync.line import Line
from canarysync.logs import where
from canarysync.upload import Http
from canarysync.workers import Workers

QUICK_S = 0.003
"""Where replies come that quickly, one thread makes the requests one after the other: more of them would only wait for
each other. Whenever none comes for so long, twice as many threads take what waits."""

GATHER_S = 0.003
"""Replies are told no more often than that: whoever hears them wakes up each time."""


class _Group:
    """Requests that came together; so many of them have no reply yet."""

    __slots__ = ("missing",)

    def __init__(self, missing: int) -> None:
        self.missing = missing


class Sender:
    """Makes the requests that come over a line, at most ``most_threads`` at a time."""

    def __init__(self, line: Line, http: Http, most_threads: int) -> None:
        self._line = line
        self._http = http
        self._most_threads = most_threads
        self._readers: Workers[None] = Workers(lambda _: None)
        self._changed = threading.Condition()
        self._waiting: deque[tuple[_Group, int, Request]] = deque()
        self._untold: list[tuple[Any, ...]] = []
        self._threads = self._free = 0
        self._moved_s = self._told_s = 0.0

    def serve(self, groups: list[list[Any]]) -> None:
        """Make the requests of ``groups``, and of those that come, until nobody is at the other end: EOFError or
        OSError."""
        while True:
            with self._changed:
                for group in groups:
                    if isinstance(group, tuple):
                        self._examine(*group)
                    else:
                        self._take(group)
                pause_s = self._look_after()
            ready, _, _ = select.select([self._line.socket], [], [], pause_s)
            groups = self._line.receive() if ready else []

    def _take(self, requests: list[Any]) -> None:
        group = _Group(len(requests))
        self._waiting.extend((group, number, Request(*request)) for number, *request in requests)
        if self._free == self._threads:
            self._moved_s = time.monotonic()
            self._bring_in(1)

    def _examine(self, number: int, questions: list[tuple[str, int, str]]) -> None:
        """In a thread of its own: a folder may hang."""
        try:
            self._readers.lend(partial(self._answer, number, questions))
        except CanarysyncError:
            self._line.send((number, None))

    def _answer(self, number: int, questions: list[tuple[str, int, str]]) -> None:
        try:
            told = answers(questions)
        except Exception:  # a defect: who asks will examine them too, and find out
            told = None
        try:
            self._line.send((number, told))
        except (MemoryError, ValueError):  # nothing has left yet, and requests are in hand
            self._line.send((number, None))

    def _look_after(self) -> float | None:
        """Returns after how many seconds to do so again, if nothing comes before."""
        now_s = time.monotonic()
        if self._waiting and now_s - self._moved_s >= QUICK_S:
            self._moved_s = now_s
            self._bring_in(min(len(self._waiting), max(self._threads - self._free, 1)))
        if self._untold and now_s - self._told_s >= GATHER_S:
            self._tell(now_s)
        if self._waiting:
            return QUICK_S
        return GATHER_S if self._untold or self._free < self._threads else None

    def _bring_in(self, threads: int) -> None:
        """Let so many threads take what waits: those that are free, then new ones."""
        called = min(threads, self._free)
        self._free -= called
        self._changed.notify(called)
        for _ in range(min(threads - called, self._most_threads - self._threads)):
            try:
                threading.Thread(target=self._work, daemon=True).start()
            except RuntimeError:  # the system gives no more: those that there are go on
                if not self._threads:
                    self._decline()
                return
            self._threads += 1

    def _decline(self) -> None:
        """There is nobody to make what waits."""
        now_s, nobody = time.monotonic(), NoAnswer(sent=False, reason="no thread to be had (ulimit -u, TasksMax)")
        self._untold += [(number, now_s, 0.0, *packed(nobody)) for _, number, _ in self._waiting]
        self._waiting.clear()

    def _work(self) -> None:
        took_s = inf  # it was brought in because the others are not enough
        while True:
            group, number, request = self._next(took_s)
            began_s = time.monotonic()
            reply = self._made(request)
            took_s = time.monotonic() - began_s
            self._reply(group, (number, began_s, took_s, *packed(reply)))

    def _next(self, took_s: float) -> tuple[_Group, int, Request]:
        """What a thread is to do whose last request took so long."""
        with self._changed:
            if took_s < QUICK_S and self._threads - self._free > 1:
                self._rest()  # the others are enough
            while not self._waiting:
                self._rest()
            return self._waiting.popleft()

    def _rest(self) -> None:
        self._free += 1
        self._changed.wait()

    def _made(self, request: Request) -> Reply:
        try:
            return self._http.request(request)
        except Exception as error:  # a defect: whether the request left is not known
            return NoAnswer(sent=True, reason=f"a defect: {where(error)}")

    def _reply(self, group: _Group, reply: tuple[Any, ...]) -> None:
        """Tell it with all of its group, or with what there is by then."""
        with self._changed:
            self._untold.append(reply)
            group.missing -= 1
            self._moved_s = time.monotonic()
            if not group.missing and self._moved_s - self._told_s >= GATHER_S:
                self._tell(self._moved_s)

    def _tell(self, now_s: float) -> None:
        untold, self._untold, self._told_s = self._untold, [], now_s
        self._line.send(untold)


def main() -> None:
    """Serve the process at the other end of standard input."""
    threading.excepthook = lambda _: os._exit(1)  # what a thread has in hand would never get a reply
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for that process, which ends this one
        signal.signal(number, signal.SIG_IGN)
    line = Line(socket.socket(fileno=os.dup(0)))
    try:
        (way, environment), *requests = line.receive()
        try:
            http = Http(Way(*way), environment)
        except SetupError as error:  # any other trouble is one of now: it ends without a word
            line.send((error.operation, error.path, error.cause, error.hint))
            return
        line.send(())
        Sender(line, http, way[-1]).serve(requests)
    except (EOFError, OSError):
        os._exit(0)  # whatever its threads are at: nobody waits for it any more


if __name__ == "__main__":
    main()
