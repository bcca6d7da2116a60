"""The visits of one route, taken on together: a commit and an fsync are shared by all that need one now.

Threads that read, note and file side by side are in each other's way: they wait for one interpreter, and each commits
and fsyncs for itself. So a *clerk*, a worker as any other, takes on all passes that can go on, as far as they go
without a request, with one commit and one fsync of each folder for all. It is there only while there is something to
do; who comes alone has it for itself, and waits for nobody.

Requests are sent without waiting for the replies (remote.py): whoever has one can go on again. Where replies come
quickly, the clerk waits for those to all that it has in hand, so that these stay together.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from copy import copy
from functools import partial
from math import inf
from typing import Generic, TypeVar

from canarysync import durable
from canarysync.errors import LedgerError
from canarysync.ledger import Notes
from canarysync.passes import Ask, AskTogether, OnDisk, Pass, Send, Wait
from canarysync.workers import Task, act_for

T = TypeVar("T")

CLERKS = 3
"""While one waits for the disk, and one for replies, another one goes on."""

TOGETHER = 32
"""So many passes are taken on at a time: the first of them waits for the last."""

PATIENCE_S = 0.05
"""So long a clerk waits for the next of the replies to those that it has in hand."""

IN_VAIN_S = 1.0
"""After one waited for none at all, no clerk waits for so long: the API is far away."""

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

    def ask(self, wait: Ask) -> None:
        """Make the call that it waits for."""
        act_for(self.task)
        try:
            self._answer = wait.call()
        except Exception as error:  # a defect: the pass it belongs to says so
            self.error = error

    def reply(self, reply: object) -> None:
        """That is what came back for the request that it waits for, or why it could not be sent."""
        if isinstance(reply, Exception):
            self.error = reply
        else:
            self._answer = reply

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
        self._waits_from_s = 0.0  # (monotonic) from then on it may pay to wait for replies

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
        """Be a clerk for as long as something can go on: with some passes as far as they go, then with others. Together
        they need the same things at the same time."""
        while errands := self._next(clerk):
            while errands:
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

    def _next(self, clerk: _Clerk) -> list[_Errand[object]]:
        """Those that can go on, as many as are taken on together; none at the end."""
        with self._changing:
            errands = [self._ready.popleft() for _ in range(min(len(self._ready), TOGETHER))]
            if not errands:
                self._clerks.remove(clerk)
        return errands

    def _take_on(self, errands: list[_Errand[object]], clerk: _Clerk) -> list[_Errand[object]]:
        """Take them on until they have to wait, and see to what they wait for. Returns those that can go on then."""
        now_s = time.monotonic()
        for errand in errands:  # if one of them hangs, all do
            errand.task.heard_s = now_s
        with self._turn(), self._gather() as notes:
            for errand in errands:
                clerk.heard_s = time.monotonic()
                errand.take_on()
        _settle(notes, errands)
        _ask_together(errands)
        _sync_files(errands)
        _sync_folders(errands)
        for errand in errands:
            if errand.over:
                errand.hand_in()
        return self._answered([errand for errand in errands if not errand.over], clerk)

    def _answered(self, errands: list[_Errand[object]], clerk: _Clerk) -> list[_Errand[object]]:
        """Let requests be made for those that wait for one. Returns those that can go on: replies are waited for as
        long as that pays."""
        for errand in errands:
            errand.task.heard_s = inf  # while requests are made it may be long, and no folder is to blame
        ready: list[_Errand[object]] = []
        replies = _Replies(self._go_on)
        for errand in errands:
            if isinstance(errand.wait, Send) and errand.error is None:
                replies.expect(errand, errand.wait)
            elif isinstance(errand.wait, Ask) and errand.error is None:
                self._lend(partial(self._ask, errand, errand.wait))
            else:
                ready.append(errand)
        replies.send()
        now_s = clerk.heard_s = time.monotonic()
        if now_s >= self._waits_from_s and not replies.wait(PATIENCE_S):
            self._waits_from_s = now_s + IN_VAIN_S
        return ready + replies.leave()

    def _ask(self, errand: _Errand[object], wait: Ask) -> None:
        errand.ask(wait)
        clerk = self._bring(errand)
        if clerk is not None:
            self._serve(clerk)

    def _go_on(self, errand: _Errand[object]) -> None:
        """Its reply has come, when nobody waited for it any more."""
        clerk = self._bring(errand)
        if clerk is not None:
            self._lend(partial(self._serve, clerk))


class _Replies:
    """The replies to the requests of some errands: while a clerk waits for them, and afterwards."""

    def __init__(self, later: Callable[[_Errand[object]], None]) -> None:
        """``later`` is called for those errands whose replies come when they are not waited for any more."""
        self._later = later
        self._changed = threading.Condition()
        self._requests: dict[Callable[..., None], list[tuple[object, Callable[[object], None]]]] = {}
        self._came: list[_Errand[object]] = []
        self._missing = 0
        self._left = False

    def expect(self, errand: _Errand[object], wait: Send) -> None:
        """Its request is to be sent."""
        self._requests.setdefault(wait.begin, []).append((wait.request, partial(self._replied, errand)))

    def send(self) -> None:
        """Send the requests, together where they go the same way."""
        self._missing = sum(map(len, self._requests.values()))
        for begin, requests in self._requests.items():
            try:
                begin(requests)
            except Exception as error:  # a defect: the passes say so
                for _, then in requests:
                    then(error)

    def _replied(self, errand: _Errand[object], reply: object) -> None:
        errand.reply(reply)
        with self._changed:
            self._missing -= 1
            if not self._left:
                self._came.append(errand)
                if not self._missing:
                    self._changed.notify()
                return
        self._later(errand)

    def wait(self, patience_s: float) -> bool:
        """Wait until all have come, or no more did for so long. Whether any did."""
        with self._changed:
            missing = self._missing + 1
            while 0 < self._missing < missing:
                missing = self._missing
                self._changed.wait_for(lambda: not self._missing, patience_s)
            return not self._missing or bool(self._came)

    def leave(self) -> list[_Errand[object]]:
        """Wait no longer. Returns those that have come."""
        with self._changed:
            self._left = True
            return self._came


def _settle(notes: Notes, errands: Iterable[_Errand[object]]) -> None:
    """See to it that what they have noted is on disk."""
    try:
        notes.settle()
    except LedgerError as error:
        for errand in errands:
            errand.error = copy(error)


def _ask_together(errands: Iterable[_Errand[object]]) -> None:
    """Make the calls that some of them wait for, each once for all of these."""
    asking: dict[Callable[..., Sequence[object]], list[tuple[_Errand[object], object]]] = {}
    for errand in errands:
        if isinstance(errand.wait, AskTogether) and errand.error is None:
            asking.setdefault(errand.wait.call, []).append((errand, errand.wait.question))
    for call, waiting in asking.items():
        try:
            answers = call([question for _, question in waiting])
        except Exception as error:  # a defect: the passes say so
            for errand, _ in waiting:
                errand.error = copy(error)
        else:
            for (errand, _), answer in zip(waiting, answers, strict=True):
                errand.reply(answer)


def _sync_files(errands: Iterable[_Errand[object]]) -> None:
    """Make the open files durable that they wait for."""
    waiting = {fd: errand for errand in errands if errand.error is None for fd in _files_of(errand)}
    for fd, error in durable.sync_files(waiting).items():
        waiting[fd].error = error


def _files_of(errand: _Errand[object]) -> tuple[int, ...]:
    return errand.wait.files if isinstance(errand.wait, OnDisk) else ()


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
