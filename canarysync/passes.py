"""A pass that can wait without a thread of its own: what the pipeline says it waits for, while others go on.

A pass is a generator. It runs until it has to wait for the disk or for the API, and yields what it waits for; whoever
runs it (crew.py) lets many passes wait together, so that they share the commits and the fsyncs. Read ``yield`` as
"from here on, this is on disk".
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OnDisk:
    """To go on, all that the pass has noted in the ledger has to be on disk, the open ``files``, and the names in
    ``folders``.

    What goes wrong with that is raised in the pass: LedgerError, or OSError for a file or folder.
    """

    files: tuple[int, ...] = ()
    folders: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Send:
    """To go on, the pass needs the reply to ``request``. ``begin`` sends such requests, and does not wait: each comes
    with what will be called with its reply, in any thread. Before, all that the pass has noted in the ledger is on
    disk."""

    begin: Callable[[Sequence[tuple[Any, Callable[[Any], None]]]], None]
    request: object


@dataclass(frozen=True, slots=True)
class Ask:
    """To go on, the pass needs what ``call`` returns, which may take its time; what it raises is raised in the pass.
    Before it is made, all that the pass has noted in the ledger is on disk."""

    call: Callable[[], object]


@dataclass(frozen=True, slots=True)
class AskTogether:
    """To go on, the pass needs the answer to its ``question``. ``call`` is given those of all that wait for it, and
    returns their answers in order; what it raises is raised in each of the passes."""

    call: Callable[[Sequence[Any]], Sequence[Any]]
    question: object


Wait = OnDisk | Send | Ask | AskTogether
Pass = Generator[Wait, Any, T]
"""A pass that comes to a T."""

ON_DISK = OnDisk()


def ask(call: Callable[[], T]) -> Pass[T]:
    """What ``call`` returns, as a part of a pass."""
    answer: T = yield Ask(call)
    return answer
