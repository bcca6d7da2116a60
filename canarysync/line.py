"""Plain values from one process of ours to another, over a socket: each as its length and its marshalled bytes."""

from __future__ import annotations

import marshal
import socket
import struct
import threading
from typing import Any

_LENGTH = struct.Struct("!I")
_CHUNK_BYTES = 256 << 10


class Line:
    """One end of a connection. Many threads may send, while one receives."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self._sending = threading.Lock()
        self._heard = bytearray()

    def send(self, value: Any) -> None:
        """Raises OSError where nobody is at the other end."""
        content = marshal.dumps(value)
        with self._sending:
            self.socket.sendall(_LENGTH.pack(len(content)) + content)

    def receive(self) -> list[Any]:
        """Wait for the next value, and return it with those that have come as a whole behind it. Raises EOFError at
        the end, TimeoutError where the socket has a limit."""
        values: list[Any] = []
        while not values:
            self._heard += self._more()
            values = self._whole_values()
        return values

    def _more(self) -> bytes:
        try:
            chunk = self.socket.recv(_CHUNK_BYTES)
        except TimeoutError:
            raise
        except OSError:  # reset: nobody is there any more
            chunk = b""
        if not chunk:
            raise EOFError
        return chunk

    def _whole_values(self) -> list[Any]:
        heard, values, at = self._heard, [], 0
        while len(heard) >= (start := at + _LENGTH.size):
            end = start + _LENGTH.unpack_from(heard, at)[0]
            if len(heard) < end:
                break
            with memoryview(heard) as view:
                values.append(marshal.loads(view[start:end]))
            at = end
        del heard[:at]
        return values
