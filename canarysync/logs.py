"""Log lines: one per event that matters, with fields; never a value from a score file, never a secret."""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, TextIO

from canarysync.display import shown

_FIELDS = "canarysync_fields"


def event(logger: logging.Logger, level: int, message: str, **fields: object) -> None:
    """Log ``message`` with ``fields``; those that are None or empty are left out."""
    if logger.isEnabledFor(level):
        kept = {key: value for key, value in fields.items() if value not in (None, "")}
        logger.log(level, message, extra={_FIELDS: kept})


def where(error: BaseException) -> str:
    """An unexpected error without its message, which may quote anything: its type, and the way to it."""
    frames = traceback.extract_tb(error.__traceback__)
    way = " > ".join(f"{frame.filename.rpartition('/')[2]}:{frame.lineno} {frame.name}" for frame in frames)
    return f"{type(error).__name__} at {way}"


class TextFormat(logging.Formatter):
    """``time LEVEL message key=value key="two words"``, one line whatever the values hold."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, _FIELDS, {})
        pairs = "".join(f" {key}={_quoted(value)}" for key, value in fields.items())
        return f"{_time(record)} {record.levelname:<7} {shown(record.getMessage(), 2000)}{pairs}"


class JsonFormat(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        fields: dict[str, Any] = getattr(record, _FIELDS, {})
        head = {"time": _time(record), "level": record.levelname.lower(), "message": record.getMessage()}
        return json.dumps(head | {k: v if isinstance(v, int | float) else shown(str(v)) for k, v in fields.items()})


def set_up(level: str, format: str, stream: TextIO | None = None) -> None:
    """Send canarysync's log to ``stream`` (default: stderr). The libraries' own logs stay silent below errors:
    urllib3 would log urls, watchdog every event."""
    handler = logging.StreamHandler(stream) if stream else _CurrentStderr()
    handler.setFormatter(JsonFormat() if format == "json" else TextFormat())
    root = logging.getLogger("canarysync")
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    root.propagate = False
    for library in ("urllib3", "watchdog"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    logging.raiseExceptions = False


class _CurrentStderr(logging.StreamHandler[TextIO]):
    """Writes to what sys.stderr is at the moment: a progress bar puts itself in its place."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _quoted(value: object) -> str:
    text = shown(str(value), 2000)
    return text if text and not set(text) & set(' "=') else '"' + text.replace('"', r"\"") + '"'


def _time(record: logging.LogRecord) -> str:
    at = datetime.fromtimestamp(record.created, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
