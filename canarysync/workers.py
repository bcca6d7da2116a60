"""Threads that do jobs and hand in what came of them: as many as there were ever jobs under way at once."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from queue import SimpleQueue
from typing import Generic, TypeVar

from canarysync.errors import no_thread
from canarysync.logs import event

_log = logging.getLogger(__name__)

R = TypeVar("R")


class Task:
    """A job. ``heard_s`` (monotonic): when it last gave a sign of life."""

    __slots__ = ("heard_s",)

    def __init__(self) -> None:
        self.heard_s = inf  # it waits for a thread

    def silent_s(self, now_s: float) -> float:
        """For how many seconds nothing was heard of it; negative while it is known to wait for something else."""
        return now_s - self.heard_s


_this_thread = threading.local()  # .task: the Task that it is at


def act_for(task: Task) -> None:
    """From now on this thread is at ``task``, which thereby gives a sign of life."""
    _this_thread.task = task
    task.heard_s = time.monotonic()


def sign_of_life() -> None:
    """Said by a long job on its way. In any other thread it means nothing."""
    _heard_at(time.monotonic())


@contextmanager
def elsewhere(most_s: float) -> Iterator[None]:
    """The job is in other hands, which have an end of their own (the API's, see deadlines.py): for so long it may well
    be silent."""
    _heard_at(time.monotonic() + most_s)
    try:
        yield
    finally:
        sign_of_life()


def _heard_at(at_s: float) -> None:
    task: Task | None = getattr(_this_thread, "task", None)
    if task is not None:
        task.heard_s = at_s


class Workers(Generic[R]):
    """A job is a function that does not raise; its result goes to ``hand_in``. Whoever gives out the jobs sees to it
    that there are not too many: one that waits for a dead file system keeps its thread, and nothing can end it."""

    def __init__(self, hand_in: Callable[[R], None]) -> None:
        self._jobs: SimpleQueue[tuple[Task, Callable[[], None]] | None] = SimpleQueue()
        self._hand_in = hand_in
        self._threads: list[threading.Thread] = []
        self._changing = threading.Lock()
        self._under_way = 0  # jobs in the queue or in hand
        self._said_few = False

    def do(self, job: Callable[[], R]) -> Task:
        """Let a free thread do ``job``, or a new one; only where the system gives no more of them, one that gets free.
        Raises IoTrouble where there is no thread at all."""
        return self._give(lambda: self._hand_in(job()))

    def lend(self, job: Callable[[], None]) -> None:
        """The same for what hands in nothing."""
        self._give(job)

    def _give(self, job: Callable[[], None]) -> Task:
        task = Task()
        with self._changing:
            self._under_way += 1
            if self._under_way > len(self._threads):
                self._hire(self._under_way)
        self._jobs.put((task, job))
        return task

    def _hire(self, wanted: int) -> None:
        thread = threading.Thread(target=self._work, name=f"worker-{len(self._threads)}", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            if not self._threads:
                raise no_thread(error) from None
            if not self._said_few:
                message = "the system gives fewer threads than wanted: fewer uploads go at once"
                event(_log, logging.WARNING, message, wanted=wanted, started=len(self._threads))
            self._said_few = True
        else:
            self._threads.append(thread)

    @property
    def size(self) -> int:
        """How many threads there are by now."""
        return len(self._threads)

    @property
    def busy(self) -> int:
        """How many of them are at work."""
        return min(self._under_way, len(self._threads))

    def finish(self, within_s: float) -> bool:
        """End the threads that are free, and those that get free within so many seconds. Whether these are all."""
        for _ in self._threads:
            self._jobs.put(None)
        end_s = time.monotonic() + within_s
        for thread in self._threads:
            thread.join(max(end_s - time.monotonic(), 0.0))
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (given := self._jobs.get()) is not None:
            task, job = given
            act_for(task)
            job()
            with self._changing:
                self._under_way -= 1
