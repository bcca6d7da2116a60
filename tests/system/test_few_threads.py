"""The system gives fewer threads than wanted, or none: the work goes on with those, or says clearly why not."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

from canarysync.errors import Exit, IoTrouble
from canarysync.sandbox import Sandbox
from tests.support import Site, score, stored


def give(monkeypatch: pytest.MonkeyPatch, workers: int, others: bool = True) -> None:
    """Of what wants to be started from now on, only so many workers, and the ``others`` or not."""
    start, started = threading.Thread.start, 0

    def limited(thread: threading.Thread) -> None:
        nonlocal started
        worker = thread.name.startswith("worker-")
        started += worker
        if (worker and started > workers) or (not worker and not others):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)


@pytest.mark.parametrize("workers", [1, 3])
def test_with_few_threads_the_work_goes_on_and_says_so_once(
    site: Site, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, workers: int
) -> None:
    names = [f"{number}.json" for number in range(20)]
    for number, name in enumerate(names):
        site.put(name, score(number))
    give(monkeypatch, workers)

    assert site.once().exit_code() == Exit.OK

    site.assert_all_done_once(names, stored(sandbox))
    (told,) = [record for record in caplog.records if "fewer threads than wanted" in record.message]
    assert told.levelname == "WARNING"


@pytest.mark.parametrize("others", [True, False], ids=["no worker", "no thread at all"])
def test_without_a_thread_nothing_starts(
    site: Site, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, others: bool
) -> None:
    site.put("visit.json", score())
    give(monkeypatch, 0, others)

    with pytest.raises(IoTrouble) as caught:
        site.once()

    assert caught.value.cause == "can't start new thread"
    assert "ulimit" in caught.value.hint
    assert sandbox.requests.total() == 0


LITTLE_MEMORY = """
import resource, threading
from queue import SimpleQueue
from canarysync.workers import Workers
MIB = 1 << 20
threading.stack_size(64 * MIB)
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 176 * MIB, used + 176 * MIB))
results, all_given = SimpleQueue(), threading.Event()
workers = Workers(results.put)
for number in range(100):
    workers.do(lambda: all_given.wait())
started = threading.active_count() - 1
all_given.set()
workers.finish(60)
print(0 < started < 16, results.qsize())
"""


def test_with_little_memory_there_are_fewer_workers() -> None:
    """As with `ulimit -v`."""
    ended = subprocess.run(
        [sys.executable, "-c", LITTLE_MEMORY], capture_output=True, text=True, timeout=60, check=True,
        env={"MALLOC_ARENA_MAX": "1"},
    )  # fmt: skip
    assert ended.stdout == "True 100\n"
