"""An API that never comes to an end: whatever it drips, a request is over in bounded time, and the worker free."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from canarysync.errors import Exit
from tests.support import make_site, score


def head() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX-Endless: "
    while True:
        yield b"x"


def continues() -> Iterator[bytes]:
    while True:
        yield b"HTTP/1.1 100 Continue\r\n\r\n"


def body() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
    while True:
        yield b" "


def chunks() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"1\r\n \r\n"


def chunk_size() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    while True:
        yield b"0"


@contextmanager
def dripping(drops: Callable[[], Iterator[bytes]]) -> Iterator[str]:
    """A server that answers every request with ``drops``, one every 20 ms, until the client goes."""
    stopped = threading.Event()

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                connection.recv(65536)
                for drop in drops():
                    connection.sendall(drop)
                    if stopped.wait(0.02):
                        return
            except OSError:
                return

    def accept(server: socket.socket) -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=accept, args=(server,), daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            stopped.set()


@pytest.mark.timeout(60)
@pytest.mark.parametrize("drops", [head, continues, body, chunks, chunk_size])
@pytest.mark.parametrize("secret", ["api_key", "token"])
def test_a_request_ends(tmp_path: Path, drops: Callable[[], Iterator[bytes]], secret: str) -> None:
    """With an API key it is the exchange that drips, with a ready token the upload itself."""
    with dripping(drops) as url:
        more = {}
        if secret == "token":
            (tmp_path / "token").write_text("a-token")
            more = {"api__api_key": None, "api__token": {"file": "token"}}
        site = make_site(tmp_path, url, api__timeout__read="200ms", api__timeout__connect="100ms", **more)
        site.put("visit.json", score(1))
        assert site.once().exit_code() == Exit.TRY_AGAIN
        assert site.waiting() == ["visit.json"]
