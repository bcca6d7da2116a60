"""What files hold, examined together: only what is good and on disk counts; the rest is for who asks."""

from __future__ import annotations

import errno
import json
import marshal
import os
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import pytest

from canarysync import durable, examine
from canarysync.examine import Good, Question, Unsynced
from canarysync.model import Rejection, Syntax
from canarysync.parse import parse
from canarysync.reading import Content, read
from canarysync.validate import validate
from tests.support import score

Ask = Callable[[str, str], Question]


def text(number: int, **changes: object) -> str:
    return json.dumps(score(number, **changes))


@pytest.fixture
def ask(tmp_path: Path) -> Ask:
    def put(name: str, content: str) -> Question:
        path = tmp_path / name
        path.write_text(content)
        return Question(str(path), 1 << 20, Syntax.YAML if name.endswith("yaml") else Syntax.JSON)

    return put


def test_it_says_what_reading_and_judging_say(ask: Ask) -> None:
    questions = [ask("a.json", text(1)), ask("b.yaml", text(2))]
    for question, good in zip(questions, examine.examine(questions), strict=True):
        content = read(question.path, 1 << 20)
        assert isinstance(content, Content)
        document = parse(content.data, question.syntax)
        assert not isinstance(document, Rejection)
        assert good == (content, validate(document))


def test_what_is_not_good_is_left_to_who_asks(ask: Ask, tmp_path: Path) -> None:
    (tmp_path / "link.json").symlink_to(tmp_path / "good.json")
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "fifo.json")
    questions = [
        ask("invalid.json", text(1, dateRecorded=None)),
        ask("broken.json", "{"),
        ask("large.json", text(2) + " " * examine.MOST_BYTES),
        ask("larger_than_its_route_takes.json", text(3))._replace(most_bytes=10),
        *(
            Question(str(tmp_path / name), 1 << 20, Syntax.JSON)
            for name in ("link.json", "folder.json", "fifo.json", "x")
        ),
        ask("good.json", text(4)),
    ]

    found = examine.examine(questions)

    assert [good is not None for good in found] == [False] * 8 + [True]


@pytest.mark.parametrize(("code", "told"), [(errno.EIO, Unsynced(errno.EIO)), (errno.EINVAL, None)])
def test_a_file_that_cannot_be_synced_is_not_good(
    code: int, told: Unsynced | None, ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor to be synced again at once, unless its file system knows no fsync: the next one would be said to succeed."""
    synced: list[str] = []

    def sync(fds: Collection[int]) -> dict[int, OSError]:
        synced.extend(os.path.basename(os.readlink(f"/proc/self/fd/{fd}")) for fd in fds)
        return {list(fds)[1]: OSError(code, "")}

    monkeypatch.setattr(durable, "sync_files", sync)
    questions = [ask("a.json", text(1)), ask("bad.json", "{}"), ask("b.json", text(2)), ask("c.json", text(3))]

    a, bad, b, c = found = examine.examine(questions)
    assert (isinstance(a, Good), bad, b, isinstance(c, Good)) == (True, None, told, True)
    assert [examine._unpacked(examine._packed(each)) for each in found] == found
    assert synced == ["a.json", "b.json", "c.json"], "what is not good need not be"


def test_a_defect_that_one_file_brings_to_light_is_no_other_files_matter(
    ask: Ask, monkeypatch: pytest.MonkeyPatch
) -> None:
    def defective(data: bytes, syntax: Syntax) -> object:
        return parse(data, syntax) if data != b"{}" else 1 / 0

    monkeypatch.setattr(examine, "parse", defective)
    questions = [ask("a.json", text(1)), ask("bad.json", "{}"), ask("b.json", text(2))]

    assert [good is not None for good in examine.examine(questions)] == [True, False, True]


def test_no_descriptor_is_left_open(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    questions = [ask("a.json", text(1)), ask("b.json", "{"), Question("/nowhere", 1, Syntax.JSON)]
    before = len(os.listdir("/proc/self/fd"))
    examine.examine(questions)
    monkeypatch.setattr(durable, "sync_files", lambda fds: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        examine.examine(questions)

    assert len(os.listdir("/proc/self/fd")) == before


def test_elsewhere_says_the_same_in_plain_values(ask: Ask) -> None:
    asked: list[int] = []

    def other_process(values: Any) -> Any:
        asked.append(len(values))
        return marshal.loads(marshal.dumps(examine.answers(marshal.loads(marshal.dumps(values)))))

    questions = [ask(f"{n}.json", text(n) if n else "{}") for n in range(examine.MANY)]

    assert examine.elsewhere(other_process)(questions) == examine.examine(questions)
    assert asked == [examine.MANY]


def test_few_files_or_nobody_there_to_ask_are_for_this_process(ask: Ask) -> None:
    questions = [ask(f"{n}.json", text(n)) for n in range(examine.MANY)]
    here = examine.examine(questions)

    assert examine.elsewhere(lambda values: None)(questions) == here
    assert examine.elsewhere(lambda values: 1 / 0)(questions[1:]) == here[1:], "nobody is asked"
