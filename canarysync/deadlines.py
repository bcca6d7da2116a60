"""An end for what has none: one thread that cuts off, when its time is up, whatever is not done by then.

A socket's timeout starts anew with every byte: a server that drips one byte a second could hold a worker for ever.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

from canarysync.errors import no_thread

R = TypeVar("R")


@dataclass(order=True, slots=True)
class _Limit:
    until_s: float
    cut: Callable[[], None] = field(compare=False)
    done: bool = field(default=False, compare=False)


class Deadlines:
    """Any number of limits, watched by one thread, which sleeps while there are none."""

    def __init__(self) -> None:
        """Start the thread, before others take what threads there are. Raises IoTrouble where there is none."""
        self._limits: list[_Limit] = []
        self._changed = threading.Condition()
        self._closed = False
        try:
            threading.Thread(target=self._watch, name="deadlines", daemon=True).start()
        except RuntimeError as error:
            raise no_thread(error) from None

    @contextmanager
    def within(self, seconds: float, cut: Callable[[], None]) -> Iterator[None]:
        """Call ``cut``, from another thread, if the block takes longer than ``seconds``."""
        limit = _Limit(time.monotonic() + seconds, cut)
        with self._changed:
            heapq.heappush(self._limits, limit)
            if self._limits[0] is limit:
                self._changed.notify()
        try:
            yield
        finally:
            limit.done = True

    def close(self) -> None:
        """End the thread. No limit may be under way, nor come later."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _watch(self) -> None:
        while not self._closed:
            with self._changed:
                if not self._closed:
                    self._changed.wait(self._pause_s())
                late = self._taken_late()
            for limit in late:
                if not limit.done:
                    limit.cut()

    def _pause_s(self) -> float | None:
        """Until the first limit that is not done; those done in time are forgotten on the way."""
        while self._limits and self._limits[0].done:
            heapq.heappop(self._limits)
        return max(self._limits[0].until_s - time.monotonic(), 0.0) if self._limits else None

    def _taken_late(self) -> list[_Limit]:
        late, now_s = [], time.monotonic()
        while self._limits and self._limits[0].until_s <= now_s:
            late.append(heapq.heappop(self._limits))
        return late


def in_time(job: Callable[[], R], most_s: float) -> R:
    """What ``job`` returns or raises; TimeoutError when it takes longer than ``most_s``.

    Its thread is left behind then: nothing ends a system call on a share that hangs, but the end of the process.
    """
    results: SimpleQueue[tuple[R, None] | tuple[None, BaseException]] = SimpleQueue()

    def work() -> None:
        try:
            results.put((job(), None))
        except BaseException as error:  # any: it belongs to the thread that waits
            results.put((None, error))

    try:
        threading.Thread(target=work, name="in time", daemon=True).start()
    except RuntimeError as why:
        raise no_thread(why) from None
    try:
        result, error = results.get(timeout=most_s)
    except Empty:
        raise TimeoutError(f"no answer within {most_s:g} s") from None
    if error is not None:
        raise error
    return cast(R, result)
