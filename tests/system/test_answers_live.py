"""What an answer means (DESIGN §6, the table), row by row: real sockets, real folders, the real pipeline."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from canarysync.errors import Exit
from canarysync.sandbox import Endpoint, Fault, Kind, Sandbox
from canarysync.step import Outcome
from tests.support import ASSESSMENT, PATIENCE_S, Site, make_site, score, stored, wait_for

NAME = "visit.json"
WORDS = "a fault was asked for"
UUID = "7f0c3b1a-9c1e-4c55-8a39-000000000001"


def put_count(sandbox: Sandbox) -> int:
    """All PUTs that the sandbox has answered, or dropped."""
    return sum(count for (endpoint, _), count in sandbox.requests.items() if endpoint == Endpoint.PUT)


def looks(sandbox: Sandbox) -> int:
    """All read-backs that the sandbox was asked for."""
    return sum(count for (endpoint, _), count in sandbox.requests.items() if endpoint == Endpoint.SCORES)


def assert_waits_untouched(site: Site, *names: str) -> None:
    """The files are where they were dropped, and nothing was said of them in done/ or failed/."""
    assert site.waiting() == sorted(names)
    assert os.listdir(site.done) == []
    assert os.listdir(site.failed) == []


def with_ready_token(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch, token: str, **more: Any) -> Site:
    """A site that is given an access token, so that its first request is the PUT itself."""
    monkeypatch.setenv("SYSTEM_TEST_TOKEN", token)
    return make_site(tmp_path, url, api__api_key=None, api__token={"env": "SYSTEM_TEST_TOKEN"}, **more)


# --- taken -------------------------------------------------------------------------------------------


def test_a_score_that_is_taken_is_filed_with_a_true_receipt(site: Site, sandbox: Sandbox) -> None:
    site.put(NAME, score(12))
    assert site.once().exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))
    receipt = site.receipt(NAME)
    assert (receipt["outcome"], receipt["proof"], receipt["attempts"]) == ("uploaded", "response", 1)
    assert (receipt["assessmentId"], receipt["scoreId"], receipt["file"]) == (ASSESSMENT, "PHQ9", NAME)
    assert receipt["sha256"] == hashlib.sha256((site.done / NAME).read_bytes()).hexdigest()
    assert receipt["endpoint"] == sandbox.url
    assert dict(sandbox.requests) == {("token", 200): 1, ("put", 200): 1}


# --- sent, and no proof ------------------------------------------------------------------------------

TAKEN_WITHOUT_PROOF = [
    "put:no_uuid,times=1",
    "put:no_uuid,status=202,times=1",
    "put:garbage,times=1",
    "put:cut,times=1",
    "put:drop_after,times=1",
    "put:reset_after,times=1",
    "put:status_after,status=500,times=1",
    "put:status_after,status=502,times=1",
    "put:status_after,status=503,times=1",
    "put:status_after,status=504,times=1",
]


@pytest.mark.parametrize("fault", TAKEN_WITHOUT_PROOF)
def test_what_the_server_took_without_proof_is_read_back(site: Site, sandbox: Sandbox, fault: str) -> None:
    sandbox.faults.add(fault)
    site.put(NAME, score(1))
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))
    receipt = site.receipt(NAME)
    assert (receipt["outcome"], receipt["proof"], receipt["attempts"]) == ("recovered", "read-back", 1)
    assert put_count(sandbox) == 1


LOST = [
    "put:drop_before,times=1",
    "put:reset_before,times=1",
    "put:status=500,times=1",
    "put:status=501,times=1",
    "put:status=503,times=1",
    "put:status=599,times=1",
    "put:html,status=502,times=1",
]


@pytest.mark.parametrize("fault", LOST)
def test_what_the_server_never_had_is_sent_again_after_two_looks(site: Site, sandbox: Sandbox, fault: str) -> None:
    sandbox.faults.add(fault)
    site.put(NAME, score(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    assert_waits_untouched(site, NAME)
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))
    receipt = site.receipt(NAME)
    assert (receipt["outcome"], receipt["proof"], receipt["attempts"]) == ("uploaded", "response", 2)
    assert "possibleDuplicate" not in receipt
    assert (put_count(sandbox), looks(sandbox)) == (2, 3), "two looks before the second sending, one after it"


@pytest.mark.parametrize(
    ("fault", "wait"),
    [("put:delay_after,delay=1.5,times=1", "100ms"), ("put:delay,delay=0.6,times=1", "1s")],
    ids=["taken, answered late", "taken after we gave up"],
)
def test_an_answer_beyond_the_read_timeout_is_in_doubt(tmp_path: Path, sandbox: Sandbox, fault: str, wait: str) -> None:
    site = make_site(tmp_path, sandbox.url, api__timeout__read="300ms", api__read_back__wait=wait)
    sandbox.faults.add(fault)
    site.put(NAME, score(1))
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))
    assert site.receipt(NAME)["outcome"] == "recovered"


# --- refused -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 402, 404, 409, 410, 413, 415, 418, 422, 431, 451])
def test_a_refusal_goes_to_failed_with_status_and_words(site: Site, sandbox: Sandbox, status: int) -> None:
    sandbox.faults.add(f"put:status={status}")
    site.put(NAME, score(1))
    summary = site.once(wait_s=PATIENCE_S)
    assert summary.exit_code() == Exit.NEEDS_A_PERSON
    assert summary.codes == {"refused": 1}
    assert (site.waiting(), site.filed(), stored(sandbox)) == ([], [], [])
    assert sorted(os.listdir(site.failed)) == [NAME, f"{NAME}.error.json"]
    error = site.error(NAME)
    assert (error["code"], error["status"], error["attempts"]) == ("refused", status, 1)
    assert WORDS in error["response"]
    assert put_count(sandbox) == 1


# --- not the API speaking ----------------------------------------------------------------------------

NOT_THE_API = [
    *(f"put:status={status}" for status in (300, 301, 302, 303, 304, 307, 308, 407)),
    *(f"put:html,status={status}" for status in (400, 403, 404, 413, 422, 429, 451)),
    "put:html,status=302",
    "token:status=302",
    "token:html,status=200",
    "token:html,status=404",
    "token:status=500",
    "token:status=429,retry_after=1",
    "token:garbage",
    "token:drop_after",
]


@pytest.mark.parametrize("fault", NOT_THE_API)
def test_what_is_not_the_api_holds_the_api_and_condemns_nobody(site: Site, sandbox: Sandbox, fault: str) -> None:
    sandbox.faults.add(fault)
    for number in range(3):
        site.put(f"{number}.json", score(number))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    assert_waits_untouched(site, "0.json", "1.json", "2.json")
    sandbox.faults.clear()
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    site.assert_all_done_once(["0.json", "1.json", "2.json"], stored(sandbox))
    assert looks(sandbox) == 0, "nothing was in doubt"


class Seen(NamedTuple):
    """One request as a scripted server saw it."""

    method: str
    path: str
    headers: dict[str, str]


class Scripted(ThreadingHTTPServer):
    """Answers each request with the (status, headers, body) that ``answer`` gives, and keeps what it saw."""

    daemon_threads = True

    def __init__(self, answer: Callable[[Seen], tuple[int, dict[str, str], bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Scripted)
        self.answer = answer
        self.seen: list[Seen] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Scripted(BaseHTTPRequestHandler):
    server: Scripted
    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", "0")))
        seen = Seen(self.command, self.path, {key.lower(): value for key, value in self.headers.items()})
        self.server.seen.append(seen)
        status, headers, body = self.server.answer(seen)
        self.send_response(status)
        chunked = "Transfer-Encoding" in headers
        for key, value in {**headers, **({} if chunked else {"Content-Length": str(len(body))})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PUT

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def serving(server: socketserver.BaseServer) -> Iterator[None]:
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def tokens_then(
    answer: tuple[int, dict[str, str], bytes],
) -> Callable[[Seen], tuple[int, dict[str, str], bytes]]:
    """Tokens for whoever asks for them, and ``answer`` to all else."""

    def script(seen: Seen) -> tuple[int, dict[str, str], bytes]:
        if seen.path.startswith("/v3/auth/"):
            body = json.dumps({"accessToken": "access-secret", "refreshToken": "refresh-secret"}).encode()
            return 200, {"Content-Type": "application/json"}, body
        return answer

    return script


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("redirected", ["the score", "the API key"])
def test_no_redirect_is_followed_and_no_secret_leaves_for_another_host(
    tmp_path: Path, status: int, redirected: str
) -> None:
    elsewhere = Scripted(lambda seen: (200, {"Content-Type": "application/json"}, b'{"uuid": "%s"}' % UUID.encode()))
    away = (status, {"Location": f"{elsewhere.url}/v2/stolen"}, b"")
    front = Scripted(tokens_then(away) if redirected == "the score" else lambda seen: away)
    with serving(elsewhere), serving(front):
        site = make_site(tmp_path, front.url)
        site.put(NAME, score(1))
        assert site.once().exit_code() == Exit.TRY_AGAIN
    assert_waits_untouched(site, NAME)
    assert front.seen[-1].method == ("PUT" if redirected == "the score" else "POST"), "the redirect was given"
    assert elsewhere.seen == []


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({}, b""),
        ({"Content-Type": "text/plain"}, b"no such survey"),
        ({"Content-Type": "application/problem+json"}, b"{"),
    ],
    ids=["no body", "plain words", "broken JSON"],
)
def test_a_refusal_counts_whatever_its_body_as_long_as_it_is_not_html(
    tmp_path: Path, headers: dict[str, str], body: bytes
) -> None:
    front = Scripted(tokens_then((422, headers, body)))
    with serving(front):
        site = make_site(tmp_path, front.url)
        site.put(NAME, score(1))
        assert site.once().exit_code() == Exit.NEEDS_A_PERSON
    assert (site.error(NAME)["status"], site.error(NAME)["response"]) == (422, body.decode())


def test_the_words_of_a_refusal_are_shortened_and_harmless(tmp_path: Path) -> None:
    body = b'{"message": "\x1b[2J \xe2\x80\xae \xff ' + b"x" * 100_000 + b'"}'
    front = Scripted(tokens_then((400, {"Content-Type": "application/json"}, body)))
    with serving(front):
        site = make_site(tmp_path, front.url)
        site.put(NAME, score(1))
        assert site.once().exit_code() == Exit.NEEDS_A_PERSON
    assert len(site.error(NAME)["response"]) < 3000
    assert b"\x1b" not in (site.failed / f"{NAME}.error.json").read_bytes()


@pytest.mark.parametrize("whole", [True, False], ids=["whole", "its end is missing"])
def test_a_chunked_answer(tmp_path: Path, whole: bool) -> None:
    """RFC 9112 §7.1: without the last chunk the answer is not whole, though its JSON happens to be."""
    body = b'{"uuid": "%s"}' % UUID.encode()
    chunked = b"%x\r\n%s\r\n" % (len(body), body) + (b"0\r\n\r\n" if whole else b"")
    headers = {"Content-Type": "application/json", "Transfer-Encoding": "chunked", "Connection": "close"}
    front = Scripted(tokens_then((200, headers, chunked)))
    with serving(front):
        site = make_site(tmp_path, front.url)
        site.put(NAME, score(1))
        summary = site.once()
    assert summary.exit_code() == (Exit.OK if whole else Exit.TRY_AGAIN)
    assert site.filed() == ([NAME] if whole else [])


# --- 401 and 403 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("refresh_works", [True, False])
def test_a_revoked_token_is_renewed_once_and_the_score_sent(site: Site, sandbox: Sandbox, refresh_works: bool) -> None:
    sandbox.faults.add("put:expired,times=1")
    if not refresh_works:
        sandbox.faults.add("refresh:status=401")
    site.put(NAME, score(1))
    assert site.once().exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))
    assert site.receipt(NAME)["outcome"] == "uploaded"
    renewals = {("refresh", 200): 1} if refresh_works else {("refresh", 401): 1}
    tokens = {("token", 200): 1 if refresh_works else 2}
    assert dict(sandbox.requests) == {("put", 401): 1, ("put", 200): 1} | renewals | tokens


def test_a_401_for_good_holds_the_api_and_condemns_nobody(site: Site, sandbox: Sandbox) -> None:
    sandbox.faults.add("put:status=401")
    site.put(NAME, score(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    assert_waits_untouched(site, NAME)
    assert dict(sandbox.requests) == {("token", 200): 1, ("put", 401): 2, ("refresh", 200): 1}
    sandbox.faults.clear()
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert (site.receipt(NAME)["outcome"], looks(sandbox)) == ("uploaded", 0)


def test_a_wrong_api_key_holds_the_api_and_condemns_nobody(site: Site, sandbox: Sandbox) -> None:
    right = (site.home / "api-key").read_text()
    (site.home / "api-key").write_text("1A2B3C:d3Jvbmc")
    for number in range(12):
        site.put(f"{number:02}.json", score(number))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    names = [f"{number:02}.json" for number in range(12)]
    assert_waits_untouched(site, *names)
    assert put_count(sandbox) == 0
    (site.home / "api-key").write_text(right)
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    site.assert_all_done_once(names, stored(sandbox))


def test_a_403_is_refused_at_the_fifth_attempt_and_not_before_across_runs(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_site(tmp_path, sandbox.url, routes__retry__most="100ms")
    sandbox.faults.add("put:status=403")
    site.put(NAME, score(1))
    runs = 0

    def condemned() -> bool:
        nonlocal runs
        runs += 1
        code = site.once().exit_code()
        refused = sandbox.requests["put", 403]
        assert code == (Exit.NEEDS_A_PERSON if refused >= 5 else Exit.TRY_AGAIN)
        assert os.listdir(site.failed) == [] or refused == 5
        return refused >= 5

    wait_for(condemned, "five attempts")
    assert runs > 1
    assert (site.error(NAME)["status"], site.error(NAME)["attempts"]) == (403, 5)
    assert WORDS in site.error(NAME)["response"]


def test_a_first_403_after_an_outage_is_not_the_end(tmp_path: Path, sandbox: Sandbox) -> None:
    """Five attempts at an outage say nothing of a permission: the five are answers of 403."""
    site = make_site(tmp_path, sandbox.url, routes__retry__most="100ms")
    sandbox.faults.add("put:status=408,times=6", "put:status=403,times=1")
    site.put(NAME, score(1))
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))


# --- try later ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [408, 425, 429, 403])
def test_what_may_be_tried_again_is_and_without_doubt(site: Site, sandbox: Sandbox, status: int) -> None:
    sandbox.faults.add(f"put:status={status},times=1")
    site.put(NAME, score(1))
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    site.assert_all_done_once([NAME], stored(sandbox))
    assert (site.receipt(NAME)["attempts"], looks(sandbox)) == (2, 0)


def in_half_a_minute() -> str:
    return format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)


@pytest.mark.parametrize(("status", "as_date"), [(408, False), (425, True)])
def test_one_files_retry_after_delays_that_file_only(site: Site, sandbox: Sandbox, status: int, as_date: bool) -> None:
    pause = in_half_a_minute() if as_date else "30"
    sandbox.faults.add(Fault(Endpoint.PUT, Kind.STATUS, status, pause, times=1))
    site.put("a.json", score(1))
    site.put("b.json", score(2))
    assert site.once(wait_s=0.3).exit_code() == Exit.TRY_AGAIN
    assert site.once().exit_code() == Exit.TRY_AGAIN, "the next run keeps to it, too"
    assert (len(site.filed()), len(site.waiting()), put_count(sandbox)) == (1, 1, 2)


@pytest.mark.parametrize(("status", "as_date"), [(429, False), (503, True)])
def test_retry_after_of_a_busy_server_is_obeyed_by_everybody(
    tmp_path: Path, sandbox: Sandbox, status: int, as_date: bool
) -> None:
    site = make_site(tmp_path, sandbox.url, api__concurrency=1)
    pause = in_half_a_minute() if as_date else "30"
    sandbox.faults.add(Fault(Endpoint.PUT, Kind.STATUS, status, pause, times=1))
    for number in range(5):
        site.put(f"{number}.json", score(number))
    assert site.once(wait_s=1.2).exit_code() == Exit.TRY_AGAIN  # longer than a shut gate waits by itself
    assert_waits_untouched(site, *(f"{number}.json" for number in range(5)))
    assert (put_count(sandbox), looks(sandbox)) == (1, 0)


def test_after_the_pause_that_was_asked_for_all_goes_on(tmp_path: Path, sandbox: Sandbox) -> None:
    site = make_site(tmp_path, sandbox.url, api__concurrency=1)
    sandbox.faults.add("put:status=503,retry_after=2,times=1")
    names = [f"{number}.json" for number in range(5)]
    for number, name in enumerate(names):
        site.put(name, score(number))
    started_s = time.monotonic()
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert time.monotonic() - started_s >= 2
    site.assert_all_done_once(names, stored(sandbox))
    assert looks(sandbox) == 0


@pytest.mark.parametrize("status", [429, 503])
def test_the_next_run_keeps_to_a_retry_after_of_the_last(site: Site, sandbox: Sandbox, status: int) -> None:
    """`run-once` is called by cron: with a pause kept in memory only, each call would ask again."""
    sandbox.faults.add(f"put:status={status},retry_after=30,times=1")
    site.put(NAME, score(1))
    for _ in range(3):
        assert site.once().exit_code() == Exit.TRY_AGAIN
    assert put_count(sandbox) == 1


def test_a_success_that_was_under_way_does_not_end_the_pause(site: Site, sandbox: Sandbox) -> None:
    """The first PUT is slow and succeeds after the second was told to wait: the pause stands."""
    sandbox.faults.add("put:delay,delay=0.5,times=1", "put:status=429,retry_after=30,skip=1,times=1")
    site.put("a.json", score(1))
    site.put("b.json", score(2))
    assert site.once(wait_s=1.0).exit_code() == Exit.TRY_AGAIN
    assert (len(site.filed()), len(site.waiting())) == (1, 1)
    assert put_count(sandbox) == 2


def test_of_two_pauses_that_were_asked_for_the_longer_one_counts(site: Site, sandbox: Sandbox) -> None:
    """The answer to the first PUT comes last, and asks for more than the one before it."""
    sandbox.faults.add("put:status=429,retry_after=30,delay=0.3,times=1", "put:status=429,retry_after=1,times=1")
    site.put("a.json", score(1))
    site.put("b.json", score(2))
    assert site.once(wait_s=1.6).exit_code() == Exit.TRY_AGAIN
    assert_waits_untouched(site, "a.json", "b.json")
    assert put_count(sandbox) == 2


SENSELESS = [
    "-1",
    "soon",
    "1e9",
    "9" * 400,
    "Wed, 21 Oct 2026 07:28:00",
    "Wed, 99 Oct 2026 07:28:00 GMT",
    "Wed, 21 Oct 99999999999999999999 07:28:00 GMT",
    "Wed, 21 Oct 2026 07:28:00 +99999999999999999999",
]


@pytest.mark.parametrize("header", SENSELESS)
def test_a_senseless_retry_after_does_no_harm(site: Site, sandbox: Sandbox, header: str) -> None:
    sandbox.faults.add(Fault(Endpoint.PUT, Kind.STATUS, 408, header, times=1))
    site.put(NAME, score(1))
    reasons = set(site.once().left)
    assert reasons <= {"deferred"}
    if header.isdigit():
        return  # capped at an hour
    assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert (site.receipt(NAME)["outcome"], site.receipt(NAME)["attempts"], looks(sandbox)) == ("uploaded", 2, 0)


# --- never sent --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ready_token", [True, False])
def test_a_refused_connection_leaves_no_doubt(
    tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, ready_token: bool
) -> None:
    site = (
        with_ready_token(tmp_path, sandbox.url, monkeypatch, sandbox.access_token())
        if ready_token
        else make_site(tmp_path, sandbox.url)
    )
    site.put(NAME, score(1))
    sandbox.stop()
    assert site.once().exit_code() == Exit.TRY_AGAIN
    assert_waits_untouched(site, NAME)
    sandbox.start()
    summary = site.once()
    assert (summary.exit_code(), summary.outcomes) == (Exit.OK, {Outcome.UPLOADED: 1})
    site.assert_all_done_once([NAME], stored(sandbox))
    assert looks(sandbox) == 0


class TlsFront(socketserver.ThreadingTCPServer):
    """TLS in front of the sandbox; counts connections."""

    daemon_threads = True

    def __init__(self, certificate: Path, key: Path, sandbox: Sandbox) -> None:
        super().__init__(("127.0.0.1", 0), _TlsConnection)
        self.context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.context.load_cert_chain(certificate, key)
        self.behind = ("127.0.0.1", int(sandbox.url.rpartition(":")[2]))
        self.connections = 0

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.server_address[1]}"


class _TlsConnection(socketserver.BaseRequestHandler):
    server: TlsFront

    def handle(self) -> None:
        self.server.connections += 1
        try:
            front = self.server.context.wrap_socket(self.request, server_side=True)
            with front, socket.create_connection(self.server.behind) as back:
                threading.Thread(target=pump, args=(back, front), daemon=True).start()
                pump(front, back)
        except (OSError, ValueError):
            return


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Carry bytes until one side hangs up."""
    try:
        while part := source.recv(65536):
            sink.sendall(part)
    except (OSError, ValueError):
        return


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and api.invalid, and its key."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl command here to make a certificate with")
    folder = tmp_path_factory.mktemp("tls")
    made, key = folder / "certificate.pem", folder / "key.pem"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=canarysync tests", "-addext", "subjectAltName=IP:127.0.0.1,DNS:api.invalid"]
    subprocess.run([*command, "-days", "2", "-keyout", str(key), "-out", str(made)], check=True, capture_output=True)
    return made, key


def test_an_untrusted_certificate_gets_nothing_and_one_probe_at_a_time(
    tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, certificate: tuple[Path, Path]
) -> None:
    front = TlsFront(*certificate, sandbox)
    names = [f"{number:02}.json" for number in range(20)]
    with serving(front):
        site = with_ready_token(tmp_path, front.url, monkeypatch, sandbox.access_token(), api__concurrency=4)
        for number, name in enumerate(names):
            site.put(name, score(number))
        assert site.once(wait_s=1.2).exit_code() == Exit.TRY_AGAIN
        assert_waits_untouched(site, *names)
        assert dict(sandbox.requests) == {}
        assert 1 <= front.connections <= 4 + 2, "those that were under way, then single probes"
        text = site.config_path.read_text()
        bundle = str(certificate[0])
        site.config_path.write_text(text.replace("api:\n", f"api:\n  ca_bundle: {json.dumps(bundle)}\n", 1))
        assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    site.assert_all_done_once(names, stored(sandbox))
    assert looks(sandbox) == 0, "never sent, so never in doubt"


def test_a_certificate_for_another_name_gets_nothing(
    tmp_path: Path, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, certificate: tuple[Path, Path]
) -> None:
    front = TlsFront(*certificate, sandbox)
    url = front.url.replace("127.0.0.1", "localhost")
    with serving(front):
        more = {"api__ca_bundle": str(certificate[0])}
        site = with_ready_token(tmp_path, url, monkeypatch, sandbox.access_token(), **more)
        site.put(NAME, score(1))
        assert site.once().exit_code() == Exit.TRY_AGAIN
    assert_waits_untouched(site, NAME)
    assert dict(sandbox.requests) == {}
