"""Log lines: one for each event, whatever the fields hold; no values, no secrets (DESIGN §10)."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import re
import shlex
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from canarysync.logs import catch_threads, event, in_one_write, set_up, where

HEAD = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (DEBUG  |INFO   |WARNING|ERROR  ) ")
LOGGERS = ("canarysync", "urllib3", "watchdog")

texts = st.text(st.characters(categories=["Cc", "Cf", "Cs"]) | st.characters())
"""With many controls, marks and lone surrogates, which plain text rarely holds."""


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    loggers = [logging.getLogger(name) for name in LOGGERS]
    before = [(logger.level, logger.handlers[:], logger.propagate) for logger in loggers]
    raised = logging.raiseExceptions
    yield
    for logger, (level, handlers, propagate) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:], logger.propagate = handlers, propagate
    logging.raiseExceptions = raised


def logged(format: str, message: str = "uploaded", /, **fields: object) -> str:
    stream = io.StringIO()
    set_up("debug", format, stream)
    event(logging.getLogger("canarysync.test"), logging.WARNING, message, **fields)
    return stream.getvalue()


def text_fields(line: str) -> str:
    head = HEAD.match(line)
    assert head is not None
    assert line.endswith("\n")
    return line[head.end() : -1]


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        pytest.param({}, "uploaded", id="none"),
        pytest.param({"file": "a.json"}, "uploaded file=a.json", id="plain"),
        pytest.param({"why": "two words"}, 'uploaded why="two words"', id="blanks are quoted"),
        pytest.param({"why": 'a"b'}, r'uploaded why="a\"b"', id="quotes are escaped"),
        pytest.param({"why": "a=b"}, 'uploaded why="a=b"', id="an equals sign forges no field"),
        pytest.param({"why": "a\nb"}, r"uploaded why=a\nb", id="a newline forges no line"),
        pytest.param({"why": "\x1b[2J"}, r"uploaded why=\x1b[2J", id="terminal controls"),
        pytest.param({"file": "\udcff.json"}, r"uploaded file=\xff.json", id="bytes that are not UTF-8"),
        pytest.param({"status": None, "why": "", "uuid": "u"}, "uploaded uuid=u", id="None and empty are left out"),
        pytest.param({"attempts": 0, "held": False}, "uploaded attempts=0 held=False", id="0 and False are not"),
        pytest.param({"again_in_s": 1.5}, "uploaded again_in_s=1.5", id="a number"),
        pytest.param({"folder": Path("/srv/a")}, "uploaded folder=/srv/a", id="a path"),
    ],
)
def test_text(fields: dict[str, object], expected: str) -> None:
    assert text_fields(logged("text", **fields)) == expected


def test_json() -> None:
    line = json.loads(logged("json", "a\nb", file="\udcff é\n", attempts=2, again_in_s=1.5, held=True, why=None))
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line.pop("time"))
    assert line == {
        "level": "warning", "message": r"a\nb", "file": r"\xff é\n", "attempts": 2, "again_in_s": 1.5, "held": True,
    }  # fmt: skip


@given(texts)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_event_is_one_line_whatever_a_field_holds(value: str) -> None:
    for format in ("text", "json"):
        line = logged(format, file=value, last="end")
        assert line.count("\n") == 1
        assert not set(line[:-1]) & set("\r\x0b\x0c\x1b\x85\u2028\u2029")
        line.encode("utf-8")
    assert json.loads(line)["last"] == "end"


@given(st.text(st.sampled_from('ab "\\=\n')))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_text_line_can_be_taken_apart(value: str) -> None:
    """The quoting is a shell's, so that no value passes for a field of its own."""
    words = shlex.split(text_fields(logged("text", why=value, last="end")))
    assert [word.partition("=")[0] for word in words] == ["uploaded", *(["why"] if value else []), "last"]


@pytest.mark.parametrize(
    ("level", "shown"),
    [("debug", "diwe"), ("info", "iwe"), ("warning", "we"), ("error", "e")],
)
def test_levels(level: str, shown: str) -> None:
    stream = io.StringIO()
    set_up(level, "json", stream)
    for number, letter in zip((10, 20, 30, 40), "diwe", strict=True):
        event(logging.getLogger("canarysync.x"), number, letter)
    assert [json.loads(line)["message"] for line in stream.getvalue().splitlines()] == list(shown)


def test_set_up_twice_does_not_log_twice() -> None:
    set_up("info", "text", io.StringIO())
    assert logged("text").count("\n") == 1


@pytest.mark.parametrize("library", ["urllib3", "urllib3.connectionpool", "watchdog", "watchdog.observers.inotify_c"])
def test_the_libraries_are_silent_below_errors(library: str) -> None:
    """Their lines would be in neither format, and urllib3's hold urls."""
    set_up("debug", "json", io.StringIO())
    assert not logging.getLogger(library).isEnabledFor(logging.WARNING)


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    stream = io.StringIO()
    set_up("info", "text", stream)
    stream.close()
    event(logging.getLogger("canarysync.x"), logging.ERROR, "lost")


@pytest.mark.parametrize("format", ["text", "json"])
def test_a_traceback_never_gets_into_the_log(format: str) -> None:
    stream = io.StringIO()
    set_up("info", format, stream)
    try:
        raise ValueError("PHQ9 was 918273645")
    except ValueError:
        logging.getLogger("canarysync.x").exception("trouble")
    assert "trouble" in stream.getvalue()
    assert "918273645" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def _fails(value: str) -> None:
    raise KeyError(value)


def test_where_an_error_came_from_without_what_it_says() -> None:
    try:
        _fails("the score was 27")
    except KeyError as error:
        told = where(error)
    assert re.fullmatch(r"KeyError at test_logs\.py:\d+ test_where\w+ > test_logs\.py:\d+ _fails", told)
    assert where(ValueError("27")) == "ValueError at "


# --- under systemd -----------------------------------------------------------------------------------


def journalled(tmp_path: Path, format: str, level: int, stream: str | None = None) -> str:
    """What an event writes to a stderr that is a file; ``stream``: $JOURNAL_STREAM, by default it names that file."""
    path = tmp_path / "journal"
    with path.open("w") as file, contextlib.redirect_stderr(file):
        stat = path.stat()
        named = f"{stat.st_dev}:{stat.st_ino}" if stream is None else stream
        set_up("debug", format, environment={"JOURNAL_STREAM": named})
        event(logging.getLogger("canarysync.x"), level, "uploaded", file="a\n<0>b")
    return path.read_text()


@pytest.mark.parametrize(
    ("level", "priority"), [(logging.DEBUG, 7), (logging.INFO, 6), (logging.WARNING, 4), (logging.ERROR, 3)]
)
def test_the_journal_gets_priorities_and_no_times(tmp_path: Path, level: int, priority: int) -> None:
    assert journalled(tmp_path, "text", level) == rf"<{priority}>uploaded file=a\n<0>b" + "\n"
    line = journalled(tmp_path, "json", level)
    assert line.startswith(f"<{priority}>{{")
    told = {"level": logging.getLevelName(level).lower(), "message": "uploaded", "file": r"a\n<0>b"}
    assert json.loads(line[3:]) == told


@pytest.mark.parametrize("stream", ["", "1:2", "x"])
def test_what_is_not_the_journal_is_a_file(tmp_path: Path, stream: str) -> None:
    """A redirected stderr leaves the variable behind, which then names another stream."""
    assert text_fields(journalled(tmp_path, "text", logging.INFO, stream)) == r"uploaded file=a\n<0>b"


def test_no_field_is_cut_in_one_format_and_whole_in_the_other() -> None:
    way = "x" * 1500
    assert way in logged("json", why=way)
    assert way in logged("text", why=way)


def test_a_thread_that_ends_with_an_error_is_told_without_its_message(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)
    stream = io.StringIO()
    set_up("info", "text", stream)
    catch_threads()
    thread = threading.Thread(target=_fails, args=("the score was 27",), name="watch")
    thread.start()
    thread.join()
    assert re.search(r'defect thread=watch error="KeyError at .*_fails"$', stream.getvalue().rstrip())
    assert stream.getvalue().count("\n") == 1
    assert "the score" not in stream.getvalue()
    assert capfd.readouterr().err == ""


class Writes(io.StringIO):
    """Every write by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []

    def write(self, text: str) -> int:
        self.parts.append(text)
        return super().write(text)


def test_lines_that_are_written_together_wait_for_the_end_of_the_block_but_not_for_a_warning() -> None:
    stream, log = Writes(), logging.getLogger("canarysync.test")
    set_up("info", "text", stream)
    with in_one_write():
        event(log, logging.INFO, "one")
        assert not stream.parts
        event(log, logging.WARNING, "two")
        assert [part.count("\n") for part in stream.parts] == [2]
        event(log, logging.INFO, "three")
        event(log, logging.INFO, "four")
    event(log, logging.INFO, "five")
    assert [re.findall(r"\w+$", part, re.M) for part in stream.parts] == [["one", "two"], ["three", "four"], ["five"]]


def test_lines_that_wait_are_written_where_the_process_ends_in_the_block() -> None:
    stream = Writes()
    set_up("info", "text", stream)
    with in_one_write():
        event(logging.getLogger("canarysync.test"), logging.INFO, "one")
        logging.shutdown()
        assert stream.getvalue().endswith("one\n")
