"""An API that answers with whatever it likes: endless, enormous, compressed, malformed, late, or beside the point.

Real sockets and raw bytes. Whatever comes, memory and time are bounded, and every score is there once in the end.
"""

from __future__ import annotations

import json
import select
import socket
import threading
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from canarysync.answers import Answer, Deferred, HoldApi, NoAnswer, Reply
from canarysync.auth import tokens_for
from canarysync.errors import Exit
from canarysync.exchange import Request
from canarysync.model import Token
from canarysync.report import Event
from canarysync.score_api import Api
from canarysync.service import service, utc_now
from canarysync.upload import Http
from tests.support import PATIENCE_S, Site, make_site, score
from tests.system.evils import EVILS, MIB, bomb
from tests.system.raw_api import HANG_UP, Asked, RawApi, Says, assert_all_there_once, honest, plain


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
def test_whatever_is_answered_over_a_connection_in_use_ends_and_never_meets_the_next_request(tmp_path: Path) -> None:
    """The second request of a connection takes a shorter way. The one after it has its own answer all the same, or none
    where the server hangs up in that very moment."""
    with RawApi() as api, closing(Http(only_doubt(tmp_path, api.url).config.api.way, {})) as http:

        def put(number: int, says: Says) -> Reply:
            api.says = says
            return http.request(Request("PUT", f"/v2/org/assessment/{number}/put-score", {}, b"{}", 64 << 10))

        for name, evil in EVILS.items():
            before = len(api.asked)
            with memory_of_at_most(16 * MIB):
                assert has_its_own(put(0, honest), api), name
                put(1, lambda asked, evil=evil: evil(api.carry_out(asked)))  # type: ignore[misc]
                third = put(2, honest)
            assert isinstance(third, NoAnswer) or has_its_own(third, api), name
            first, second, *_ = api.asked[before:]
            assert (first.assessment, second.assessment) == ("0", "1"), name
            assert first.connection == second.connection, name


def has_its_own(reply: Reply, api: RawApi) -> bool:
    """Whether it is the whole answer to the last score that was put."""
    return isinstance(reply, Answer) and reply.complete and json.loads(reply.body) == {"uuid": api.scores[-1][0]}


@pytest.mark.timeout(60)
def test_whatever_comes_for_a_token_is_a_token_or_trouble(tmp_path: Path) -> None:
    with RawApi() as api, closing(Http((config := only_doubt(tmp_path, api.url).config.api).way, {})) as http:
        for name, evil in EVILS.items():
            api.says = lambda asked, evil=evil: evil(api.carry_out(asked))  # type: ignore[misc]
            with memory_of_at_most(16 * MIB):
                found = tokens_for(config, {}, Api(http).post, utc_now).current()
            assert isinstance(found, Token | Deferred | HoldApi), name
        api.says = honest
        assert tokens_for(config, {}, Api(http).post, utc_now).current() == Token("access-secret")


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_refusal_without_a_body_keeps_its_connection_too(tmp_path: Path, body: bytes) -> None:
    busy = RawApi(lambda asked: plain(body, status=b"503 Busy"))
    with busy as api, closing(Http(only_doubt(tmp_path, api.url).config.api.way, {})) as http:
        replies = [http.request(Request("PUT", "/v2/org/assessment/1/put-score", {}, b"{}")) for _ in range(3)]
    assert [(reply.status, reply.complete) for reply in replies if isinstance(reply, Answer)] == [(503, True)] * 3
    assert {asked.connection for asked in api.asked} == {1}


@pytest.mark.timeout(60)
def test_more_requests_at_a_time_than_connections_are_kept(tmp_path: Path) -> None:
    def put(thread: int) -> list[Reply]:
        path = f"/v2/org/assessment/{thread}/put-score"
        return [http.request(Request("PUT", path, {}, b"{}", 64 << 10)) for _ in range(20)]

    with RawApi() as api:
        way = only_doubt(tmp_path, api.url, api__concurrency=1).config.api.way._replace(read_timeout_s=PATIENCE_S)
        with closing(Http(way, {})) as http, ThreadPoolExecutor(4) as pool:
            replies = [reply for found in pool.map(put, range(4)) for reply in found]
    assert sorted(json.loads(reply.body)["uuid"] for reply in replies if isinstance(reply, Answer)) == sorted(
        uuid for uuid, _, _ in api.scores
    )
    assert len(replies) == len(api.scores) == 80


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
    [(lambda: bytes(32 * MIB), ()), (bomb, (b"Content-Encoding: gzip, gzip",))],
    ids=["32 MiB", "nested bomb"],
)
def test_the_body_of_a_redirect_is_bounded_too(
    tmp_path: Path, body: Callable[[], bytes], headers: tuple[bytes, ...]
) -> None:
    with RawApi(redirected(b"/elsewhere", body(), *headers)) as api:
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
