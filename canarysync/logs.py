"""Log lines: one per event that matters, with fields; never a value from a score file, never a secret."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, TextIO

from canarysync.display import shown
from canarysync.instant import for_programs

_FIELDS = "canarysync_fields"
_MOST = 2000
_TO_QUOTE = re.compile(r'[ "=]')
_PLAIN = re.compile(r"[!#-<>-\[\]-~]{1,200}")
"""Most of what is told: nothing in it is to be quoted, made safe or cut."""

_log = logging.getLogger(__name__)


def event(logger: logging.Logger, level: int, message: str, **fields: object) -> None:
    """Log ``message`` with ``fields``; those that are None or empty are left out."""
    if logger.isEnabledFor(level):
        kept = {key: value for key, value in fields.items() if value is not None and value != ""}
        # As logger.log does it, but without the search for the line of code that called: no line of ours tells it.
        record = logging.LogRecord(logger.name, level, "", 0, message, (), None)
        record.__dict__[_FIELDS] = kept
        logger.handle(record)


def where(error: BaseException) -> str:
    """An unexpected error without its message, which may quote anything: its type, and the way to it."""
    frames = traceback.extract_tb(error.__traceback__)
    way = " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(error).__name__} at {way}"


class TextFormat(logging.Formatter):
    """``time LEVEL message key=value key="two words"``, one line whatever the values hold.

    ``journal``: systemd's journal has a time and a level of its own for each line; it takes the level from a prefix
    (sd-daemon(3)).
    """

    def __init__(self, *, journal: bool) -> None:
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, _FIELDS, {})
        pairs = "".join([f" {key}={_quoted(str(value))}" for key, value in fields.items()])
        head = priority(record.levelno) if self._journal else f"{_time(record)} {record.levelname:<7} "
        return f"{head}{shown(record.getMessage(), _MOST)}{pairs}"


class JsonFormat(logging.Formatter):
    """One JSON object a line: plain ASCII, and no half characters, whatever the values hold. ``journal`` as above."""

    def __init__(self, *, journal: bool) -> None:
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, _FIELDS, {})
        head = {} if self._journal else {"time": _time(record)}
        head |= {"level": record.levelname.lower(), "message": shown(record.getMessage(), _MOST)}
        told = {k: v if isinstance(v, int | float) else shown(str(v), _MOST) for k, v in fields.items()}
        return (priority(record.levelno) if self._journal else "") + json.dumps(head | told)


def set_up(level: str, format: str, stream: TextIO | None = None, environment: Mapping[str, str] = os.environ) -> None:
    """Send canarysync's log to ``stream`` (default: stderr). The libraries' own logs stay silent below errors:
    urllib3 would log urls, watchdog every event."""
    handler = _Lines(stream)
    journal = stream is None and in_journal(environment)
    handler.setFormatter(JsonFormat(journal=journal) if format == "json" else TextFormat(journal=journal))
    root = logging.getLogger("canarysync")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
    for library in ("urllib3", "watchdog"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    logging.raiseExceptions = False
    # What no line of ours tells is not to be found out for each (logging HOWTO, "Optimization").
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False


def catch_threads() -> None:
    """A thread that ends with an error says so in a line of the log; Python would print the error's message too."""
    threading.excepthook = _thread_defect


def complain(text: str) -> None:
    """Say on stderr why a command ends. In the journal it is an error, in each of its lines."""
    head = priority(logging.ERROR) if in_journal(os.environ) else ""
    with suppress(OSError, AttributeError):  # no stderr to say it on
        print(*(head + line for line in text.split("\n")), sep="\n", file=sys.stderr, flush=True)


def in_journal(environment: Mapping[str, str]) -> bool:
    """Whether stderr goes to systemd's journal: $JOURNAL_STREAM is its device and inode (systemd.exec(5)). A child
    whose stderr was redirected has the variable all the same."""
    try:
        stat = os.fstat(sys.stderr.fileno())
    except (OSError, ValueError, AttributeError):  # closed, or none at all
        return False
    return environment.get("JOURNAL_STREAM") == f"{stat.st_dev}:{stat.st_ino}"


def priority(level: int) -> str:
    """The prefix by which the journal knows a line's level (sd-daemon(3), syslog(3))."""
    return "<3>" if level >= logging.ERROR else "<4>" if level >= logging.WARNING else "<6>" if level > 10 else "<7>"


class _Lines(logging.Handler):
    """Writes to ``stream``, else to what sys.stderr is at the moment: a progress bar puts itself in its place.

    While it ``holds``, lines wait for the next ``flush`` or warning; all that wait are written together.
    """

    def __init__(self, stream: TextIO | None) -> None:
        super().__init__()
        self.holds = False
        self._stream = stream
        self._waiting: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._waiting.append(self.format(record) + "\n")
        except Exception:  # as all handlers of logging do: what cannot be told stops nothing
            self.handleError(record)
        if not self.holds or record.levelno >= logging.WARNING:
            self.flush()

    def flush(self) -> None:
        """Write what waits. Called at the end of the process too, by logging."""
        self.acquire()
        try:
            text = "".join(self._waiting)
            self._waiting.clear()
            if text:
                stream = self._stream or sys.stderr
                stream.write(text)
                stream.flush()
        except (OSError, ValueError, AttributeError):  # nobody reads it, closed, or none at all
            pass
        finally:
            self.release()


@contextmanager
def in_one_write() -> Iterator[None]:
    """What is logged in the block is written at its end, all at once; warnings, and what came before them, at once."""
    handlers = [handler for handler in logging.getLogger("canarysync").handlers if isinstance(handler, _Lines)]
    for handler in handlers:
        handler.holds = True
    try:
        yield
    finally:
        for handler in handlers:
            handler.holds = False
            handler.flush()


def _thread_defect(arguments: threading.ExceptHookArgs) -> None:
    if arguments.exc_value is not None:
        name = arguments.thread.name if arguments.thread else None
        event(_log, logging.ERROR, "defect", thread=name, error=where(arguments.exc_value))


def _quoted(text: str) -> str:
    if _PLAIN.fullmatch(text):
        return text
    text = shown(text, _MOST)
    return text if text and not _TO_QUOTE.search(text) else '"' + text.replace('"', r"\"") + '"'


def _time(record: logging.LogRecord) -> str:
    return _to_the_millisecond(int(record.created * 1000))


@lru_cache(maxsize=1)
def _to_the_millisecond(epoch_ms: int) -> str:
    """Of many lines at once, most have the time of the one before."""
    return for_programs(datetime.fromtimestamp(epoch_ms / 1000, UTC))
