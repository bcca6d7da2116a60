"""SIGTERM and SIGINT drain, SIGHUP reloads, SIGABRT tells where it stands."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType


def on_signals(stop: Callable[[int], None], reload: Callable[[], None] | None) -> None:
    """Call ``stop`` on SIGTERM and SIGINT; a second SIGINT ends at once, as a crash would: the ledger allows for it.

    Call ``reload``, where there is any, on SIGHUP. That also comes from a terminal that goes away: then a daemon that
    was started on it ends as well, unless it was told not to (nohup).

    SIGABRT comes from systemd's watchdog: every thread's place in the code goes to stderr, and no value.
    """

    def ending(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        stop(number)

    if sys.stderr is not None:  # some start us without one
        faulthandler.enable()
    signal.signal(signal.SIGTERM, ending)
    signal.signal(signal.SIGINT, ending)
    if reload is None:
        return
    ends_with_terminal = _has_terminal() and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN

    def hung_up(number: int, frame: FrameType | None) -> None:
        if ends_with_terminal and not _has_terminal():
            stop(number)
        else:
            reload()

    signal.signal(signal.SIGHUP, hung_up)


def _has_terminal() -> bool:
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC))
    except OSError:
        return False
    return True
