"""Whose certificates are accepted: one TLS context for all connections, made anew when its file has changed."""

from __future__ import annotations

import os
import ssl

from urllib3.util import create_urllib3_context


class Trust:
    """The authorities in a file (PEM). To read them costs more than a hundred requests, and holds 700 KB."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._known: tuple[tuple[int, int, int], ssl.SSLContext] | None = None

    def context(self) -> ssl.SSLContext:
        """The context for a new connection; where the file is no good any more, the last one that was. Raises OSError
        (SSLError where there is no certificate in it) if it never was any good."""
        known = self._known
        try:
            seen = os.stat(self.path)
            version = (seen.st_mtime_ns, seen.st_size, seen.st_ino)
            if known is None or known[0] != version:
                known = self._known = version, _trusting(self.path)
        except OSError:
            if known is None:
                raise
        return known[1]


def _trusting(path: str) -> ssl.SSLContext:
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    context.load_verify_locations(cafile=path)
    return context
