"""What systemd is told (sd_notify(3)): one datagram for each piece of news. Without $NOTIFY_SOCKET, nothing."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

from canarysync.logs import event

_log = logging.getLogger(__name__)

_SEND_S = 1.0
"""So long a datagram may wait for room in systemd's queue: the loop must not hang on who watches it."""


class Notifier:
    """Tells the service manager. ``watchdog_s``: how often at least it wants to hear WATCHDOG=1; None for never."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        path = environment.get("NOTIFY_SOCKET", "")
        # "@" stands for the zero byte of an abstract address (unix(7)). Anything else (vsock:) is for virtual machines.
        self._address = "\0" + path[1:] if path.startswith("@") else path if path.startswith("/") else ""
        self.watchdog_s = _watchdog_s(environment) if self._address else None
        self._in_trouble = False

    @property
    def listening(self) -> bool:
        """Whether anybody is there to be told."""
        return bool(self._address)

    def tell(self, **variables: str) -> bool:
        """Send ``NAME=value`` lines as one message, and say whether it went. A failure is logged once; until one gets
        through again, none is waited for."""
        if not self._address:
            return False
        message = "".join(f"{name}={' '.join(value.splitlines())}\n" for name, value in variables.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
                line.settimeout(0.0 if self._in_trouble else _SEND_S)
                line.sendto(message.encode("utf-8", "backslashreplace"), self._address)
            self._in_trouble = False
        except OSError as error:
            if not self._in_trouble:
                event(_log, logging.WARNING, "cannot notify systemd", what=", ".join(variables), why=str(error))
            self._in_trouble = True
        return not self._in_trouble

    def reloading(self) -> None:
        """A reload begins. The time tells systemd which READY=1 is its end (Type=notify-reload)."""
        self.tell(RELOADING="1", MONOTONIC_USEC=str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000))


def _watchdog_s(environment: Mapping[str, str]) -> float | None:
    """$WATCHDOG_USEC in seconds, if it is meant for this process: a child would inherit the variables."""
    usec = environment.get("WATCHDOG_USEC", "")
    ours = environment.get("WATCHDOG_PID") in (None, str(os.getpid()))
    return int(usec) / 1e6 if ours and usec.isdecimal() and int(usec) > 0 else None
