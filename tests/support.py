"""What many tests need: a site (folders, config, sandbox), score files, and waiting for what must come true."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import subprocess
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TypeVar

import pytest

from canarysync import cli, durable
from canarysync.candidates import MARKER, PASSAGE
from canarysync.config import Config, load
from canarysync.daemon import Daemon
from canarysync.errors import LedgerError
from canarysync.folder import make_folders
from canarysync.ledger import Notes
from canarysync.passes import AskTogether, OnDisk, Pass, Send
from canarysync.report import Event, Summary
from canarysync.sandbox import SANDBOX_API_KEY, Sandbox
from canarysync.service import service
from canarysync.starter import starter_config

T = TypeVar("T")

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")
ASSESSMENT = "0192530c-4ce5-7aa1-be9b-bc52dec8a184"
PATIENCE_S = float(os.environ.get("CANARYSYNC_TEST_PATIENCE_S", "60"))
"""How long a test waits for what must come true: only a failing test waits that long."""


def section(title: str) -> str:
    """A section of the README, with those below it."""
    found = re.search(rf"^(##+) {re.escape(title)}$.*?(?=^##? |\Z)", README, re.MULTILINE | re.DOTALL)
    assert found is not None, f"the README has no section {title}"
    return found[0]


def score(number: int = 0, **changes: object) -> dict[str, object]:
    """A valid score file's content; each ``number`` is another score."""
    seconds = f"{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}"
    made: dict[str, object] = {
        "assessmentId": ASSESSMENT,
        "dateRecorded": f"2026-01-{1 + number // 86400:02}T{seconds}Z",
        "scoreId": "PHQ9",
        "scoreType": "sum",
        "scoreData": {"value": number},
    }
    made.update(changes)
    return {key: value for key, value in made.items() if value is not None}


def wait_for(condition: Callable[[], object], what: str, patience_s: float = PATIENCE_S) -> None:
    """Return as soon as ``condition`` holds; fail, saying ``what`` did not come, when it never does."""
    end_s = time.monotonic() + patience_s
    pause_s = 0.005
    while not condition():
        if time.monotonic() > end_s:
            raise AssertionError(f"waited {patience_s:g} s for {what}")
        time.sleep(pause_s)
        pause_s = min(pause_s * 1.5, 0.2)  # listing big folders all the time would slow down what is waited for


def finished(a_pass: Pass[T], gather: Callable[[], AbstractContextManager[Notes]] | None = None) -> T:
    """What a pass comes to when it is alone: what the crew does, without its threads."""
    answer: object = None
    error: Exception | None = None
    while True:
        with gather() if gather else nullcontext() as notes:
            try:
                wait = a_pass.throw(error) if error else a_pass.send(answer)
            except StopIteration as end:
                wait = None
                result: T = end.value
        answer = error = None
        try:
            if notes is not None:
                notes.settle()
            if wait is None:
                return result
            if isinstance(wait, OnDisk):
                _make_durable(wait)
            elif isinstance(wait, Send):
                replies: SimpleQueue[object] = SimpleQueue()
                wait.begin([(wait.request, replies.put)])
                answer = replies.get(timeout=PATIENCE_S)
            elif isinstance(wait, AskTogether):
                [answer] = wait.call([wait.question])
            else:
                answer = wait.call()
        except (LedgerError, OSError) as raised:
            error = raised
            if wait is None:
                raise
        except BaseException as died:  # in the tests that end the process here, all that it had in hand ends with it
            with suppress(BaseException):
                a_pass.throw(died)
            raise


def _make_durable(wait: OnDisk) -> None:
    for fd in wait.files:
        os.fsync(fd)
    for folder in wait.folders:
        durable.sync_folder(folder)


@contextmanager
def log_as_before() -> Iterator[None]:
    """What is done meanwhile may set up canarysync's log; in the end it goes where it went."""
    logger = logging.getLogger("canarysync")
    before = (logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions)
    try:
        yield
    finally:
        logger.handlers[:], logger.level, logger.propagate, logging.raiseExceptions = before


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    """What ``canarysync ARGUMENTS`` prints and exits with, in this process: a start costs more than most commands.
    For those that end by themselves; a run is to be stopped by signals, which are this process's own here."""
    out, err = io.StringIO(), io.StringIO()
    with log_as_before(), redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["canarysync", *arguments])
        try:
            cli.main()
            code = 0
        except SystemExit as ended:
            code = int(ended.code or 0)
    return subprocess.CompletedProcess(arguments, code, out.getvalue(), err.getvalue())


@contextmanager
def running(daemon: Daemon) -> Iterator[None]:
    """The daemon at work, in a thread of its own. A reload sets up the log anew."""
    thread = threading.Thread(target=daemon.run)
    with log_as_before():
        thread.start()
        try:
            yield
        finally:
            daemon.stop()
            thread.join(PATIENCE_S)


@dataclass
class Site:
    """A route's folders and a config for them, below ``home``."""

    home: Path
    config_path: Path

    @property
    def config(self) -> Config:
        return load(self.config_path)

    @property
    def drop(self) -> Path:
        return self.home / "clinic" / "drop"

    @property
    def done(self) -> Path:
        return self.home / "clinic" / "done"

    @property
    def failed(self) -> Path:
        return self.home / "clinic" / "failed"

    def put(self, name: str, content: Mapping[str, object] | str | bytes) -> Path:
        """Drop a file, written in place."""
        path = self.drop / name
        if isinstance(content, Mapping):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def once(self, wait_s: float = 0.0, observer: Callable[[Event], None] = lambda event: None) -> Summary:
        """One pass in this process; ``observer`` is told of every visit."""
        with service(self.config, os.environ, once=True, wait_s=wait_s, observer=observer) as daemon:
            return daemon.run()

    def cli(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        """A command of the real program."""
        command = [sys.executable, "-m", "canarysync", *arguments]
        return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S * 2, check=False, **more)

    def told(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command ``name`` with this site's config, in this process."""
        return command(name, *arguments, "-c", str(self.config_path))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The real program in the background (default: the daemon); its log goes to ``home/log``."""
        command = [sys.executable, "-m", "canarysync", *(arguments or ("run", "-c", str(self.config_path)))]
        with (self.home / "log").open("a") as log:
            return subprocess.Popen(command, stdout=log, stderr=log, text=True)

    def log(self) -> str:
        return (self.home / "log").read_text()

    def waiting(self) -> list[str]:
        """Names in drop/, without what is canarysync's own; and what is still in the passage."""
        passage = self.drop / PASSAGE
        names = [*os.listdir(self.drop), *(os.listdir(passage) if passage.exists() else ())]
        return sorted(name for name in names if name not in (MARKER, PASSAGE))

    def filed(self) -> list[str]:
        """Names of the score files in done/."""
        return sorted(name for name in os.listdir(self.done) if not name.endswith(".receipt.json"))

    def receipt(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.done / f"{name}.receipt.json").read_bytes()))

    def error(self, name: str) -> dict[str, Any]:
        return dict(json.loads((self.failed / f"{name}.error.json").read_bytes()))

    def assert_all_done_once(self, names: list[str], stored: list[tuple[str, bytes]]) -> None:
        """Each of ``names`` is in done/ once with a true receipt; ``stored`` (uuid, body at the API) fits exactly."""
        assert self.waiting() == []
        assert self.filed() == sorted(names)
        uuids = Counter(self.receipt(name)["uuid"] for name in names)
        assert uuids == Counter(found for found, _ in stored), "the receipts' uuids are those of the API, each once"
        bodies = Counter(body for _, body in stored)
        assert set(bodies.values()) <= {1}, "no score is twice at the API"
        leftovers = [n for folder in (self.drop, self.done, self.failed) for n in os.listdir(folder) if ".tmp" in n]
        assert leftovers == []


def make_site(home: Path, url: str, **values: Any) -> Site:
    """Folders and config for the API at ``url``; ``values`` as starter.starter_config takes them, "__" for ".", e.g.
    ``routes__settle="1s"``."""
    key = home / "api-key"
    key.write_text(SANDBOX_API_KEY)
    key.chmod(0o600)
    settings: dict[str, Any] = {
        "api.url": url,
        "api.api_key": {"file": "api-key"},
        "api.read_back.wait": "100ms",
        "api.timeout.read": "5s",
        "routes[].folder": "clinic",
        "routes[].settle": "100ms",
        "routes[].rescan": "1s",
        "routes[].retry.first": "100ms",
        "routes[].retry.most": "500ms",
        "state": "state",
    }
    for name, value in values.items():
        settings[name.replace("routes__", "routes[].").replace("__", ".")] = value
    path = home / "canarysync.yaml"
    path.write_text(starter_config({k: v for k, v in settings.items() if v is not None}))
    site = Site(home, path)
    make_folders(site.config.routes[0])
    return site


def make_routes(home: Path, url: str, *routes: str, **api: object) -> Site:
    """A site with several routes, each in a folder of its name. Folders that are there stay as they are."""
    keys = "".join(f"  {key}: {value}\n" for key, value in api.items())
    folders = "".join(f"  - {{folder: {route}, settle: 1s, rescan: 1s}}\n" for route in routes)
    site = Site(home, home / "canarysync.yaml")
    site.config_path.write_text(f"api:\n  url: {url}\n  api_key: {{file: key}}\n{keys}state: state\nroutes:\n{folders}")
    (home / "key").write_text(SANDBOX_API_KEY)
    (home / "key").chmod(0o600)
    for route in site.config.routes:
        if not route.drop.is_dir():
            make_folders(route)
    return site


def room_for_events() -> int:
    """How many events inotify's queue holds."""
    return int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())


def stored(sandbox: Sandbox) -> list[tuple[str, bytes]]:
    """What the sandbox has: (uuid, body)."""
    return [(score.uuid, score.body) for score in sandbox.scores]


def unique_assessment() -> str:
    """An assessment of its own for a test."""
    return str(uuid.uuid4())
