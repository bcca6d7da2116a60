"""HTTP/1.1 on a listening socket: reads requests, writes answers, and can end every connection at once."""

from __future__ import annotations

import socket
import socketserver
import struct
import sys
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from canarysync.sandbox.wire import Answer, Delivery, Request, error_answer

MAX_BODY_BYTES = 16 * 2**20
_STOP_CHECK_S = 0.02
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Listener(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """A thread per connection; connections are kept alive. ``respond`` is called from many at once."""

    daemon_threads = True
    allow_reuse_address = True  # restart on the same port while old connections linger in TIME_WAIT
    request_queue_size = 256

    def __init__(self, host: str, port: int, respond: Callable[[Request], Answer], connected: Callable[[], None]):
        """Binds and listens (OSError). ``connected`` is told of every connection."""
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.respond = respond
        self._connected = connected
        self._open: set[Any] = set()
        self._changed = threading.Condition()
        super().__init__((host, port), _Connection)

    @property
    def port(self) -> int:
        """The port that is listened on, also where 0 left the choice to the system."""
        port: int = self.server_address[1]
        return port

    def start(self) -> None:
        """Accepts connections, on a thread of its own."""
        threading.Thread(target=self.serve_forever, args=(_STOP_CHECK_S,), daemon=True).start()

    def stop(self) -> None:
        """Stops listening, ends every connection, and returns when no thread works on a request any more."""
        self.shutdown()
        self.server_close()
        with self._changed:
            for connection in self._open:
                _hang_up(connection)
            self._changed.wait_for(lambda: not self._open)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Notes a new connection before its thread starts, so that ``stop`` misses none."""
        with self._changed:
            self._open.add(request)
        self._connected()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Notes the end of a connection, on its own thread."""
        super().shutdown_request(request)
        with self._changed:
            self._open.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is none of our errors; anything else is a defect, and is shown."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    """One connection, and the requests on it, one after the other."""

    server: Listener
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_PUT(self) -> None:
        """Answers one request, of any method."""
        body = self._read_body()
        if body is None:
            return
        path = self.path.partition("?")[0]
        headers = {name.lower(): value for name, value in self.headers.items()}
        self._send(self.server.respond(Request(self.command, path, headers, body)))

    do_GET = do_POST = do_PUT

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answers a request that cannot be read, and closes: nobody knows where the next one begins."""
        self.close_connection = True
        self._send(error_answer(code, HTTPStatus(code).phrase))

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing: paths name assessments. ``respond`` keeps the log."""

    def _read_body(self) -> bytes | None:
        """The whole body; None if there is no request to answer (any more)."""
        length = self.headers.get("Content-Length", "0")
        if "Transfer-Encoding" in self.headers:
            self.send_error(HTTPStatus.LENGTH_REQUIRED)
        elif not length.isdecimal():
            self.send_error(HTTPStatus.BAD_REQUEST)
        elif len(length) > 12 or int(length) > MAX_BODY_BYTES:
            self.send_error(HTTPStatus.REQUEST_ENTITY_TOO_LARGE)
        else:
            body = self.rfile.read(int(length))
            if len(body) == int(length):
                return body
            self.close_connection = True  # the client went away in the middle
        return None

    def _send(self, answer: Answer) -> None:
        if answer.delivery is not Delivery.WHOLE:
            self.close_connection = True
        match answer.delivery:
            case Delivery.WHOLE:
                self.wfile.write(self._head(answer) + answer.body)  # one write: one packet
            case Delivery.CUT:
                self.wfile.write(self._head(answer) + answer.body[: len(answer.body) // 2])
            case Delivery.RESET:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
                self.connection.close()  # now, since an orderly shutdown would send a FIN first

    def _head(self, answer: Answer) -> bytes:
        lines = [
            f"HTTP/1.1 {answer.status} {_phrase(answer.status)}",
            f"Date: {self.date_time_string()}",
            f"Content-Type: {answer.content_type}",
            f"Content-Length: {len(answer.body)}",
            *(f"{name}: {value}" for name, value in answer.headers),
            *(["Connection: close"] if self.close_connection else []),
        ]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _phrase(status: int) -> str:
    """The reason phrase; empty for a status that has none (RFC 9112 §4 allows that)."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _hang_up(connection: socket.socket) -> None:
    """Wakes the thread that reads from a connection; its client may have closed it before."""
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return
