"""The visits of one route, taken on together: a commit and an fsync are shared by all that need one now.

Threads that read, note and file side by side are in each other's way: they wait for one interpreter, and each commits
and fsyncs for itself. So a *clerk*, a worker as any other, takes on all passes that can go on, as far as they go
without a request, with one commit and one fsync of each folder for all. It is there only while there is something to
do; who comes alone has it for itself, and waits for nobody.

Requests are made by workers of their own, as many at a time as there are visits under way. Where the API answers more
quickly than threads can be changed, the clerk makes them itself, one after the other.
"""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from functools import partial
from math import inf
from typing import Generic, TypeVar

from canarysync import durable
from canarysync.errors import LedgerError
from canarysync.ledger import Notes
from canarysync.passes import Ask, OnDisk, Pass, Wait
from canarysync.workers import Task, act_for

T = TypeVar("T")

CLERKS = 2
"""While one waits for the disk, another one goes on."""

TOGETHER = 32
"""So many passes are taken on at a time: the first of them waits for the last."""

QUICK_S = 0.003
"""Requests that usually take no longer than this are better made at once than given to other threads."""

_FOLLOWS = 1 / 8
"""How much a request changes what is held to be usual: one that waited for another thread of ours says nothing of the
API, nor does one that was refused at once; but a single one that takes long enough does."""

HANGS_S = 5.0
"""A clerk that was silent for so long does not keep another one from taking its place."""


class _Errand(Generic[T]):
    """A pass on its way, and what it waits for."""

    def __init__(self, a_pass: Pass[T], done: Callable[[T], None]) -> None:
        self._pass = a_pass
        self._done = done
        self._answer: object = None
        self.task = Task()
        self.error: Exception | None = None
        self.wait: Wait | None = None
        self.over = False
        self._result: T

    def take_on(self) -> None:
        """Run the pass until it has to wait."""
        act_for(self.task)
        answer, error = self._answer, self.error
        self._answer = self.error = None
        try:
            self.wait = self._pass.throw(error) if error else self._pass.send(answer)
        except StopIteration as end:
            self.wait, self.over, self._result = None, True, end.value

    def asks(self) -> bool:
        """Whether it waits for a request, which may be made now."""
        return isinstance(self.wait, Ask) and self.error is None

    def ask(self) -> float:
        """Make the request. Returns how many seconds it took."""
        assert isinstance(self.wait, Ask)
        act_for(self.task)
        began_s = time.monotonic()
        try:
            self._answer = self.wait.call()
        except Exception as error:  # a defect: the pass it belongs to says so
            self.error = error
        return time.monotonic() - began_s

    def hand_in(self) -> None:
        """It is over."""
        self._done(self._result)


class _Clerk:
    """``heard_s`` (monotonic): when it last came further."""

    __slots__ = ("heard_s",)

    def __init__(self) -> None:
        self.heard_s = time.monotonic()

    def hangs(self) -> bool:
        """Whether it was silent for so long that nobody may count on it."""
        return time.monotonic() - self.heard_s >= HANGS_S


class Crew:
    """The passes of one route. Safe to use from many threads."""

    def __init__(
        self, gather: Callable[[], AbstractContextManager[Notes]], lend: Callable[[Callable[[], None]], None]
    ) -> None:
        """``gather`` is the ledger's; ``lend`` lets a worker do something."""
        self._gather = gather
        self._lend = lend
        self._changing = threading.Lock()
        self._at_work = threading.Lock()
        self._ready: deque[_Errand[object]] = deque()
        self._clerks: list[_Clerk] = []
        self._usual_s = 2 * QUICK_S  # how long requests take

    def begin(self, a_pass: Pass[T], done: Callable[[T], None]) -> Task:
        """Take on a pass, which does not raise. ``done`` is called with what it comes to, in a worker."""
        errand = _Errand(a_pass, done)
        clerk = self._bring(errand)
        if clerk is not None:
            self._lend(partial(self._serve, clerk))
        return errand.task

    def _bring(self, errand: _Errand[T]) -> _Clerk | None:
        """It can go on. Returns a clerk that is to serve; None where there are enough."""
        errand.task.heard_s = time.monotonic()
        with self._changing:
            self._ready.append(errand)  # type: ignore[arg-type]
            return self._another_clerk()

    def _another_clerk(self) -> _Clerk | None:
        if sum(not clerk.hangs() for clerk in self._clerks) >= CLERKS:
            return None
        self._clerks.append(clerk := _Clerk())
        return clerk

    def look_after(self) -> None:
        """Send another clerk if some can go on and those that there are hang, which nobody knew when they came. To be
        called now and then while visits are under way."""
        with self._changing:
            clerk = self._another_clerk() if self._ready else None
        if clerk is not None:
            self._lend(partial(self._serve, clerk))

    def _serve(self, clerk: _Clerk) -> None:
        """Be a clerk for as long as something can go on."""
        errands: list[_Errand[object]] = []
        while errands := self._joined(errands, clerk):
            errands = self._take_on(errands, clerk)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """While one clerk reads and notes, the others wait for the disk, or here: else they would wait for each other
        at every call. For one that hangs they wait once: it keeps the lock that it has, and there is another."""
        turn = self._at_work
        if not turn.acquire(timeout=HANGS_S):
            turn = threading.Lock()
            turn.acquire()
            self._at_work = turn
        try:
            yield
        finally:
            turn.release()

    def _joined(self, errands: list[_Errand[object]], clerk: _Clerk) -> list[_Errand[object]]:
        """Those in hand, with others that can go on, as many as are taken on together; none at the end."""
        with self._changing:
            while self._ready and len(errands) < TOGETHER:
                errands.append(self._ready.popleft())
            if not errands:
                self._clerks.remove(clerk)
        now_s = time.monotonic()
        for errand in errands:
            errand.task.heard_s = now_s
        return errands

    def _take_on(self, errands: list[_Errand[object]], clerk: _Clerk) -> list[_Errand[object]]:
        """Take them on until they have to wait, and see to what they wait for. Returns those that can go on then."""
        with self._turn(), self._gather() as notes:
            for errand in errands:
                clerk.heard_s = time.monotonic()
                errand.take_on()
        _settle(notes, errands)
        _sync_files(errands)
        _sync_folders(errands)
        for errand in errands:
            if errand.over:
                errand.hand_in()
        for errand in errands:
            errand.task.heard_s = inf  # while requests are made it may be long, and no folder is to blame
        return [errand for errand in errands if not (errand.over or (errand.asks() and self._has_asked(errand, clerk)))]

    def _has_asked(self, errand: _Errand[object], clerk: _Clerk) -> bool:
        """Whether a request is left to somebody else; where it is not, it has been made."""
        if self._usual_s > QUICK_S or self._one_hangs():
            self._lend(partial(self._ask, errand))
            return True
        clerk.heard_s = time.monotonic()
        self._make_request(errand)
        errand.task.heard_s = inf
        return False

    def _one_hangs(self) -> bool:
        """Perhaps in a request, of whose length nothing is known until its end."""
        with self._changing:
            return any(clerk.hangs() for clerk in self._clerks)

    def _make_request(self, errand: _Errand[object]) -> None:
        self._usual_s += _FOLLOWS * (errand.ask() - self._usual_s)

    def _ask(self, errand: _Errand[object]) -> None:
        self._make_request(errand)
        clerk = self._bring(errand)
        if clerk is not None:
            self._serve(clerk)


def _settle(notes: Notes, errands: Iterable[_Errand[object]]) -> None:
    """See to it that what they have noted is on disk."""
    try:
        notes.settle()
    except LedgerError as error:
        for errand in errands:
            errand.error = copy(error)


def _sync_files(errands: Iterable[_Errand[object]]) -> None:
    for errand in errands:
        if isinstance(errand.wait, OnDisk) and errand.error is None:
            try:
                for fd in errand.wait.files:
                    os.fsync(fd)
            except OSError as error:
                errand.error = error


def _sync_folders(errands: Iterable[_Errand[object]]) -> None:
    """Make the folders durable that any of them waits for, each once."""
    wanted: dict[str, list[_Errand[object]]] = {}
    for errand in errands:
        if isinstance(errand.wait, OnDisk) and errand.error is None:
            for folder in errand.wait.folders:
                wanted.setdefault(folder, []).append(errand)
    for folder, waiting in wanted.items():
        try:
            durable.sync_folder(folder)
        except OSError as error:
            for errand in waiting:
                errand.error = type(error)(*error.args)
