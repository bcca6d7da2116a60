"""A stand-in for the API that is never the limit (some 30,000 answers a second): one thread, epoll, HTTP/1.1.

    python -m benchmarks.sink --delay-ms 100 --limit 20

Each PUT is answered after a delay with 200 and a uuid; or at once with 429, when more than the limit are in flight. A
score is known by its number, the ``"value"`` of its scoreData. Times are those of CLOCK_MONOTONIC, which all processes
of a machine share. ``Sink`` is the other end, for who starts one and asks it what came.
"""

from __future__ import annotations

import argparse
import http.client
import json
import re
import select
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

HOST = "127.0.0.1"
PUT_PATH = "/v2/org/assessment/0192530c-4ce5-7aa1-be9b-bc52dec8a184/put-score"
PATIENCE_S = 30.0
"""How long the sink may take to start, and to answer a question about what came."""
SENDERS = 16
"""Connections in ``alone_per_s``."""

_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_NUMBER = re.compile(rb'"value":\s*(\d+)')


@dataclass(slots=True)
class _Tally:
    """What came."""

    first_at: dict[int, float] = field(default_factory=dict)
    """When each score came for the first time, in seconds, by its number."""
    answers: Counter[int] = field(default_factory=Counter)
    """How many answers, by status."""
    seconds: list[Counter[int]] = field(default_factory=list)
    """The same for each second since the first request."""
    in_flight: int = 0
    most_in_flight: int = 0
    started_at: float | None = None

    def count(self, status: int, now: float) -> None:
        if self.started_at is None:
            self.started_at = now
        second = int(now - self.started_at)
        while len(self.seconds) <= second:
            self.seconds.append(Counter())
        self.seconds[second][status] += 1
        self.answers[status] += 1

    def told(self) -> bytes:
        return json.dumps(
            {
                "first_at": list(self.first_at.items()),
                "answers": self.answers,
                "seconds": self.seconds,
                "most_in_flight": self.most_in_flight,
            }
        ).encode()


@dataclass(slots=True, eq=False)
class _Connection:
    socket: socket.socket
    received: bytes = b""

    def answer(self, status: int, body: bytes) -> None:
        head = b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(body))
        try:
            self.socket.setblocking(True)  # only the tally is too long to go at once, and who asks for it reads it
            self.socket.sendall(head + body)
            self.socket.setblocking(False)
        except OSError:
            pass  # gone meanwhile: epoll tells that too


class _Server:
    """Serves for ever. ``limit`` 0 is none."""

    def __init__(self, listener: socket.socket, delay_s: float, limit: int) -> None:
        self._listener, self._delay_s, self._limit = listener, delay_s, limit
        self._epoll = select.epoll()
        self._epoll.register(listener, select.EPOLLIN)
        self._connections: dict[int, _Connection] = {}
        self._due: deque[tuple[float, _Connection, bytes]] = deque()
        self._awaited: list[tuple[int, _Connection]] = []
        self._tally = _Tally()

    def serve(self) -> None:
        while True:
            self._answer_due()
            timeout_s = max(self._due[0][0] - time.monotonic(), 0) if self._due else -1
            for descriptor, _ in self._epoll.poll(timeout_s):
                if descriptor == self._listener.fileno():
                    self._accept()
                else:
                    self._receive(descriptor)

    def _accept(self) -> None:
        accepted, _ = self._listener.accept()
        accepted.setblocking(False)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._connections[accepted.fileno()] = _Connection(accepted)
        self._epoll.register(accepted, select.EPOLLIN)

    def _receive(self, descriptor: int) -> None:
        connection = self._connections[descriptor]
        try:
            received = connection.socket.recv(1 << 16)
        except OSError:
            received = b""
        if not received:
            del self._connections[descriptor]
            self._epoll.unregister(descriptor)
            connection.socket.close()
            return
        connection.received += received
        while (request := _first_request(connection)) is not None:
            self._take(connection, request)

    def _take(self, connection: _Connection, request: bytes) -> None:
        if request.startswith(b"PUT "):
            self._put(connection, request)
        elif request.startswith(b"GET /tally "):
            connection.answer(200, self._tally.told())
        elif request.startswith(b"GET /await/"):
            self._awaited.append((int(request[11 : request.index(b" ", 11)]), connection))
            self._tell_who_awaits()
        else:
            connection.answer(200, b'{"scores": []}')

    def _put(self, connection: _Connection, request: bytes) -> None:
        now, tally = time.monotonic(), self._tally
        if self._limit and tally.in_flight >= self._limit:
            tally.count(429, now)
            connection.answer(429, b"{}")
            return
        tally.count(200, now)
        number = _NUMBER.search(request)
        if number is not None:
            tally.first_at.setdefault(int(number[1]), now)
        tally.in_flight += 1
        tally.most_in_flight = max(tally.most_in_flight, tally.in_flight)
        body = b'{"uuid": "%08x-0000-4000-8000-000000000000"}' % tally.answers[200]
        self._due.append((now + self._delay_s, connection, body))
        if not self._delay_s:
            self._answer_due()
        if self._awaited:
            self._tell_who_awaits()

    def _answer_due(self) -> None:
        while self._due and self._due[0][0] <= time.monotonic():
            _, connection, body = self._due.popleft()
            self._tally.in_flight -= 1
            connection.answer(200, body)

    def _tell_who_awaits(self) -> None:
        came = len(self._tally.first_at)
        for count, connection in self._awaited:
            if came >= count:
                connection.answer(200, b"{}")
        self._awaited = [(count, connection) for count, connection in self._awaited if came < count]


def _first_request(connection: _Connection) -> bytes | None:
    """The first whole request of what was received, taken from it; None until it is whole."""
    end = connection.received.find(b"\r\n\r\n")
    if end < 0:
        return None
    length = _LENGTH.search(connection.received, 0, end)
    end += 4 + (int(length[1]) if length is not None else 0)
    if len(connection.received) < end:
        return None
    request, connection.received = connection.received[:end], connection.received[end:]
    return request


@dataclass(frozen=True, slots=True)
class Tally:
    """What came to a sink."""

    first_at: dict[int, float]
    """When each score came for the first time, by its number, in seconds of CLOCK_MONOTONIC."""
    answers: dict[int, int]
    """How many answers, by status."""
    seconds: list[dict[int, int]]
    """The same for each second since the first request."""
    most_in_flight: int

    @property
    def twice(self) -> int:
        """Requests for a score that had come before."""
        return self.answers.get(200, 0) - len(self.first_at)


@dataclass(frozen=True, slots=True)
class Sink:
    """A sink that runs in a process of its own."""

    url: str

    def tally(self) -> Tally:
        told = json.loads(self._get("/tally", PATIENCE_S))
        return Tally(
            {int(number): float(at) for number, at in told["first_at"]},
            _by_status(told["answers"]),
            [_by_status(second) for second in told["seconds"]],
            int(told["most_in_flight"]),
        )

    def wait(self, count: int, patience_s: float) -> bool:
        """Did ``count`` scores come, before ``patience_s`` was over?"""
        try:
            self._get(f"/await/{count}", patience_s)
        except TimeoutError:
            return False
        return True

    def _get(self, path: str, timeout_s: float) -> bytes:
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=max(timeout_s, 0.001))
        try:
            connection.request("GET", path)
            return connection.getresponse().read()
        finally:
            connection.close()


def _by_status(counts: dict[str, int]) -> dict[int, int]:
    return {int(status): count for status, count in counts.items()}


@contextmanager
def sink(delay_s: float = 0.0, limit: int = 0) -> Iterator[Sink]:
    """A sink, until the block ends. ``limit``: how many may be in flight before it answers 429; 0 is any number."""
    command = [sys.executable, "-m", "benchmarks.sink", "--delay-ms", str(delay_s * 1000), "--limit", str(limit)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield Sink(f"http://{HOST}:{int(process.stdout.readline())}")
        finally:
            process.terminate()


def alone_per_s(requests: int) -> float:
    """How many requests a second the sink answers, when all that its clients do is send the same bytes again."""
    with sink() as found:
        address = urlsplit(found.url)
        senders = [socket.create_connection((HOST, address.port or 80)) for _ in range(SENDERS)]
        body = b'{"scoreData": {"value": 0}}'
        request = b"PUT %s HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (PUT_PATH.encode(), len(body)) + body
        return _rate(requests // SENDERS, lambda: _exchange(senders, request)) * SENDERS


def _exchange(senders: list[socket.socket], request: bytes) -> None:
    for sender in senders:
        sender.send(request)
    for sender in senders:
        sender.recv(1 << 16)


def _rate(times: int, do: Callable[[], None]) -> float:
    started_s = time.monotonic()
    for _ in range(times):
        do()
    return times / (time.monotonic() - started_s)


def main() -> None:
    parser = argparse.ArgumentParser(description="An API that is never the limit. The first line says its port.")
    parser.add_argument("--delay-ms", type=float, default=0.0)
    parser.add_argument("--limit", type=int, default=0, help="429 above so many in flight")
    arguments = parser.parse_args()
    with socket.create_server((HOST, 0), backlog=1024) as listener:
        print(listener.getsockname()[1], flush=True)
        _Server(listener, arguments.delay_ms / 1000, arguments.limit).serve()


if __name__ == "__main__":
    main()
