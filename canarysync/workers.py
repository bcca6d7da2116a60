"""A few threads that do jobs and hand in what came of them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Generic, TypeVar

from canarysync.errors import no_thread

R = TypeVar("R")


class Workers(Generic[R]):
    """Up to ``count`` threads. A job is a function that does not raise; its result goes to ``hand_in``."""

    def __init__(self, count: int, hand_in: Callable[[R], None]) -> None:
        self._jobs: SimpleQueue[Callable[[], R] | None] = SimpleQueue()
        self._hand_in = hand_in
        self._count = count
        self._threads: list[threading.Thread] = []

    def start(self) -> int:
        """Begin to work, with as many threads as the system gives; return how many. Raises SetupError for none."""
        for number in range(self._count):
            thread = threading.Thread(target=self._work, name=f"worker-{number}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:
                if not self._threads:
                    raise no_thread(error) from None
                break
            self._threads.append(thread)
        return len(self._threads)

    def do(self, job: Callable[[], R]) -> None:
        """Let the next free thread do ``job``."""
        self._jobs.put(job)

    def finish(self) -> None:
        """Return once all jobs are done and the threads have ended; at once where none was started."""
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            self._hand_in(job())
