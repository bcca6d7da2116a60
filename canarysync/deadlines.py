"""An end for what has none: one thread that cuts off, when its time is up, whatever is not done by then.

A socket's timeout starts anew with every byte: a server that drips one byte a second could hold a worker for ever.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import inf
from queue import Empty, SimpleQueue
from typing import TypeVar, cast

from canarysync.errors import no_thread

R = TypeVar("R")


class Deadlines:
    """Any number of limits, watched by one thread, which sleeps while none can have passed."""

    def __init__(self) -> None:
        """Start the thread, before others take what threads there are. Raises IoTrouble where there is none."""
        self._limits: set[_Limit] = set()
        self._changed = threading.Condition()
        self._wakes_s = inf  # (monotonic) when the thread will look again by itself
        self._closed = False
        try:
            threading.Thread(target=self._watch, name="deadlines", daemon=True).start()
        except RuntimeError as error:
            raise no_thread(error) from None

    def within(self, seconds: float, cut: Callable[[], None]) -> _Limit:
        """Call ``cut``, from another thread, if the block takes longer than ``seconds``; never once it is left.
        ``cut`` may not wait for anything."""
        return _Limit(self, time.monotonic() + seconds, cut)

    def close(self) -> None:
        """End the thread. No limit may be under way, nor come later."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def begin(self, limit: _Limit) -> None:
        """Watch over ``limit``. The thread need not hear of it, unless it sleeps for longer than that."""
        with self._changed:
            self._limits.add(limit)
            if limit.until_s < self._wakes_s:
                self._wakes_s = limit.until_s
                self._changed.notify()

    def end(self, limit: _Limit) -> None:
        """Watch over it no longer."""
        with self._changed:
            self._limits.discard(limit)

    def _watch(self) -> None:
        with self._changed:
            while not self._closed:
                now_s = time.monotonic()
                for limit in [limit for limit in self._limits if limit.until_s <= now_s]:
                    self._limits.remove(limit)
                    limit.cut()
                self._wakes_s = min((limit.until_s for limit in self._limits), default=inf)
                self._changed.wait(None if self._wakes_s == inf else self._wakes_s - now_s)


class _Limit:
    """A block that is to end in time: the context manager that ``Deadlines.within`` gives."""

    __slots__ = ("_watch", "cut", "until_s")

    def __init__(self, watch: Deadlines, until_s: float, cut: Callable[[], None]) -> None:
        self._watch = watch
        self.until_s = until_s
        self.cut = cut

    def __enter__(self) -> None:
        self._watch.begin(self)

    def __exit__(self, *raised: object) -> None:
        self._watch.end(self)


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
