"""Connections that urllib3 opens, and over which http.client makes requests from the second one on."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import urllib3

from canarysync.trust import Trust


class UnderWay:
    """The request that this thread makes from now on: whom it trusts, and over which connection it goes, once that is
    known."""

    __slots__ = ("connection", "trust")

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self.connection: urllib3.connection.HTTPConnection | None = None
        _this_thread.request = self

    def cut(self) -> None:
        """End whatever is going on there: a thread that waits for the server gets an error."""
        socket_ = getattr(self.connection, "sock", None)
        socket_ = getattr(socket_, "socket", socket_)  # TLS within the TLS to a proxy is no socket, but has one
        with suppress(OSError):
            if socket_ is not None:
                socket_.shutdown(socket.SHUT_RDWR)


_this_thread = threading.local()  # .request: the UnderWay of what it is making


class Connection(urllib3.connection.HTTPConnection):
    """A connection that says by whom it is used, and sends a request as a whole: head and body in one packet."""

    _parts: list[bytes] | None = None

    putheader = http.client.HTTPConnection.putheader  # urllib3's looks for what only it puts there

    def connect(self) -> None:
        _this_thread.request.connection = self
        super().connect()

    def request(self, *arguments: Any, **more: Any) -> None:
        with self._as_a_whole():
            super().request(*arguments, **more)

    def again(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], timeout_s: float
    ) -> http.client.HTTPResponse:
        """One more request, while it is connected: without what urllib3 does for each, which takes longer than the
        request itself. Raises OSError and http.client.HTTPException."""
        self.sock.settimeout(timeout_s)
        with suppress(BrokenPipeError), self._as_a_whole():  # perhaps it was answered before it was read
            http.client.HTTPConnection.request(self, method, path, body, headers)
        return http.client.HTTPConnection.getresponse(self)

    @contextmanager
    def _as_a_whole(self) -> Iterator[None]:
        _this_thread.request.connection = self
        parts: list[bytes] = []
        self._parts = parts
        try:
            yield
        finally:
            self._parts = None
        self.send(b"".join(parts))

    def send(self, data: Any) -> None:
        if self._parts is None:
            super().send(data)
        else:
            self._parts.append(data)


class TlsConnection(Connection, urllib3.connection.HTTPSConnection):
    """The same over TLS."""

    def connect(self) -> None:
        """With the one context, to the proxy too, instead of one that reads all the authorities anew."""
        self.ssl_context, self.ca_certs = _this_thread.request.trust.context(), None
        if self.proxy_config is not None:
            self.proxy_config = self.proxy_config._replace(ssl_context=self.ssl_context)
        super().connect()
