"""Scores are health data: no value of one, and no secret, gets into logs, stderr, our sidecars or the ledger."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from canarysync import cli, logs
from canarysync.answers import Answer
from canarysync.errors import Exit
from canarysync.metrics import Meter
from canarysync.report import Summary
from canarysync.sandbox import SANDBOX_API_KEY, Sandbox
from canarysync.sandbox.tokens import Tokens
from canarysync.service import service
from tests.support import ASSESSMENT, PATIENCE_S, Site, log_as_before, make_site, score, unique_assessment, wait_for
from tests.system.raw_api import Asked, RawApi, plain

WORD = "CANARY-VALUE-7f3"
DIGITS = "918273645"
INSTANT = "1987-03-14T01:59:26.535897Z"
VALUES = (WORD, DIGITS, "1987-03-14", "01:59:26", "535897")
"""What is in the files and may be nowhere else."""

SECRET = {"value": WORD, "number": 918273645, "list": [918273645.5, WORD], "nested": {"deep": WORD}}


def secret(number: int = 0, **changes: object) -> dict[str, object]:
    """A valid score full of what nobody may see; each ``number`` is another one."""
    content: dict[str, Any] = {"scoreData": {**SECRET, "count": number}, "extraData": SECRET, "dateRecorded": INSTANT}
    return score(number, **{**content, **changes})


# --- what can be seen --------------------------------------------------------------------------------


class Seen:
    """All that a run lets out."""

    def __init__(self, site: Site, log: io.StringIO, capture: pytest.CaptureFixture[str]) -> None:
        self._site = site
        self._log = log
        self._capture = capture
        self._ledger = b""
        self._printed = ""

    def look_at_the_ledger(self) -> None:
        """Keep what the state folder holds now; while the daemon works, that is the WAL too."""
        folder = self._site.home / "state"
        if folder.is_dir():
            self._ledger += b"".join(path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file())

    def assert_nothing_of(self, *texts: str, responses: bool = False, sidecars: bool = True) -> None:
        """``responses``: the server's own words in error sidecars are looked at too; ``sidecars``: they are at all."""
        self.look_at_the_ledger()
        printed = self._capture.readouterr()
        self._printed += printed.out + printed.err
        places = {
            "the log": self._log.getvalue(),
            "stdout and stderr": self._printed,
            "the ledger": self._ledger.decode("utf-8", "replace"),
            **({path.name: _told(path, responses) for path in self._sidecars()} if sidecars else {}),
        }
        for place, content in places.items():
            for text in texts:
                assert text not in content, f"{text} in {place}"

    def _sidecars(self) -> Iterator[Path]:
        yield from self._site.done.glob("*.receipt.json")
        yield from self._site.failed.glob("*.error.json")


def _told(sidecar: Path, responses: bool) -> str:
    content = json.loads(sidecar.read_bytes())
    return json.dumps(content if responses else {**content, "response": None}, ensure_ascii=False)


@pytest.fixture(params=["text", "json"])
def log(request: pytest.FixtureRequest) -> Iterator[io.StringIO]:
    """The log at its most talkative."""
    stream = io.StringIO()
    with log_as_before():
        logs.set_up("debug", request.param, stream)
        yield stream


@pytest.fixture
def seen(site: Site, log: io.StringIO, capfd: pytest.CaptureFixture[str]) -> Seen:
    return Seen(site, log, capfd)


@pytest.fixture
def issued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The API key, and every token that the sandbox gives out."""
    tokens = [SANDBOX_API_KEY]
    pair = Tokens._pair

    def noted(self: Tokens) -> dict[str, str]:
        made = pair(self)
        tokens.extend(made.values())
        return made

    monkeypatch.setattr(Tokens, "_pair", noted)
    return tokens


# --- every outcome -----------------------------------------------------------------------------------

OUTCOMES = [
    [],
    ["put:status=422"],
    ["put:status=403"],
    ["put:status=408,retry_after=30"],
    ["put:status=429,retry_after=30"],
    ["put:status=401"],
    ["put:expired,times=1"],
    ["put:status=302"],
    ["put:html,status=404"],
    ["put:drop_after,times=1"],
    ["put:drop_before,times=1"],
    ["put:drop_before,times=1", "scores:status=403"],
    ["put:drop_after,times=1", "scores:garbage"],
    ["put:garbage,times=1"],
    ["token:status=401"],
    ["token:garbage"],
    ["token:html,status=403"],
]


@pytest.mark.parametrize("faults", OUTCOMES, ids=" ".join)
def test_no_value_and_no_secret_gets_out_whatever_the_outcome(
    site: Site, sandbox: Sandbox, seen: Seen, log: io.StringIO, issued: list[str], faults: list[str]
) -> None:
    sandbox.faults.add(*faults)
    site.put("visit.json", secret(1))
    site.put("twin.json", secret(1))
    site.once(wait_s=0.4)
    site.once()
    seen.assert_nothing_of(*VALUES, *issued)
    assert log.getvalue(), "there was a log to look at"


def test_nor_while_the_request_is_under_way_nor_when_a_near_score_is_found(
    site: Site, sandbox: Sandbox, seen: Seen, issued: list[str]
) -> None:
    site.put("near.json", secret(1, dateRecorded=INSTANT, extraData={"other": WORD}))
    site.once()
    (site.home / "state" / "ledger.sqlite3").unlink()  # whose uuid that was is forgotten: now it is somebody else's
    (site.done / "near.json.receipt.json").unlink()
    sandbox.faults.add("put:drop_before,times=1")
    site.put("visit.json", secret(1))
    ended: list[Summary] = []
    for _ in range(50):
        ended.append(site.once())
        seen.look_at_the_ledger()
        if ended[-1].held:
            break
    assert ended[-1].held == 1
    seen.assert_nothing_of(*VALUES, *issued)


def test_the_ledger_at_work_holds_no_value(
    tmp_path: Path, log: io.StringIO, capfd: pytest.CaptureFixture[str], issued: list[str]
) -> None:
    """Looked at while it is open: with its WAL, and with an intent in it."""
    looks: list[Seen] = []

    def look(line: str) -> None:
        if line.startswith("PUT "):
            looks.append(watcher)
            watcher.look_at_the_ledger()

    with Sandbox(log=look) as sandbox:
        site = make_site(tmp_path, sandbox.url)
        watcher = Seen(site, log, capfd)
        site.put("visit.json", secret(1))
        assert site.once().exit_code() == Exit.OK
        assert looks
        watcher.assert_nothing_of(*VALUES, *issued)


# --- files with everything wrong ---------------------------------------------------------------------


def valid_but(**changes: object) -> str:
    return json.dumps(secret(1, **changes))


BAD_JSON = {
    "types": valid_but(assessmentId=WORD, dateRecorded=WORD, scoreId=918273645, scoreType=[WORD], scoreData=WORD),
    "more types": valid_but(assessmentId=918273645, dateRecorded=918273645, scoreId={"a": WORD}, extraData=[WORD]),
    "formats": valid_but(assessmentId=f"{ASSESSMENT}{WORD}", dateRecorded=f"{INSTANT}{WORD}"),
    "times": valid_but(dateRecorded="1987-03-14 01:59:26"),
    "days": valid_but(dateRecorded="1987-03-14T25:59:26Z"),
    "overseer": valid_but(scoreType=f"OVERSEER {WORD}"),
    "no value": valid_but(scoreData={"vlaue": WORD, "values": 918273645}),
    "unknown keys": valid_but(extradata=SECRET, note=WORD, amount=918273645),
    "a list": json.dumps([WORD, 918273645]),
    "a text": json.dumps(WORD),
    "a number": DIGITS,
    "an empty key": json.dumps({"": WORD}),
    "trailing comma": valid_but()[:-1] + ",}",
    "two documents": valid_but() + valid_but(),
    "cut in a text": valid_but().rpartition(WORD)[0] + WORD,
    "cut after a number": valid_but().partition(DIGITS)[0] + DIGITS,
    "leading zero": f'{{"value": 0{DIGITS}}}',
    "plus": f'{{"value": +{DIGITS}}}',
    "decimal comma": f'{{"value": {DIGITS},{DIGITS}}}',
    "bare word": f'{{"value": {WORD}}}',
    "single quotes": f"{{'value': '{WORD}'}}",
    "bad escape": f'{{"value": "\\q{WORD}"}}',
    "lone surrogate": f'{{"value": "\\ud800{WORD}"}}',
    "control character": f'{{"value": "\t{WORD}"}}',
    "missing comma": f'{{"a": "{WORD}" "b": {DIGITS}}}',
    "missing colon": f'{{"a" "{WORD}"}}',
    "comment": f'{{"a": 1}} // {WORD}',
    "same key twice": f'{{"a": "{WORD}", "a": {DIGITS}}}',
    "too deep": f'{{"a": {"[" * 5000}"{WORD}"',
    "huge exponent": f'{{"value": {DIGITS}e{"9" * 5000}}}',
    "not utf-8": f'{{"value": "{WORD}\udcff{DIGITS}"}}',
}

BAD_YAML = {
    "types": f"assessmentId: {WORD}\ndateRecorded: {DIGITS}\nscoreId: [{WORD}]\nscoreData: {WORD}\n",
    "a scalar": WORD,
    "a list": f"- {WORD}\n- {DIGITS}\n",
    "leading zero": f"scoreData: {{value: 0{DIGITS}}}\n",
    "plus": f"scoreData: {{value: +{DIGITS}}}\n",
    "point first": f"scoreData: {{value: .{DIGITS}}}\n",
    "open list": f"scoreData: [{WORD}\n",
    "open quote": f'scoreData: "{WORD}\n',
    "bad escape": f'scoreData: "\\q{WORD}"\n',
    "tab": f"scoreData:\n\tvalue: {WORD}\n",
    "colon in a value": f"scoreId: a: {WORD}\n",
    "at sign": f"scoreId: @{WORD}\n",
    "percent": f"scoreId: %{WORD}\n",
    "tag": f"scoreId: !{WORD} x\n",
    "core tag": f"scoreData: !!int {WORD}\n",
    "unknown alias": f"scoreId: *{WORD}\n",
    "directive": f"%{WORD} 1\n---\nscoreId: x\n",
    "block header": f"scoreId: |{WORD}\n",
    "two documents": f"scoreId: {WORD}\n---\nscoreId: {WORD}\n",
    "a list as key": f"? [{WORD}]\n: {DIGITS}\n",
    "same key twice": f"scoreId: {WORD}\nscoreId: {DIGITS}\n",
    "merge": f"scoreData: {{<<: {{value: {WORD}}}}}\n",
    "too deep": "a: " + "[" * 5000 + WORD,
    "line separator": f"scoreId: {WORD}\u2028x\n",
    "control character": f"scoreId: {WORD}\x07\n",
    "not utf-8": f"scoreId: {WORD}\udcff\n",
}


def test_problems_name_places_not_values(site: Site, seen: Seen, issued: list[str]) -> None:
    """Of the files that each have something else wrong with them, none gets through, and none is quoted."""
    for number, (kind, bad) in enumerate((("json", BAD_JSON), ("yaml", BAD_YAML))):
        for index, text in enumerate(bad.values()):
            site.put(f"{number}-{index:02}.{kind}", text.encode("utf-8", "surrogateescape"))
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.NEEDS_A_PERSON
    assert site.waiting() == []
    assert site.filed() == []
    assert len(list(site.failed.glob("*.error.json"))) == len(BAD_JSON) + len(BAD_YAML)
    seen.assert_nothing_of(*VALUES, *issued, responses=True)


@pytest.mark.parametrize("format", ["text", "json"])
def test_the_real_program_says_no_value_either(
    tmp_path: Path, sandbox: Sandbox, issued: list[str], format: str
) -> None:
    site = make_site(tmp_path, sandbox.url, log__level="debug", log__format=format)
    contents = {"good.json": valid_but(), "bad.json": BAD_JSON["types"], "bad.yaml": BAD_YAML["types"]}
    for name, text in contents.items():
        site.put(name, text)
    sandbox.faults.add("put:drop_after,times=1", "put:status=422,skip=1")
    done = site.cli("run-once", "-c", str(site.config_path), "--wait", "30s")
    assert done.returncode == Exit.NEEDS_A_PERSON
    assert "failed" in done.stderr
    for text in (*VALUES, *issued):
        assert text not in done.stdout + done.stderr


# --- defects -----------------------------------------------------------------------------------------


def run_with(broken: tuple[Any, str], site: Site) -> Exit:
    """A single run in whose workers a function of the standard library fails in a way that nobody thought of.

    Fails where the run would never end. DEFECT: the run was broken off, as cli/ tells it.
    """
    module, name = broken
    original, ended = getattr(module, name), list[Exit]()

    def breaks(*arguments: Any, **more: Any) -> Any:
        if threading.current_thread().name.startswith("worker"):
            raise ValueError(f"invalid literal: {WORD} {DIGITS} {SANDBOX_API_KEY}")
        return original(*arguments, **more)

    def run() -> None:
        try:
            ended.append(site.once().exit_code())
        except ValueError:
            ended.append(Exit.DEFECT)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, name, breaks)
        runner = threading.Thread(target=run, daemon=True)
        runner.start()
        runner.join(10)
    assert ended, "a run that never ends"
    return ended[0]


@pytest.mark.parametrize(
    "broken", [(hashlib, "sha256"), (os, "access"), (os, "statvfs")], ids=["read", "check", "room"]
)
def test_a_defect_at_one_file_is_told_without_its_message(
    site: Site, seen: Seen, log: io.StringIO, broken: tuple[Any, str]
) -> None:
    """What Python says of an unexpected error quotes what it stumbled over: only its type and place are told."""
    site.once()
    site.put("visit.json", secret(1))
    assert run_with(broken, site) == Exit.TRY_AGAIN
    assert site.waiting() == ["visit.json"]
    assert "defect" in log.getvalue()
    assert "ValueError" in log.getvalue()
    seen.assert_nothing_of(*VALUES, SANDBOX_API_KEY)


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("broken", [(os, "fstat"), (os, "scandir")], ids=["present", "scan"])
def test_a_defect_at_the_folder_ends_the_run_and_is_no_secret_teller(
    site: Site, seen: Seen, broken: tuple[Any, str]
) -> None:
    site.once()
    site.put("visit.json", secret(1))
    assert run_with(broken, site) in (Exit.TRY_AGAIN, Exit.DEFECT)
    assert site.waiting() == ["visit.json"]
    seen.assert_nothing_of(*VALUES, SANDBOX_API_KEY)


# --- whatever the server says, whoever asks ------------------------------------------------------------

KEY = "canary_key_5c1"
"""A key in the files: problems may name it, nothing else."""
SCORE_ID = "CANARY-SCORE-ID-2e9"
"""Receipts name it, nothing else."""
PASSWORD = "canary-password-88d"


ECHOES = [
    *(("put", status) for status in (b"200", b"302", b"403", b"422", b"500", b"503")),
    *(("scores", status) for status in (b"200", b"500")),
    *(("token", status) for status in (b"200", b"400")),
]


def echo(endpoint: str, status: bytes, asked: Asked) -> Iterator[bytes] | None:
    """Says back what it was told, in every part of the answer; gets to the list of scores by way of a doubt."""
    if asked.endpoint != endpoint:
        return plain(b"", status=b"500 Oops") if (asked.endpoint, endpoint) == ("put", "scores") else None
    word, told = WORD.encode(), {"uuid": WORD, "scores": [WORD, DIGITS], "accessToken": f"{WORD} {DIGITS}"}
    said = told | {"echo": [asked.body.decode(), *asked.headers.values()]}
    headers = b"Retry-After: " + word, b"X-Echo: " + word, b"Location: http://127.0.0.1:1/" + word
    return plain(json.dumps(said).encode(), *headers, status=status + b" " + word)


def test_what_the_server_says_back_is_only_in_the_sidecar_of_a_refusal(
    tmp_path: Path, log: io.StringIO, capfd: pytest.CaptureFixture[str]
) -> None:
    with RawApi() as api:
        site = make_site(tmp_path, api.url)
        seen = Seen(site, log, capfd)
        for number, (endpoint, status) in enumerate(ECHOES):
            api.says = partial(echo, endpoint, status)
            site.put(f"{number}.json", secret(number, assessmentId=unique_assessment()))
            wait_for(partial(heard, site, api, endpoint), f"{endpoint} to be asked")
    seen.assert_nothing_of(*VALUES, SANDBOX_API_KEY, "access-secret")
    assert WORD in "".join(path.read_text() for path in site.failed.glob("*.error.json")), "it is documented"


def heard(site: Site, api: RawApi, endpoint: str) -> bool:
    """Whether one pass more asked the ``endpoint``."""
    before = len(api.asked)
    site.once()
    return endpoint in {asked.endpoint for asked in api.asked[before:]}


def with_json(command: str) -> list[list[str]]:
    """A command's ways to be called, as far as its options tell."""
    options = {name for param in cli.cli.commands[command].params for name in param.opts}
    config = ["--config", "CONFIG"] if "--config" in options else []
    return [[command, *config], *([[command, *config, "--json"]] if "--json" in options else [])]


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    """A command as the real program runs it, in this process."""
    monkeypatch.setattr("sys.argv", ["canarysync", *arguments])
    monkeypatch.setattr(threading, "excepthook", threading.excepthook)  # which it replaces
    with contextlib.suppress(SystemExit):
        cli.main()


@pytest.mark.parametrize("log", ["text"], indirect=True)
def test_no_command_tells_more(
    site: Site, sandbox: Sandbox, seen: Seen, issued: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each command, on a site with a file at every end and in every state."""
    sandbox.faults.add("put:drop_before,times=1", "scores:status=403", "put:status=408,skip=2,times=1")
    for number, name in enumerate(("held", "done", "waits", "late")):
        inside = {"value": number, KEY: WORD}
        site.put(f"{name}.json", secret(number, scoreId=SCORE_ID, scoreData=inside, extraData={KEY: SECRET}))
        site.once()
    site.put("bad.json", json.dumps(secret(9, scoreId=SCORE_ID, scoreData={KEY: WORD})))
    site.once()
    issued.append(PASSWORD)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:{PASSWORD}@127.0.0.1:1")
    far = site.home / "far.yaml"
    far.write_text(site.config_path.read_text().replace(sandbox.url, "https://api.invalid"))
    for command in sorted(set(cli.cli.commands) - {"run", "sandbox", "demo", "init"}):
        for arguments in with_json(command):
            for config in (site.config_path, far):
                call(monkeypatch, *(str(config) if part == "CONFIG" else part for part in arguments))
    call(monkeypatch, "validate", "--json", str(site.failed / "bad.json"))
    call(monkeypatch, "resolve", "held.json", "--send-again", "-c", str(site.config_path))
    seen.assert_nothing_of(*VALUES, *issued)
    seen.assert_nothing_of(SCORE_ID, KEY, sidecars=False)


def test_nor_do_the_metrics(site: Site, sandbox: Sandbox) -> None:
    """Nothing of a file is in them, not even its name; nor of the API's key, tokens or words."""
    meter = Meter()
    site.put(f"{WORD}.json", secret(1, scoreId=SCORE_ID))
    site.put(f"{WORD}-bad.json", json.dumps({WORD: DIGITS}))
    with service(site.config, os.environ, once=True, observer=meter.visited) as daemon:
        daemon.run()
    meter.requested("put-score", upload_answer(), 0.1)
    text = meter.page(None).body.decode()
    assert 'outcome="uploaded",route="clinic"} 1.0' in text
    for value in (*VALUES, ASSESSMENT, SCORE_ID, SANDBOX_API_KEY):
        assert value not in text


def upload_answer() -> Answer:
    return Answer(200, f"text/{WORD}", WORD.encode(), WORD)
