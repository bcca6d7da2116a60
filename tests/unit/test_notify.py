"""What systemd gets to hear, over real sockets (sd_notify(3))."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from canarysync import notify
from canarysync.daemon.standing import Heartbeat
from canarysync.notify import Notifier


@contextmanager
def manager(address: str) -> Iterator[socket.socket]:
    """The end of the service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line:
        line.bind(address)
        line.settimeout(5)
        yield line


def test_a_socket_with_a_path_is_told(tmp_path: Path) -> None:
    with manager(str(tmp_path / "notify")) as line:
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).tell(READY="1", STATUS="two\nlines")
        assert line.recv(4096) == b"READY=1\nSTATUS=two lines\n"


def test_an_abstract_socket_is_told(tmp_path: Path) -> None:
    name = f"canarysync-test{tmp_path}"
    with manager("\0" + name) as line:
        Notifier({"NOTIFY_SOCKET": "@" + name}).tell(STOPPING="1")
        assert line.recv(4096) == b"STOPPING=1\n"


def test_a_reload_begins_at_a_time(tmp_path: Path) -> None:
    with manager(str(tmp_path / "notify")) as line:
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}).reloading()
        reloading, at = line.recv(4096).decode().splitlines()
    assert reloading == "RELOADING=1"
    assert before <= int(at.removeprefix("MONOTONIC_USEC=")) <= time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000


@pytest.mark.parametrize("path", ["", "/nowhere/notify", "vsock:2:1234", "notify"])
def test_nobody_listening_is_no_trouble(path: str) -> None:
    Notifier({"NOTIFY_SOCKET": path} if path else {}).tell(READY="1")


@pytest.mark.parametrize(
    ("variables", "seconds"),
    [
        ({"WATCHDOG_USEC": "3000000"}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": str(os.getpid())}, 3.0),
        ({"WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"WATCHDOG_USEC": "0"}, None),
        ({"WATCHDOG_USEC": "soon"}, None),
        ({}, None),
    ],
)
def test_the_watchdog_is_fed_by_whom_it_watches(variables: dict[str, str], seconds: float | None) -> None:
    assert Notifier({"NOTIFY_SOCKET": "@nobody", **variables}).watchdog_s == seconds
    assert Notifier(variables).watchdog_s is None


def test_a_queue_that_is_full_is_waited_for_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop tells while it works: it must not go on at the pace of a manager that is stuck."""
    monkeypatch.setattr(notify, "_SEND_S", 0.1)
    with manager(str(tmp_path / "notify")) as line:
        notifier = Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")})
        while notifier.tell(STATUS="full"):
            pass
        monkeypatch.setattr(notify, "_SEND_S", 60.0)
        started_s = time.monotonic()
        assert not notifier.tell(STATUS="full")
        assert time.monotonic() - started_s < 30.0

        line.recv(4096)
        assert notifier.tell(STATUS="room")


def test_ready_is_said_until_it_arrives(tmp_path: Path) -> None:
    """Without it systemd would end the start, and everything with it."""
    heart = Heartbeat(Notifier({"NOTIFY_SOCKET": str(tmp_path / "notify")}))
    heart.beat(0.0, ready=True, alive=True, words=lambda: "at work")
    with manager(str(tmp_path / "notify")) as line:
        heart.beat(5.0, ready=True, alive=True, words=lambda: "at work")
        assert line.recv(4096) == b"STATUS=at work\nREADY=1\n"
    heart.reloaded()
    (tmp_path / "notify").unlink()
    with manager(str(tmp_path / "notify")) as line:
        heart.beat(6.0, ready=True, alive=True, words=lambda: "at work")
        assert line.recv(4096) == b"STATUS=at work\nREADY=1\n"
