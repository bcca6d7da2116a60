"""A small HTTP server for a few pages that are made when they are asked for. It can hold up nobody but itself."""

from __future__ import annotations

import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from canarysync.deadlines import Deadlines
from canarysync.errors import IoTrouble, SetupError, no_thread
from canarysync.logs import event, where

_log = logging.getLogger(__name__)

CONNECTIONS_MOST = 8
"""So many clients are served at a time; another is hung up on, and tries again."""

CONNECTION_MOST_S = 10.0
"""However slowly a client sends or reads, its connection ends after so long."""


class Page(NamedTuple):
    """What is sent: ``body`` with its status and type."""

    status: int
    kind: str
    body: bytes


Pages = Mapping[str, Callable[[], Page]]


@contextmanager
def serving(host: str, port: int, pages: Pages) -> Iterator[str]:
    """Serve ``pages`` by their paths, from threads of its own; gives the url. ``port`` 0 takes a free one.

    Raises SetupError for an address that we may not have, IoTrouble for one that is taken now.
    """
    with _server(host, port, pages) as server:
        try:
            thread = threading.Thread(target=server.serve, name="listener", daemon=True)
            thread.start()
        except RuntimeError as error:
            raise no_thread(error) from None
        try:
            yield f"http://{f'[{host}]' if ':' in host else host}:{server.server_address[1]}"
        finally:
            server.end()
            thread.join()


def _server(host: str, port: int, pages: Pages) -> _Server:
    try:
        return _Server(host, port, pages)
    except PermissionError as error:
        hint = "ports below 1024 are for root: choose another for metrics.listen"
        raise SetupError("listen for metrics on", f"{host}:{port}", error.strerror or "", hint) from None
    except OSError as error:  # in use, or an address that this machine does not have (yet)
        hint = f"who has it? ss -ltnp 'sport = :{port}'; or change metrics.listen"
        raise IoTrouble("listen for metrics on", f"{host}:{port}", error.strerror or "", hint) from None


class _Server(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread for each connection, of which there are few."""

    daemon_threads = True
    allow_reuse_address = True  # after a restart, over what lingers in TIME_WAIT

    def __init__(self, host: str, port: int, pages: Pages) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.pages = pages
        self._ended = False
        self._free = threading.Semaphore(CONNECTIONS_MOST)
        self._deadlines = Deadlines()
        super().__init__((host, port), _Connection)

    def serve(self) -> None:
        """Until the ``end``. Unlike ``serve_forever`` it sleeps while nobody comes, and looks for nothing meanwhile."""
        while not self._ended:
            self.handle_request()

    def end(self) -> None:
        """Wake ``serve`` for the last time: a socket that is shut down has something to say."""
        self._ended = True
        with suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)

    def get_request(self) -> Any:
        try:
            return super().get_request()
        except OSError:  # no file handle left, say: the caller would try again at once, and for ever
            if not self._ended:
                time.sleep(1.0)
            raise

    def verify_request(self, request: Any, client_address: Any) -> bool:
        return self._free.acquire(blocking=False)

    def process_request(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request(request, client_address)
        except RuntimeError:  # no thread to be had
            self._free.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            with self._deadlines.within(CONNECTION_MOST_S, lambda: _hang_up(request)):
                super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none of our errors; anything else is a defect."""
        error = sys.exception()
        if error is not None and not isinstance(error, OSError):
            event(_log, logging.ERROR, "defect", thread="listener", error=where(error))


class _Connection(BaseHTTPRequestHandler):
    """One connection with one request."""

    server: _Server
    timeout = CONNECTION_MOST_S
    server_version, sys_version = "canarysync", ""

    def do_GET(self) -> None:
        make = self.server.pages.get(self.path.partition("?")[0])
        self._send(make() if make else _text(404, f"There is only {' and '.join(self.server.pages)} here."))

    do_HEAD = do_GET

    def _refuse(self) -> None:
        self._send(_text(405, "GET and HEAD only."), Allow="GET, HEAD")

    do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = _refuse

    def _send(self, page: Page, **headers: str) -> None:
        self.send_response(page.status)
        fixed = {"Content-Type": page.kind, "Content-Length": str(len(page.body)), "Cache-Control": "no-store"}
        for name, value in (fixed | headers).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(page.body)

    def log_message(self, format: str, *arguments: Any) -> None:
        """Nothing: a scrape is no event that matters."""


def _text(status: int, words: str) -> Page:
    return Page(status, "text/plain; charset=utf-8", f"{words}\n".encode())


def _hang_up(connection: socket.socket) -> None:
    with suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
