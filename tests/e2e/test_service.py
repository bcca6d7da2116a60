"""The service as systemd and its operator know it: ready, alive, reloading, stopping; and a share that hangs."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from canarysync.sandbox import Sandbox
from tests.deadfs import dead, needs_dead_mounts
from tests.support import PATIENCE_S, Site, make_routes, score, stored, wait_for

HASTY = """
from canarysync.daemon import desks, loop, roster, visits
for module in (desks, loop, roster, visits):
    module.SLOW_S, module.HANG_S, module.OPEN_S, module.READY_S, module.GONE_RESCAN_S = 0.2, 0.6, 0.3, 1.0, 0.2
"""
"""The real program with less patience, so that tests need not have it."""

STUCK = """
import threading
from canarysync import examine
examine.open_safely = lambda *_: threading.Event().wait()
"""
"""A deadlock of our own, while all folders are well."""

MAIN = "from canarysync.cli import main; main()"


class Manager:
    """The end of systemd: what it is told, in order, a variable at a time, each with the time when it came."""

    def __init__(self, line: socket.socket) -> None:
        self._line = line
        self.told: list[tuple[float, str]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while message := self._line.recv(65536).decode():
            self.told += [(time.monotonic(), line) for line in message.splitlines()]

    def was_told(self, *words: str, since: int = 0) -> bool:
        """Whether the words came, in this order, each as a part of a line."""
        lines = iter([line for _, line in self.told[since:]])
        return all(any(word in line for line in lines) for word in words)

    def count(self, word: str, since: int = 0) -> int:
        return sum(word in line for _, line in self.told[since:])

    def mark(self) -> int:
        """Where all that was sent until now ends."""
        word = f"MARK={uuid.uuid4()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as own:
            own.sendto(word.encode(), self._line.getsockname())
        wait_for(lambda: self.was_told(word), "our own word")
        return [line for _, line in self.told].index(word) + 1


@contextmanager
def running(site: Site, *patches: str) -> Iterator[tuple[subprocess.Popen[str], Manager]]:
    """The service, with somebody to notify."""
    name = f"canarysync-test-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as line, (site.home / "log").open("a") as log:
        line.bind("\0" + name)
        environment = {**os.environ, "NOTIFY_SOCKET": "@" + name, "WATCHDOG_USEC": "200000"}
        command = [sys.executable, "-c", "".join((*patches, MAIN)), "run", "-c", str(site.config_path)]
        process = subprocess.Popen(command, stdout=log, stderr=log, text=True, env=environment)
        try:
            yield process, Manager(line)
        finally:
            process.kill()
            process.wait()
            line.shutdown(socket.SHUT_RDWR)


def put(site: Site, route: str, number: int, content: str = "") -> None:
    (site.home / route / "drop" / f"visit-{number}.json").write_text(content or json.dumps(score(number)))


def is_done(site: Site, route: str, number: int) -> bool:
    return (site.home / route / "done" / f"visit-{number}.json").exists()


def test_systemd_is_told_how_it_stands(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_routes(tmp_path, sandbox.url, "a", "b")
    with running(site) as (process, manager):
        wait_for(lambda: manager.was_told("READY=1", "WATCHDOG=1", "WATCHDOG=1"), "a service that is ready, and alive")
        assert manager.was_told("STATUS=watching 2 routes; nothing waits")
        assert site.log().count(" watching ") == 2, "it was not ready before"
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED)
        stopped = manager.mark()
        time.sleep(0.4)  # four times as long as it lets pass: whoever is stopped feeds no watchdog
        assert manager.count("WATCHDOG", stopped) == 0
        process.send_signal(signal.SIGCONT)
        wait_for(lambda: manager.count("WATCHDOG", stopped), "a sign of life")
        sandbox.stop()
        put(site, "a", 1)
        wait_for(lambda: manager.was_told("1 waits; the API cannot be used since 2"), "the outage")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
        assert manager.was_told("STOPPING=1", "STATUS=stopping")
    assert manager.count("READY=1") == 1


def test_a_reload_leaves_alone_what_did_not_change(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_routes(tmp_path, sandbox.url, "stays", "goes", "moves")
    with running(site) as (process, manager):
        wait_for(lambda: manager.was_told("READY=1"), "a service that is ready")
        sandbox.faults.add("put:delay_after,delay=0.5")
        for route, number in (("stays", 1), ("goes", 2), ("moves", 3)):
            put(site, route, number)
        wait_for(lambda: len(sandbox.scores) == 3, "uploads under way")
        make_routes(tmp_path, sandbox.url, "stays", "comes")
        text = site.config_path.read_text() + "  - {folder: moves, name: moved, rescan: 1s}\n"
        site.config_path.write_text(text + "log: {format: json}\n")
        put(site, "comes", 4)
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: manager.was_told("READY=1", "RELOADING=1", "MONOTONIC_USEC=", "READY=1"), "the reload")
        for route, number in (("stays", 1), ("goes", 2), ("moves", 3), ("comes", 4)):
            wait_for(partial(is_done, site, route, number), f"the file of {route}")
        put(site, "moves", 5)
        put(site, "goes", 6)
        wait_for(lambda: is_done(site, "moves", 5), "a file in the folder that has another name now")
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    assert not is_done(site, "goes", 6)
    assert len(stored(sandbox)) == 5
    assert sum("watching" in line and "stays" in line for line in site.log().splitlines()) == 1, "it was opened once"
    assert "cannot take the lock" not in site.log(), "one that comes waits for one that leaves"
    assert '"added": "comes, moved", "removed": "goes, moves"' in site.log()


def test_a_config_with_errors_is_refused_and_the_old_one_stays(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_routes(tmp_path, sandbox.url, "a")
    good = site.config_path.read_text()
    with running(site) as (process, manager):
        wait_for(lambda: manager.was_told("READY=1"), "a service that is ready")
        for bad, *told in (
            (good + "colour: red\nlog: {level: loud}\n", "`colour` is not a known key", "at=/log/level"),
            (good.replace("state: state", "state: elsewhere"), "it needs a restart: state"),
            (good.replace("file: key", "file: nowhere"), "nowhere"),
        ):
            site.config_path.write_text(bad)
            since = len(manager.told)
            process.send_signal(signal.SIGHUP)
            wait_for(partial(manager.was_told, "RELOADING=1", "READY=1", since=since), "an answer")
            assert "the reload was refused" in site.log()
            for word in told:
                assert word in site.log()
        wait_for(lambda: manager.was_told("the last reload was refused"), "a word on it")
        put(site, "a", 1)
        wait_for(lambda: is_done(site, "a", 1), "the work to go on")
        site.config_path.write_text(good)
        process.send_signal(signal.SIGHUP)
        wait_for(lambda: "refused" not in [line for _, line in manager.told if "STATUS" in line][-1], "better news")


@needs_dead_mounts
def test_a_share_that_hangs_holds_up_neither_the_others_nor_the_end(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_routes(tmp_path, sandbox.url, "a", "b", concurrency=2)
    with running(site, HASTY) as (process, manager):
        wait_for(lambda: manager.was_told("READY=1"), "a service that is ready")
        for number in range(4):  # they wait out the quiet period, and are looked at again
            put(site, "a", number, "{}")
        wait_for(lambda: manager.was_told("4 wait"), "the visits to come")
        with dead(site.home / "a" / "drop"):
            wait_for(lambda: "route hangs: its folder has not answered" in site.log(), "the trouble to be noticed")
            for number in range(10, 15):
                put(site, "b", number)
            wait_for(lambda: all(is_done(site, "b", number) for number in range(10, 15)), "the other route's files")
            wait_for(lambda: manager.was_told("STATUS=watching 1 of 2 routes", "WATCHDOG=1"), "the trouble to be told")
            assert "; a hangs since 2" in next(line for _, line in manager.told if "1 of 2" in line)
        wait_for(lambda: "the folder answers again route=a" in site.log(), "the share to answer")
        put(site, "a", 20)
        wait_for(lambda: is_done(site, "a", 20), "the share to be back")
        with dead(site.home / "a" / "drop"):
            wait_for(lambda: site.log().count("route hangs: ") == 2, "the trouble to be noticed")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0, "the end waits for no dead share"
    assert "work in hand: it is taken up at the next start routes=a" in site.log()


@needs_dead_mounts
def test_a_start_with_a_dead_share_is_ready_all_the_same_and_never_restarted(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_routes(tmp_path, sandbox.url, "a", "b")
    put(site, "b", 1)
    with dead(site.home / "a" / "drop"), running(site, HASTY) as (process, manager):
        wait_for(lambda: is_done(site, "b", 1), "the other route's file")
        wait_for(lambda: manager.was_told("; a: the first look", "READY=1"), "the service to be ready")
        with dead(site.home / "b" / "drop"):
            wait_for(lambda: manager.was_told("watching 0 of 2 routes; "), "the trouble to be told")
            since = len(manager.told)
            wait_for(lambda: manager.count("WATCHDOG", since) > 3, "the watchdog to be fed all the same")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_a_deadlock_of_our_own_is_a_reason_to_restart(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_routes(tmp_path, sandbox.url, "a")
    put(site, "a", 1)
    with running(site, HASTY, STUCK) as (_, manager):
        wait_for(lambda: manager.was_told("watching 0 of 1 route; "), "the trouble to be told")
        wait_for(lambda: time.monotonic() - manager.told[-1][0] > 0.5, "the watchdog to go hungry")
