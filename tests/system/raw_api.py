"""An API on loopback that can answer with any bytes at any time, and what is true of it in the end."""

from __future__ import annotations

import itertools
import json
import socket
import socketserver
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from tests.support import Site

HANG_UP = b""


@dataclass(frozen=True)
class Asked:
    """One request; ``connection`` counts from 1."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    socket: socket.socket

    @property
    def endpoint(self) -> str:
        return {"PUT": "put", "GET": "scores"}.get(self.method, "token")

    @property
    def assessment(self) -> str:
        return self.path.split("/")[4]


Says = Callable[[Asked], Iterable[bytes] | None]


def honest(asked: Asked) -> None:
    """Every request gets its due."""


class RawApi(socketserver.ThreadingTCPServer):
    """An honest API on loopback, except where ``says`` has other bytes; an empty piece among them hangs up."""

    daemon_threads = True

    def __init__(self, says: Says = honest) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.says = says
        self.asked: list[Asked] = []
        self.scores: list[tuple[str, str, bytes]] = []
        self.connections = itertools.count(1)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def __enter__(self) -> RawApi:
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that had enough is what these tests are about."""

    def carry_out(self, asked: Asked) -> bytes:
        """Do what is asked, honestly; the body of the answer."""
        if asked.endpoint == "token":
            return b'{"accessToken": "access-secret"}'
        if asked.endpoint == "put":
            taken = str(uuid.uuid4())
            self.scores.append((taken, asked.assessment, asked.body))
            return json.dumps({"uuid": taken}).encode()
        listed = [json.loads(body) | {"uuid": u} for u, where, body in self.scores if where == asked.assessment]
        return json.dumps({"scores": listed}).encode()

    def count(self, endpoint: str) -> int:
        return sum(asked.endpoint == endpoint for asked in self.asked)

    @property
    def stored(self) -> list[tuple[str, bytes]]:
        """As tests.support.stored gives it for the sandbox."""
        return [(found, where.encode() + body) for found, where, body in self.scores]


class _Connection(socketserver.StreamRequestHandler):
    server: RawApi
    disable_nagle_algorithm = True

    def handle(self) -> None:
        number = next(self.server.connections)
        while (asked := self._asked(number)) is not None:
            self.server.asked.append(asked)
            pieces = self.server.says(asked)
            for piece in plain(self.server.carry_out(asked)) if pieces is None else pieces:
                if piece == HANG_UP:
                    return
                self.wfile.write(piece)

    def _asked(self, number: int) -> Asked | None:
        method, _, rest = self.rfile.readline().decode("latin-1").partition(" ")
        headers = {}
        while (line := self.rfile.readline().decode("latin-1").strip()) != "":
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length", 0)))
        return Asked(method, rest.partition(" ")[0], headers, body, number, self.connection) if method else None


def plain(body: bytes, *headers: bytes, status: bytes = b"200 OK") -> Iterator[bytes]:
    """A well-formed answer."""
    length = b"Content-Length: %d" % len(body)
    yield b"\r\n".join([b"HTTP/1.1 " + status, b"Content-Type: application/json", length, *headers, b"", b""])
    if body:
        yield body


def assert_all_there_once(site: Site, api: RawApi, names: list[str]) -> None:
    site.assert_all_done_once(names, api.stored)
    for name in names:
        receipt = site.receipt(name)
        (body,) = (body for found, _, body in api.scores if found == receipt["uuid"])
        sent = json.loads(body) | {"assessmentId": receipt["assessmentId"]}
        assert sent == json.loads((site.done / name).read_bytes()), "the uuid is that of this very file's score"
