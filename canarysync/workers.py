"""A few threads that do jobs and hand in what came of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

R = TypeVar("R")


class Workers(Generic[R]):
    """``count`` threads. A job is a function that does not raise; its result goes to ``hand_in``."""

    def __init__(self, count: int, hand_in: Callable[[R], None]) -> None:
        self._jobs: SimpleQueue[Callable[[], R] | None] = SimpleQueue()
        self._hand_in = hand_in
        self._threads = [
            threading.Thread(target=self._work, name=f"worker-{number}", daemon=True) for number in range(count)
        ]
        self._started = False

    def start(self) -> None:
        """Begin to work."""
        for thread in self._threads:
            thread.start()
        self._started = True

    def do(self, job: Callable[[], R]) -> None:
        """Let the next free thread do ``job``."""
        self._jobs.put(job)

    def finish(self) -> None:
        """Return once all jobs are done and the threads have ended."""
        if not self._started:
            return
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._hand_in(job())
