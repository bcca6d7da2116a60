"""An API that answers with whatever it likes: endless, enormous, compressed, malformed, late, or beside the point.

Real sockets and raw bytes. Whatever comes, memory and time are bounded, and every score is there once in the end.
"""

from __future__ import annotations

import gzip
import itertools
import json
import select
import socket
import sqlite3
import threading
import tracemalloc
import uuid
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from canarysync.answers import Deferred, HoldApi
from canarysync.auth import tokens_for
from canarysync.errors import Exit
from canarysync.model import Token
from canarysync.report import Event
from canarysync.sandbox import Endpoint, Fault, Kind, Sandbox
from canarysync.service import service, utc_now
from canarysync.step import Outcome
from canarysync.upload import Http
from tests.support import ASSESSMENT, PATIENCE_S, Site, make_site, score, stored, wait_for
from tests.system.raw_api import HANG_UP, Asked, RawApi, Says, honest, plain

MIB = 2**20


@contextmanager
def memory_of_at_most(most_bytes: int) -> Iterator[None]:
    """What is allocated meanwhile, by all threads, stays below ``most_bytes`` at any time."""
    tracemalloc.start()
    try:
        yield
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < most_bytes, f"{peak_bytes / MIB:.0f} MiB"


def assert_no_defect(caplog: pytest.LogCaptureFixture) -> None:
    assert [vars(r) for r in caplog.records if r.name.startswith("canarysync") and "defect" in str(vars(r))] == []


def only_doubt(tmp_path: Path, url: str, **more: Any) -> Site:
    """A site whose requests are cut off half a second after they began; what comes only once is no reason to hold."""
    timeouts = {"api__timeout__read": "200ms", "api__timeout__connect": "100ms"}
    return make_site(tmp_path, url, routes__retry__most="1h", **timeouts, **more)


# --- answers of all kinds ----------------------------------------------------------------------------

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
HTTP_0 = b"\x15\x03\x01\x00\x02\x02\x28"  # what a TLS server says to plain HTTP

Evil = Callable[[bytes], Iterable[bytes]]
"""Given the body of the honest answer, the bytes that are sent in its place."""


def endless(start: bytes, again: bytes) -> Evil:
    return lambda body: itertools.chain([start], itertools.repeat(again))


def framed(*headers: bytes, more: bytes = b"") -> Evil:
    """The honest body below odd headers, and ``more`` behind it; then the server hangs up."""
    return lambda body: [HEAD + b"".join(h + b"\r\n" for h in headers) + b"\r\n" + body + more, HANG_UP]


def started(line: bytes) -> Evil:
    """The honest body below an odd status line."""
    return lambda body: [line + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body, HANG_UP]


def compressed(coding: bytes, compress: Callable[[bytes], bytes]) -> Evil:
    return lambda body: plain(compress(body), b"Content-Encoding: " + coding)


LARGE = bytes(32 * MIB)
ZEROS = gzip.compress(bytes(48 * MIB))
DEFLATED_ZEROS = zlib.compress(bytes(48 * MIB))
BOMB = gzip.compress(ZEROS)
EVILS: dict[str, Evil] = {
    "endless body": endless(HEAD + b"\r\n", b" " * 65536),
    "endless chunks": endless(CHUNKED, b"10000\r\n" + b" " * 65536 + b"\r\n"),
    "endless headers": endless(HEAD, b"X: y\r\n" * 1000),
    "endless header": endless(HEAD + b"X: ", b"y" * 65536),
    "endless trailers": endless(CHUNKED + b"0\r\n", b"X: y\r\n" * 1000),
    "endless status line": endless(b"HTTP/1.1 200 ", b"O" * 65536),
    "endless interim answers": endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 1000),
    "100 MB": lambda body: itertools.chain([HEAD + b"Content-Length: %d\r\n\r\n" % 10**8], [b" " * 10**5] * 1000),
    "compressed though nobody asked": compressed(b"gzip", gzip.compress),
    "gzip bomb": compressed(b"gzip", lambda body: ZEROS),
    "nested bomb": compressed(b"gzip, gzip", lambda body: BOMB),
    "deflate bomb": compressed(b"deflate", lambda body: DEFLATED_ZEROS),
    "br that is none": compressed(b"br", lambda body: b"\x00" * 1000),
    "coding that nobody knows": compressed(b"canary, \xff", lambda body: body),
    "coding of the transfer": framed(b"Transfer-Encoding: gzip, chunked", more=b"\r\n"),
    "http/0.9": lambda body: [body, HANG_UP],
    "tls alert": lambda body: [HTTP_0, HANG_UP],
    "nothing": lambda body: [HANG_UP],
    "empty lines": lambda body: [b"\r\n\r\n\r\n" + body, HANG_UP],
    "icy": started(b"ICY 200 OK"),
    "no version": started(b"HTTP/ 200 OK"),
    "http/9": started(b"HTTP/9.9 200 OK"),
    "no reason": started(b"HTTP/1.1 200"),
    "status that is none": started(b"HTTP/1.1 OK"),
    "status too small": started(b"HTTP/1.1 99 No"),
    "status too large": started(b"HTTP/1.1 1000 No"),
    "status unheard of": started(b"HTTP/1.1 999 No"),
    "negative status": started(b"HTTP/1.1 -200 No"),
    "switching protocols": started(b"HTTP/1.1 101 Switching Protocols"),
    "no content, and a body": started(b"HTTP/1.1 204 No Content"),
    "reset content, and a body": started(b"HTTP/1.1 205 Reset Content"),
    "negative length": framed(b"Content-Length: -1"),
    "length that is none": framed(b"Content-Length: all of it"),
    "length of 5,000 digits": framed(b"Content-Length: " + b"9" * 5000),
    "length too long": framed(b"Content-Length: 60000"),
    "length too short": framed(b"Content-Length: 7"),
    "two lengths": framed(b"Content-Length: 7", b"Content-Length: 8"),
    "one length twice": framed(b"Content-Length: 7, 7"),
    "length and chunks": framed(b"Content-Length: 3", b"Transfer-Encoding: chunked"),
    "chunk of negative size": lambda body: [CHUNKED + b"-5\r\n" + body, HANG_UP],
    "chunk of no size": lambda body: [CHUNKED + b"\r\n" + body, HANG_UP],
    "chunk of a size beyond all": lambda body: [CHUNKED + b"f" * 60 + b"\r\n" + body, HANG_UP],
    "headers that are none": framed(b"no colon", b": no name", b"\x00\xff: \x00", b" folded", b"X : y"),
    "bare line feeds": lambda body: [b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}" + body, HANG_UP],
    "101 headers": framed(*[b"X: y"] * 101),
    "line of 70,000": framed(b"X: " + b"y" * 70_000),
    "types that contradict": framed(b"Content-Type: text/html", b"Content-Type: ;;==;charset=\xff"),
    "odd cookies": framed(b"Set-Cookie: =;;Expires=never; Max-Age=x", b"Set-Cookie: " + b"a;" * 30_000),
    "another json": lambda body: plain(b'["uuid", {"uuid": 7}]'),
    "half a uuid": lambda body: plain(body[:20]),
}


def number_of(asked: Asked) -> int:
    return int(asked.assessment[-12:])


def numbered(number: int) -> dict[str, object]:
    """A score in an assessment of its own, by which the API knows it again."""
    return score(number, assessmentId=f"00000000-0000-4000-8000-{number:012}")


def at_first(api: RawApi, endpoint: str) -> Says:
    """The first request to ``endpoint`` for score n gets evil n, once it has been carried out; later ones their due."""
    evils, spent = list(EVILS.values()), set()

    def says(asked: Asked) -> Iterable[bytes] | None:
        if asked.endpoint == "token" or asked.endpoint != endpoint or number_of(asked) in spent:
            return taken_in_silence(api, asked) if endpoint == "scores" and asked.endpoint == "put" else None
        spent.add(number_of(asked))
        return evils[number_of(asked)](api.carry_out(asked))

    return says


def taken_in_silence(api: RawApi, asked: Asked) -> Iterable[bytes]:
    """A score that is in doubt from now on, and at the API."""
    api.carry_out(asked)
    return [HANG_UP]


def assert_all_there_once(site: Site, api: RawApi, names: list[str]) -> None:
    site.assert_all_done_once(names, api.stored)
    for name in names:
        receipt = site.receipt(name)
        (body,) = (body for found, _, body in api.scores if found == receipt["uuid"])
        sent = json.loads(body) | {"assessmentId": receipt["assessmentId"]}
        assert sent == json.loads((site.done / name).read_bytes()), "the uuid is that of this very file's score"


def put_one_for_each_evil(site: Site) -> list[str]:
    names = [f"{number:02} {evil}.json".replace("/", " ") for number, evil in enumerate(EVILS)]
    for number, name in enumerate(names):
        site.put(name, numbered(number))
    return names


@pytest.mark.timeout(60)
@pytest.mark.parametrize("endpoint", ["put", "scores"])
def test_whatever_is_answered_at_first_the_score_is_there_once_in_the_end(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, endpoint: str
) -> None:
    with RawApi() as api:
        api.says = at_first(api, endpoint)
        site = only_doubt(tmp_path, api.url, api__concurrency=2)
        names = put_one_for_each_evil(site)
        with memory_of_at_most(40 * MIB):
            assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert_all_there_once(site, api, names)
    assert api.count("put") == len(EVILS), "what was taken is not sent again"
    assert_no_defect(caplog)


@pytest.mark.timeout(60)
def test_whatever_comes_for_a_token_is_a_token_or_trouble(tmp_path: Path) -> None:
    with RawApi() as api, closing(Http((config := only_doubt(tmp_path, api.url).config.api), {})) as http:
        for name, evil in EVILS.items():
            api.says = lambda asked, evil=evil: evil(api.carry_out(asked))  # type: ignore[misc]
            with memory_of_at_most(16 * MIB):
                found = tokens_for(config, {}, http.post, utc_now).current()
            assert isinstance(found, Token | Deferred | HoldApi), name
        api.says = honest
        assert tokens_for(config, {}, http.post, utc_now).current() == Token("access-secret")


# --- redirects ---------------------------------------------------------------------------------------

LOCATIONS = [
    b"", b"http://[", b"//[", b"\xff\xfe", b"http://a:99999999999/", b"http:///", b"http://\xe2\x80\xae/%zz%",
]  # fmt: skip


def redirected(location: bytes, body: bytes = b"", *headers: bytes) -> Says:
    """The first PUT is pointed elsewhere; all else gets its due."""
    spent: list[Asked] = []

    def says(asked: Asked) -> Iterable[bytes] | None:
        if asked.endpoint != "put" or spent:
            return None
        spent.append(asked)
        return plain(body, b"Location: " + location, *headers, status=b"307 Temporary Redirect")

    return says


@pytest.mark.parametrize(
    ("body", "headers"),
    [(LARGE, ()), (BOMB, (b"Content-Encoding: gzip, gzip",))],
    ids=["32 MiB", "nested bomb"],
)
def test_the_body_of_a_redirect_is_bounded_too(tmp_path: Path, body: bytes, headers: tuple[bytes, ...]) -> None:
    with RawApi(redirected(b"/elsewhere", body, *headers)) as api:
        site = make_site(tmp_path, api.url)
        site.put("visit.json", score(1))
        with memory_of_at_most(8 * MIB):
            assert site.once().exit_code() == Exit.TRY_AGAIN
        assert site.once().exit_code() == Exit.OK
    assert_all_there_once(site, api, ["visit.json"])


@pytest.mark.parametrize("location", LOCATIONS, ids=ascii)
def test_a_redirect_to_nowhere_is_no_defect(tmp_path: Path, caplog: pytest.LogCaptureFixture, location: bytes) -> None:
    with RawApi(redirected(location)) as api:
        site = make_site(tmp_path, api.url)
        site.put("visit.json", score(1))
        assert dict(site.once().left) == {"until the API can be used": 1}
        assert site.once().exit_code() == Exit.OK
    assert_all_there_once(site, api, ["visit.json"])
    assert api.count("scores") == 0, "a redirect leaves no doubt"
    assert_no_defect(caplog)


# --- connections -------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [102, 103])
def test_an_answer_that_comes_late_is_not_taken_for_that_of_another_score(tmp_path: Path, status: int) -> None:
    """RFC 9110 §15.2: interim answers come before the final one, here only when the client has gone on."""

    def says(asked: Asked) -> Iterator[bytes] | None:
        return early(asked) if asked.endpoint == "put" and api.count("put") == 1 else None

    def early(asked: Asked) -> Iterator[bytes]:
        yield b"HTTP/1.1 %d Early\r\n\r\n" % status
        assert select.select([asked.socket], [], [], PATIENCE_S)[0], "the next request, or the end of the connection"
        yield from plain(api.carry_out(asked))

    with RawApi(says) as api:
        site = make_site(tmp_path, api.url, api__concurrency=1)
        for number in range(2):
            site.put(f"{number}.json", score(number))
        assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert_all_there_once(site, api, ["0.json", "1.json"])


def test_an_idle_connection_that_the_server_closed_costs_nothing(tmp_path: Path) -> None:
    """A server's keep-alive is shorter than our pauses: each connection is closed as soon as it was answered on."""

    def says(asked: Asked) -> Iterable[bytes]:
        return [*plain(api.carry_out(asked)), HANG_UP]

    closed = threading.Semaphore(0)

    def seen(event: Event) -> None:
        assert closed.acquire(timeout=PATIENCE_S)

    with RawApi(says) as api:
        api.shutdown_request = lambda request: (RawApi.shutdown_request(api, request), closed.release())  # type: ignore
        site = make_site(tmp_path, api.url, api__concurrency=1, api__api_key=None, api__token={"env": "A_TOKEN"})
        names = [f"{number}.json" for number in range(5)]
        for number, name in enumerate(names):
            site.put(name, score(number))
        with service(site.config, {"A_TOKEN": "a-token"}, once=True, observer=seen) as daemon:
            assert daemon.run().exit_code() == Exit.OK
    assert_all_there_once(site, api, names)
    assert [(asked.endpoint, asked.connection) for asked in api.asked] == [("put", n + 1) for n in range(5)]


def test_a_server_that_does_not_read_what_is_sent_holds_no_worker(tmp_path: Path) -> None:
    large = json.dumps(score(1, extraData={"waveform": "x" * 6 * MIB}))
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        token = {"api__api_key": None, "api__token": {"file": "token"}, "routes__max_size": "8MiB"}
        (tmp_path / "token").write_text("a-token")
        site = only_doubt(tmp_path, f"http://127.0.0.1:{deaf.getsockname()[1]}", **token)
        site.put("visit.json", large)
        assert dict(site.once().left) == {"in_doubt": 1}


def test_what_one_answer_sets_no_other_request_carries(tmp_path: Path) -> None:
    """Sixty cookies of 4 KB make every later request too large for any server: 431, and the file is refused."""
    cookies = [b"Set-Cookie: c%d=%s; Path=/" % (number, b"x" * 4000) for number in range(60)]
    with RawApi(lambda asked: plain(api.carry_out(asked), *cookies)) as api:
        site = make_site(tmp_path, api.url)
        site.put("visit.json", score(1))
        assert site.once().exit_code() == Exit.OK
    assert [asked.headers.get("cookie") for asked in api.asked] == [None, None]


# --- uuids -------------------------------------------------------------------------------------------


def saying_uuid(api: RawApi, spell: Callable[[str], str]) -> Says:
    """Every uuid of the honest API, spelt otherwise, in the answer to a PUT and in the list alike."""

    def says(asked: Asked) -> Iterable[bytes] | None:
        body = api.carry_out(asked).decode()
        for known, _, _ in api.scores:
            body = body.replace(known, spell(known))
        return plain(body.encode())

    return says


def test_a_uuid_in_capitals_is_the_same_uuid(tmp_path: Path) -> None:
    with RawApi() as api:
        api.says = saying_uuid(api, str.upper)
        site = make_site(tmp_path, api.url)
        site.put("a.json", score(1))
        assert site.once().exit_code() == Exit.OK
        owned = b'{"uuid": "%s"}' % api.scores[0][0].upper().encode()
        api.says = lambda asked: plain(owned) if asked.endpoint == "put" else None
        site.put("b.json", score(2))
        summary = site.once()
    assert site.receipt("a.json")["uuid"] == api.scores[0][0]
    assert (summary.held, site.waiting()) == (1, ["b.json"]), "the owner of the uuid is known in capitals, too"


@pytest.mark.parametrize("form", ["{%s}", "urn:uuid:%s"])
def test_a_uuid_in_another_form_is_no_proof_and_is_for_a_person(tmp_path: Path, form: str) -> None:
    with RawApi() as api:
        api.says = saying_uuid(api, lambda known: json.dumps(form % known)[1:-1])
        site = make_site(tmp_path, api.url)
        site.put("visit.json", score(1))
        summary = site.once(wait_s=PATIENCE_S)
        assert (summary.exit_code(), summary.held) == (Exit.NEEDS_A_PERSON, 1)
        api.says = honest
        wait_for(lambda: site.once().exit_code() == Exit.OK, "another look")
    assert_all_there_once(site, api, ["visit.json"])
    assert api.count("put") == 1


# --- lists -------------------------------------------------------------------------------------------


def in_doubt(tmp_path: Path, api: RawApi, *, taken: bool) -> Site:
    """A site with one file whose PUT was ``taken``, or not, and whose looks begin with the next run."""
    site = make_site(tmp_path, api.url, routes__retry__most="200ms")
    site.put("visit.json", score(1))
    api.says = lambda asked: (taken and api.carry_out(asked), [HANG_UP])[1] if asked.endpoint == "put" else None
    assert site.once().exit_code() == Exit.TRY_AGAIN
    api.says = honest
    return site


def elsewhere_too(api: RawApi, number: int, **changes: object) -> str:
    """A score that another system has written into the assessment; its uuid."""
    body = {key: value for key, value in score(number, **changes).items() if key != "assessmentId"}
    api.scores.append((str(uuid.uuid4()), ASSESSMENT, json.dumps(body).encode()))
    return api.scores[-1][0]


def test_ours_is_found_among_thousands(tmp_path: Path) -> None:
    with RawApi() as api:
        site = in_doubt(tmp_path, api, taken=True)
        ours = api.scores.pop()
        for number in range(3000):
            elsewhere_too(api, number, dateRecorded="2026-02-01T00:00:00Z")
        api.scores.insert(1500, ours)
        assert site.once(wait_s=PATIENCE_S).outcomes == {Outcome.RECOVERED: 1}
    assert site.receipt("visit.json")["uuid"] == ours[0]


def test_each_of_many_alike_gets_a_uuid_of_its_own_among_the_scores_of_others(tmp_path: Path) -> None:
    """Apart by less than a millisecond, all are alike to the API; two of ours were lost, twenty foreign ones fit."""
    names = [f"{number}.json" for number in range(4)]
    with RawApi() as api:
        silent = iter([True, False] * 2)
        api.says = lambda asked: (
            (next(silent) and api.carry_out(asked), [HANG_UP])[1] if asked.endpoint == "put" else None
        )
        site = make_site(tmp_path, api.url)
        for number, name in enumerate(names):
            site.put(name, score(1, dateRecorded=f"2026-01-01T12:00:00.123{number}Z"))
        site.once()
        for _ in range(20):
            elsewhere_too(api, 1, dateRecorded="2026-01-01T14:00:00.123+02:00")
        api.says = honest
        assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert site.filed() == names
    assert len({site.receipt(name)["uuid"] for name in names}) == 4
    assert (api.count("put"), len(api.scores)) == (4, 22)


def test_one_score_that_is_listed_twice_is_no_duplicate(tmp_path: Path) -> None:
    """As between two pages of a list that grows."""

    def twice(asked: Asked) -> Iterable[bytes] | None:
        listed = json.loads(api.carry_out(asked)).get("scores") if asked.endpoint == "scores" else None
        return None if listed is None else plain(json.dumps({"scores": listed * 2}).encode())

    with RawApi() as api:
        site = in_doubt(tmp_path, api, taken=False)
        api.says = twice
        assert site.once(wait_s=PATIENCE_S).exit_code() == Exit.OK
    assert_all_there_once(site, api, ["visit.json"])
    assert "possibleDuplicate" not in site.receipt("visit.json")


UNREADABLE = {
    "beyond all bounds": b" " * 9 * MIB,
    "deeply nested": b'{"extraData": ' + b"[" * 200 + b"]" * 200 + b"}, ",
    "one key twice": b'{"scoreId": "A", "scoreId": "B"}, ',
}


@pytest.mark.parametrize("more", UNREADABLE.values(), ids=UNREADABLE)
def test_a_list_that_stays_unreadable_is_no_absence_and_is_for_a_person(tmp_path: Path, more: bytes) -> None:
    """What another system wrote into the assessment is nothing that goes away by waiting."""

    def says(asked: Asked) -> Iterable[bytes] | None:
        body = api.carry_out(asked)
        return plain(body.replace(b"[", b"[" + more, 1)) if asked.endpoint == "scores" else plain(body)

    with RawApi() as api:
        site = in_doubt(tmp_path, api, taken=True)
        api.says = says
        summary = site.once(wait_s=PATIENCE_S)
        assert (summary.exit_code(), summary.held) == (Exit.NEEDS_A_PERSON, 1)
        assert api.count("put") == 1
        api.says = honest
        wait_for(lambda: site.once().exit_code() == Exit.OK, "another look")
    assert_all_there_once(site, api, ["visit.json"])


# --- Retry-After -------------------------------------------------------------------------------------

PAST = "Sun, 06 Nov 1994 08:49:37 GMT"  # RFC 9110 §5.6.7


@pytest.mark.parametrize("header", ["0", PAST, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_a_pause_that_is_over_leaves_no_doubt(site: Site, sandbox: Sandbox, header: str) -> None:
    """RFC 9110 §5.6.7: the three forms of an HTTP-date."""
    sandbox.faults.add(Fault(Endpoint.PUT, Kind.STATUS, 503, header, times=1))
    site.put("visit.json", score(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    assert site.once().exit_code() == Exit.OK
    site.assert_all_done_once(["visit.json"], stored(sandbox))
    assert sandbox.requests["scores", 200] == 0


@pytest.mark.parametrize("header", ["-1", "Wed, 99 Oct 2026 07:28:00 GMT"])
def test_a_503_that_names_no_time_is_in_doubt(site: Site, sandbox: Sandbox, header: str) -> None:
    sandbox.faults.add(Fault(Endpoint.PUT, Kind.STATUS_AFTER, 503, header, times=1))
    site.put("visit.json", score(1))
    assert site.once(wait_s=PATIENCE_S).outcomes == {Outcome.RECOVERED: 1}
    site.assert_all_done_once(["visit.json"], stored(sandbox))


@pytest.mark.parametrize(
    ("status", "header"), [(408, "86400"), (429, "9" * 400), (503, "Fri, 31 Dec 9999 23:59:59 GMT")]
)
def test_nobody_is_made_to_wait_for_more_than_an_hour(site: Site, sandbox: Sandbox, status: int, header: str) -> None:
    sandbox.faults.add(Fault(Endpoint.PUT, Kind.STATUS, status, header))
    site.put("visit.json", score(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    with closing(sqlite3.connect(site.home / "state" / "ledger.sqlite3")) as connection:
        ((text,),) = connection.execute("SELECT retry_at FROM scores").fetchall()
    left = datetime.fromisoformat(text) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
