"""Access tokens (API.md, tokens/get and tokens/refresh): when they are renewed, by whom, and that none is shown."""

from __future__ import annotations

import base64
import json
import os
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from canarysync.answers import Answer, Deferred, HoldApi, NoAnswer, Reply, Unreachable
from canarysync.auth import ExchangedToken, FixedToken, read_secret, tokens_for
from canarysync.calls import NoToken
from canarysync.config import Api, SecretKind, SecretRef
from canarysync.errors import Exit, SetupError
from canarysync.model import Token

T0 = datetime(2026, 1, 1, 12, tzinfo=UTC)
T0_S = T0.timestamp()
KEY = "1A2B3C:c2VjcmV0LWtleQ=="
GET, REFRESH = "/v3/auth/tokens/get", "/v3/auth/tokens/refresh"
DOWN = NoAnswer(sent=False, reason="no connection")
THREADS = 8


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> datetime:
        return self.now

    def forward(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


def jwt(claims: object, name: str = "x") -> str:
    """An access token with ``claims``, unsigned; ``name`` tells one from another."""
    payload = base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip("=")
    return f"aGVhZA.{payload}.{name}"


def pair(access: object, refresh: object = None) -> Answer:
    content = {"accessToken": access} | ({"refreshToken": refresh} if refresh is not None else {})
    return Answer(200, "application/json", json.dumps(content).encode())


def lasting(life_s: float, name: str = "x", refresh: str | None = None) -> Answer:
    return pair(jwt({"iat": T0_S, "exp": T0_S + life_s}, name), refresh)


class FakePost:
    """Gives ``replies`` in turn, and keeps what was asked."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)
        self._lock = threading.Lock()
        self.asked: list[tuple[str, Mapping[str, str], bytes]] = []

    def __call__(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        with self._lock:
            self.asked.append((path, dict(headers), body))
            return self._replies.pop(0)

    @property
    def paths(self) -> list[str]:
        return [path for path, _, _ in self.asked]


def source(post: FakePost, clock: Callable[[], datetime], key: str = KEY) -> ExchangedToken:
    return ExchangedToken(lambda: key, post, clock)


def good(token: Token | NoToken) -> Token:
    assert isinstance(token, Token), token
    return token


# --- the exchange -------------------------------------------------------------------------------------


def test_the_key_is_exchanged_once_and_as_the_api_wants_it() -> None:
    post = FakePost(lasting(3600))
    tokens = source(post, Clock())
    assert good(tokens.current()).secret == jwt({"iat": T0_S, "exp": T0_S + 3600})
    assert tokens.current() == tokens.current()
    assert post.asked == [(GET, {"Csc-Api-Key": KEY, "Content-Type": "application/json"}, b"{}")]


def test_a_refresh_carries_the_refresh_token_and_not_the_key() -> None:
    clock, post = Clock(), FakePost(lasting(3600, "one", "r1"), lasting(7200, "two", "r2"), lasting(9999, "three"))
    tokens = source(post, clock)
    tokens.current()
    clock.forward(3600)
    assert good(tokens.current()).secret.endswith("two")
    clock.forward(7200)
    assert good(tokens.current()).secret.endswith("three")
    sent = [{k: v for k, v in headers.items() if k != "Content-Type"} for _, headers, _ in post.asked[1:]]
    assert post.paths == [GET, REFRESH, REFRESH]
    assert sent == [{"Csc-Refresh-Token": "r1"}, {"Csc-Refresh-Token": "r2"}]


def test_without_a_refresh_token_the_key_goes_again() -> None:
    clock, post = Clock(), FakePost(lasting(3600, "one"), lasting(7200, "two"))
    tokens = source(post, clock)
    tokens.current()
    clock.forward(3600)
    assert good(tokens.current()).secret.endswith("two")
    assert post.paths == [GET, GET]


FAILED_REFRESHES: dict[str, Reply] = {
    **{str(status): Answer(status) for status in (302, 400, 401, 403, 404, 407, 429, 500, 501, 503)},
    "HTML": Answer(200, "text/html", b"<p>"),
    "cut short": Answer(200, body=lasting(3600).body, complete=False),
    "no answer": NoAnswer(sent=True, reason="no answer"),
}


@pytest.mark.parametrize("reply", FAILED_REFRESHES.values(), ids=list(FAILED_REFRESHES))
def test_when_the_refresh_fails_the_key_goes_again(reply: Reply) -> None:
    clock, post = Clock(), FakePost(lasting(3600, "one", "r1"), reply, lasting(7200, "two"))
    tokens = source(post, clock)
    tokens.current()
    clock.forward(3600)
    assert good(tokens.current()).secret.endswith("two")
    assert post.paths == [GET, REFRESH, GET]


def test_an_api_that_cannot_be_reached_is_not_asked_twice_in_a_row() -> None:
    clock, post = Clock(), FakePost(lasting(3600, "one", "r1"), DOWN, lasting(7200, "two"))
    tokens = source(post, clock)
    tokens.current()
    clock.forward(3600)
    assert tokens.current() == Unreachable("no connection")
    assert good(tokens.current()).secret.endswith("two")


TROUBLES: list[tuple[str, Reply, NoToken]] = [
    ("never sent", DOWN, Unreachable("no connection")),
    ("no answer", NoAnswer(sent=True, reason="no answer"), Deferred("no answer")),
    ("401", Answer(401), HoldApi("the API does not accept the API key (HTTP 401)")),
    ("403", Answer(403), HoldApi("the API does not accept the API key (HTTP 403)")),
    ("429", Answer(429, retry_after="7"), Deferred("HTTP 429", 7.0, everyone=True)),
    ("500", Answer(500), Deferred("HTTP 500")),
    ("cut short", Answer(200, body=lasting(1).body, complete=False), Deferred("the token answer cannot be understood")),
]


@pytest.mark.parametrize(("case", "reply", "expected"), TROUBLES, ids=[row[0] for row in TROUBLES])
def test_trouble_is_told_and_the_next_call_tries_again(case: str, reply: Reply, expected: NoToken) -> None:
    tokens = source(FakePost(reply, lasting(3600)), Clock())
    assert tokens.current() == expected
    good(tokens.current())


def test_a_key_that_cannot_be_read_holds_the_api() -> None:
    def unreadable() -> str:
        raise SetupError("read the secret", "/key", "Permission denied")

    assert ExchangedToken(unreadable, FakePost(), Clock()).current() == HoldApi(
        "the API key cannot be read: Permission denied"
    )


def test_a_key_that_was_replaced_is_the_one_that_goes() -> None:
    keys, post = ["first", "second"], FakePost(lasting(3600, "one"), lasting(3600, "two"))
    tokens = ExchangedToken(lambda: keys.pop(0), post, Clock())
    tokens.renewed(good(tokens.current()))
    assert [headers["Csc-Api-Key"] for _, headers, _ in post.asked] == ["first", "second"]


# --- how long a token is good (RFC 7519 §4.1.4 exp, §4.1.6 iat) -----------------------------------------------


@pytest.mark.parametrize(
    ("claims", "renewed_after_s"),
    [
        pytest.param({"exp": T0_S + 3600}, 3540, id="a minute before its end"),
        pytest.param({"exp": T0_S + 120}, 60, id="two minutes: either way one"),
        pytest.param({"exp": T0_S + 60}, 30, id="a minute: at half of it"),
        pytest.param({"exp": T0_S + 10}, 5, id="ten seconds: at half of it"),
        pytest.param({"exp": T0_S}, 0, id="no life at all"),
        pytest.param({"exp": T0_S - 3600}, 0, id="ended before it came"),
        pytest.param({"iat": T0_S - 9e6, "exp": T0_S - 9e6 + 3600}, 3540, id="the server's clock is behind"),
        pytest.param({"iat": T0_S + 9e6, "exp": T0_S + 9e6 + 3600}, 3540, id="the server's clock is ahead"),
        pytest.param({"iat": "now", "exp": T0_S + 3600}, 3540, id="an iat that is no number"),
        pytest.param({"iat": T0_S, "exp": T0_S + 1e12}, 366 * 86_400 - 60, id="a thousand centuries"),
        pytest.param({"exp": float(T0_S) + 3600.5}, 3540.5, id="§2 NumericDate may have a fraction"),
    ],
)
def test_when_a_token_is_renewed(claims: dict[str, Any], renewed_after_s: float) -> None:
    clock, post = Clock(), FakePost(pair(jwt(claims, "one")), lasting(9e6, "two"))
    tokens = source(post, clock)
    first = good(tokens.current())
    assert first.renew_at == T0 + timedelta(seconds=renewed_after_s)
    if renewed_after_s:
        clock.forward(renewed_after_s - 0.001)
        assert tokens.current() is first
        clock.forward(0.001)
    assert good(tokens.current()).secret.endswith("two")


LIFELESS: dict[str, str] = {
    "opaque": "opaque",
    "two parts": "two.parts",
    "three parts, and no JWT": "one.two.three",
    "five parts": "a.b.c.d.e",
    "no exp": jwt({}),
    "exp null": jwt({"exp": None}),
    "exp a string": jwt({"exp": "1"}),
    "claims that are no object": jwt([]),
    "exp NaN": jwt({"exp": float("nan")}),
    "exp and iat endless": jwt({"exp": float("inf"), "iat": float("inf")}),
    "exp of 400 digits": jwt({"exp": 10**400}),
    "iat of 400 digits": jwt({"exp": T0_S, "iat": 10**400}),
    "exp of 5,000 digits": "a." + base64.urlsafe_b64encode(b'{"exp": %s}' % (b"9" * 5000)).decode() + ".c",
}


@pytest.mark.parametrize("access", LIFELESS.values(), ids=list(LIFELESS))
def test_a_token_that_says_nothing_of_its_life_is_used_until_a_401(access: str) -> None:
    clock, post = Clock(), FakePost(pair(access), lasting(3600, "two"))
    tokens = source(post, clock)
    first = good(tokens.current())
    assert first.renew_at is None
    clock.forward(1e8)
    assert tokens.current() is first
    assert good(tokens.renewed(first)).secret.endswith("two")


SENSELESS: dict[str, bytes] = {
    "empty": b"",
    "null": b"null",
    "a list": b"[]",
    "a string": b'"token"',
    "no token": b"{}",
    "null token": pair(None).body,
    "a number": pair(7).body,
    "empty token": pair("").body,
    "two words": pair("a b").body,
    "a header of its own": pair("a\r\nX-Evil: 1").body,
    "not ASCII": pair("é").body,
    "a refresh token with a newline": pair("a", "r\n").body,
    "a refresh token that is a number": pair("a", 7).body,
    "too deep": b"[" * 60_000,
    "not UTF-8": b'{"accessToken": "\xff"}',
}  # fmt: skip


@pytest.mark.parametrize("body", SENSELESS.values(), ids=list(SENSELESS))
def test_an_answer_that_makes_no_sense_is_trouble_and_no_crash(body: bytes) -> None:
    tokens = source(FakePost(Answer(200, "application/json", body), lasting(3600)), Clock())
    trouble = tokens.current()
    assert trouble == Deferred("the token answer cannot be understood")
    good(tokens.current())


def test_a_life_without_end_is_a_long_one() -> None:
    first = good(source(FakePost(pair(jwt({"exp": float("inf")}))), Clock()).current())
    assert first.renew_at is not None
    assert first.renew_at > T0


# --- after a 401, and many threads ---------------------------------------------------------------------


def test_after_a_401_a_token_is_renewed_once_for_all_who_had_it() -> None:
    post = FakePost(lasting(3600, "one"), lasting(3600, "two"))
    tokens = source(post, Clock())
    stale = good(tokens.current())
    fresh = [tokens.renewed(stale) for _ in range(3)]
    assert {good(token).secret for token in fresh} == {good(tokens.current()).secret}
    assert good(fresh[0]).secret.endswith("two")
    assert len(post.asked) == 2


def test_after_a_401_and_a_failed_renewal_the_stale_token_does_not_come_back() -> None:
    tokens = source(FakePost(lasting(3600, "one"), DOWN, lasting(3600, "two")), Clock())
    stale = good(tokens.current())
    assert tokens.renewed(stale) == Unreachable("no connection")
    assert good(tokens.current()).secret.endswith("two")


def together(call: Callable[[], Token | NoToken]) -> set[str]:
    """The secrets that ``THREADS`` threads get that call at the same moment."""
    start = threading.Barrier(THREADS, timeout=5)

    def run() -> str:
        start.wait()
        return good(call()).secret

    with ThreadPoolExecutor(THREADS) as pool:
        return {done.result(5) for done in [pool.submit(run) for _ in range(THREADS)]}


def test_the_first_token_is_fetched_by_one_thread_for_all() -> None:
    post = FakePost(*[lasting(3600, str(number)) for number in range(THREADS)])
    assert len(together(source(post, Clock()).current)) == 1
    assert len(post.asked) == 1


def test_after_a_401_one_thread_renews_for_all() -> None:
    post = FakePost(*[lasting(3600, str(number)) for number in range(THREADS + 1)])
    tokens = source(post, Clock())
    stale = good(tokens.current())
    assert together(lambda: tokens.renewed(stale)) == {jwt({"iat": T0_S, "exp": T0_S + 3600}, "1")}
    assert len(post.asked) == 2


def test_one_thread_renews_for_all_who_saw_that_it_is_due() -> None:
    """Every thread is held at its first look at the clock until all have looked: all saw the old token."""
    post = FakePost(*[lasting(3600 * (number + 1), str(number)) for number in range(THREADS + 1)])
    looked, me, clock = threading.Barrier(THREADS, timeout=5), threading.local(), Clock()
    meeting = False

    def now() -> datetime:
        if meeting and not getattr(me, "looked", False):
            me.looked = True
            looked.wait()
        return clock()

    tokens = source(post, now)
    tokens.current()
    clock.forward(3600)
    meeting = True
    assert len(together(tokens.current)) == 1
    assert len(post.asked) == 2


# --- a ready token -------------------------------------------------------------------------------------


def test_a_ready_token_is_read_anew_each_time() -> None:
    read = ["one", "one", "two"]
    tokens = FixedToken(lambda: read.pop(0))
    stale = good(tokens.current())
    assert tokens.renewed(stale) == HoldApi("HTTP 401: the token is not accepted")
    assert tokens.renewed(stale) == Token("two")


def test_a_ready_token_that_cannot_be_read_holds_the_api() -> None:
    def unreadable() -> str:
        raise SetupError("read the secret", "/token", "No such file or directory")

    tokens = FixedToken(unreadable)
    trouble = HoldApi("the token cannot be read: No such file or directory")
    assert tokens.current() == tokens.renewed(Token("one")) == trouble


# --- where secrets are kept ------------------------------------------------------------------------------


def file_ref(path: Path) -> SecretRef:
    return SecretRef(SecretKind.FILE, str(path))


def config(**secrets: SecretRef) -> Api:
    return Api(
        url="https://rest.eus.canaryspeech.com", api_key=secrets.get("api_key"), token=secrets.get("token"),
        ca_bundle=None, connect_timeout_s=5.0, read_timeout_s=30.0, read_back_wait_s=60.0, concurrency=8,
        rate_per_s=None, proxy=None,
    )  # fmt: skip


@pytest.mark.parametrize("text", [KEY, KEY + "\n", f"  {KEY}\r\n"], ids=["bare", "newline", "blanks around"])
def test_each_place_of_a_secret(tmp_path: Path, text: str) -> None:
    (tmp_path / "key").write_text(text)
    assert read_secret(file_ref(tmp_path / "key"), {}) == KEY
    assert read_secret(SecretRef(SecretKind.ENV, "CANARY_KEY"), {"CANARY_KEY": text}) == KEY
    credentials = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert read_secret(SecretRef(SecretKind.CREDENTIAL, "key"), credentials) == KEY


def test_a_file_is_read_again_when_it_changed(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    tokens = tokens_for(config(token=file_ref(path)), {}, FakePost(), Clock())
    stale = good(tokens.current())
    path.write_text("three")  # another size
    assert tokens.current() == tokens.renewed(stale) == Token("three")
    (tmp_path / "new").write_text("seven")  # the same size, renamed over it: another inode
    at = path.stat().st_mtime_ns
    os.utime(tmp_path / "new", ns=(at, at))
    (tmp_path / "new").replace(path)
    assert tokens.current() == Token("seven")
    path.write_text("eight")  # in place, the same size: another mtime
    os.utime(path, ns=(at + 1, at + 1))
    assert tokens.current() == Token("eight")


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    at = path.stat().st_mtime_ns
    tokens = tokens_for(config(token=file_ref(path)), {}, FakePost(), Clock())
    tokens.current()
    path.write_text("two")
    os.utime(path, ns=(at, at))
    assert tokens.current() == Token("one")


def test_a_file_that_went_and_came_back(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("one")
    tokens = tokens_for(config(token=file_ref(path)), {}, FakePost(), Clock())
    tokens.current()
    path.unlink()
    assert isinstance(tokens.current(), HoldApi)
    path.write_text("two")
    assert tokens.current() == Token("two")


def test_a_token_goes_before_a_key(tmp_path: Path) -> None:
    (tmp_path / "key").write_text(KEY)
    key = file_ref(tmp_path / "key")
    assert isinstance(tokens_for(config(api_key=key), {}, FakePost(), Clock()), ExchangedToken)
    assert isinstance(tokens_for(config(api_key=key, token=key), {}, FakePost(), Clock()), FixedToken)
    with pytest.raises(SetupError):
        tokens_for(config(), {}, FakePost(), Clock())


# --- secrets are never shown -------------------------------------------------------------------------------

SECRET = "c4n4ry-s3cr3t"
BAD_SECRETS = [f"{SECRET} {SECRET}", f"{SECRET}\nX-Evil: 1", f"{SECRET}\x00", f"{SECRET}é", f"\ufeff{SECRET}"]


def everything_said(error: BaseException | None) -> str:
    said = ""
    while error is not None:
        said += f"{error!s} {error!r} {error.args!r} {vars(error)!r} "
        error = error.__cause__ or error.__context__
    return said


@pytest.mark.parametrize("text", ["", " \n", *BAD_SECRETS], ids=ascii)
@pytest.mark.parametrize("kind", SecretKind)
def test_a_bad_secret_is_told_without_showing_it(tmp_path: Path, kind: SecretKind, text: str) -> None:
    (tmp_path / "KEY").write_text(text, encoding="utf-8")
    name = str(tmp_path / "KEY") if kind is SecretKind.FILE else "KEY"
    with pytest.raises(SetupError) as caught:
        read_secret(SecretRef(kind, name), {"KEY": text, "CREDENTIALS_DIRECTORY": str(tmp_path)})
    assert caught.value.exit_code is Exit.CONFIG
    assert SECRET not in everything_said(caught.value)
    assert "KEY" in caught.value.path
    assert caught.value.hint


@pytest.mark.parametrize(
    "ref",
    [
        SecretRef(SecretKind.FILE, "/nonexistent/key"),
        SecretRef(SecretKind.FILE, "/"),
        SecretRef(SecretKind.ENV, "MISSING"),
        SecretRef(SecretKind.CREDENTIAL, "key"),
    ],
    ids=["no file", "a folder", "no variable", "not under systemd"],
)
def test_a_secret_that_is_not_there_is_told_with_a_hint(ref: SecretRef) -> None:
    with pytest.raises(SetupError) as caught:
        read_secret(ref, {})
    assert caught.value.path == ref.name
    assert caught.value.cause
    assert caught.value.hint


def test_no_source_and_no_token_shows_a_secret() -> None:
    access = jwt({"exp": T0_S + 3600}, SECRET)
    tokens = source(FakePost(pair(access, SECRET)), Clock(), key=SECRET)
    token = good(tokens.current())
    fixed = FixedToken(lambda: SECRET)
    for shown in (tokens, token, fixed, fixed.current(), [token], {"token": token}):
        assert SECRET not in f"{shown!r} {shown!s}"


@pytest.mark.parametrize("status", [200, 400, 401, 403, 404, 500])
def test_no_trouble_shows_what_the_server_repeated(status: int) -> None:
    """A server may quote the key that it does not accept."""
    body = json.dumps({"message": f"bad key {SECRET}"}).encode()
    trouble = source(FakePost(Answer(status, "application/json", body)), Clock(), key=SECRET).current()
    assert not isinstance(trouble, Token)
    assert SECRET not in repr(trouble)
