"""The pure parts of the HTTP client: which proxy is in force, and could the server have it? (DESIGN §4, §6)

The chains are those that urllib3 2 really raises, and what may be wrapped around them.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
import requests
from urllib3 import HTTPSConnectionPool
from urllib3 import exceptions as u3
from urllib3.connection import HTTPSConnection

from canarysync.answers import NoAnswer
from canarysync.errors import SetupError
from canarysync.exchange import Way
from canarysync.upload import Http, _no_answer, proxies

HOST = "rest.eus.canaryspeech.com"
POOL = HTTPSConnectionPool(HOST)
CONNECTION = HTTPSConnection(HOST)
URL = "/v2/org/assessment/0192530c-4ce5-7aa1-be9b-bc52dec8a184/put-score"

REFUSED = u3.NewConnectionError(CONNECTION, "Failed to establish a new connection: [Errno 111] Connection refused")
NO_NAME = u3.NameResolutionError(HOST, CONNECTION, socket.gaierror(-2, "Name or service not known"))
NO_CONNECT = u3.ConnectTimeoutError(CONNECTION, f"Connection to {HOST} timed out. (connect timeout=5.0)")
BAD_CERTIFICATE = ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")
TLS_ALERT = ssl.SSLError(1, "[SSL: TLSV1_ALERT_INTERNAL_ERROR] tlsv1 alert internal error")
READ_TIMEOUT = u3.ReadTimeoutError(POOL, URL, "Read timed out. (read timeout=30.0)")


def retried(reason: Exception) -> u3.MaxRetryError:
    """What urllib3 makes of an error when no retries are left, as none are."""
    return u3.MaxRetryError(POOL, URL, reason)


def no_proxy(error: Exception) -> u3.ProxyError:
    return u3.ProxyError("Unable to connect to proxy", error)


def caused_by(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = error.__context__ = cause
    return error


NEVER_SENT: dict[str, Exception] = {
    "connection refused": REFUSED,
    "no such name": NO_NAME,
    "connect timeout": NO_CONNECT,
    "certificate not accepted": u3.SSLError(BAD_CERTIFICATE),
    "the proxy refuses connections": no_proxy(REFUSED),
    "the proxy has no such name": no_proxy(NO_NAME),
    "no connection to the proxy in time": no_proxy(NO_CONNECT),
    "the proxy's certificate": no_proxy(u3.SSLError(BAD_CERTIFICATE)),
    "bare: certificate": BAD_CERTIFICATE,
}


class OtherConnectionError(u3.NewConnectionError):
    """A kind of error that a later urllib3 may bring, about which nothing is known."""


SENT: dict[str, Exception] = {
    "read timeout": READ_TIMEOUT,
    "closed without an answer": u3.ProtocolError(
        "Connection aborted.", http.client.RemoteDisconnected("Remote end closed connection")
    ),
    "reset": u3.ProtocolError("Connection aborted.", ConnectionResetError(104, "reset")),
    "broken pipe": u3.ProtocolError("Connection aborted.", BrokenPipeError(32, "pipe")),
    "refused, but told by a protocol error": u3.ProtocolError(
        "Connection aborted.", ConnectionRefusedError(111, "refused")
    ),
    "bad status line": u3.ProtocolError("aborted", http.client.BadStatusLine("x")),
    "TLS alert": u3.SSLError(TLS_ALERT),
    "TLS ends": u3.SSLError(ssl.SSLEOFError(8, "EOF occurred")),
    "TLS closes": u3.SSLError(ssl.SSLZeroReturnError(6, "closed")),
    "TLS, bare": TLS_ALERT,
    "TLS, a text only": u3.SSLError("certificate verify failed"),
    "the proxy is silent": no_proxy(TimeoutError("timed out")),
    "the proxy closes": no_proxy(http.client.RemoteDisconnected("Remote end closed connection")),
    "too many answers": u3.ResponseError("too many 503 error responses"),
    "the pool is closed": u3.ClosedPoolError(POOL, "Pool is closed."),
    "the pool is empty": u3.EmptyPoolError(POOL, "Pool is empty."),
    "an incomplete answer": u3.ProtocolError("x", u3.IncompleteRead(1, 2)),
    "an answer that cannot be decoded": u3.DecodeError("gzip"),
    "headers that cannot be read": u3.HeaderParsingError([], b""),
    "an invalid url": u3.LocationParseError(HOST),
    "urllib3's timeout": u3.TimeoutError("?"),
    "urllib3's error": u3.HTTPError("?"),
    "no retries left, no reason": u3.MaxRetryError(POOL, URL, None),
    "connection refused by the system": ConnectionRefusedError(111, "Connection refused"),
    "no route": OSError(113, "No route to host"),
    "a name, by the system": socket.gaierror(-2, "Name or service not known"),
    "a timeout, by the system": TimeoutError("timed out"),
    "reset by the system": ConnectionResetError(104, "reset"),
    "never sent, but not at the end of the chain": caused_by(
        u3.ReadTimeoutError(POOL, URL, "Read timed out. (read timeout=30.0)"), REFUSED
    ),
    "an unknown kind of connection error": OtherConnectionError(CONNECTION, "?"),
}

WRAPPED: list[Callable[[Exception], Exception]] = [
    lambda error: error,
    retried,
    lambda error: requests.ConnectionError(retried(error)),
]
"""As urllib3 raises it without retries; as it would with them; and as requests would pass that on."""


def endless() -> BaseException:
    error = OSError()
    error.args = (error,)
    return error


@pytest.mark.parametrize("wrapped", WRAPPED, ids=["bare", "MaxRetryError", "requests"])
@pytest.mark.parametrize("error", NEVER_SENT.values(), ids=list(NEVER_SENT))
def test_what_was_never_sent(error: Exception, wrapped: Callable[[Exception], Exception]) -> None:
    answer = _no_answer(wrapped(error))
    assert not answer.sent
    assert answer.reason


@pytest.mark.parametrize("wrapped", WRAPPED, ids=["bare", "MaxRetryError", "requests"])
@pytest.mark.parametrize("error", SENT.values(), ids=list(SENT))
def test_whatever_else_was_perhaps_sent(error: Exception, wrapped: Callable[[Exception], Exception]) -> None:
    assert _no_answer(wrapped(error)).sent


def test_a_chain_without_an_end_was_perhaps_sent() -> None:
    assert _no_answer(endless()) == NoAnswer(sent=True, reason="no answer (OSError)")


def test_no_reason_quotes_an_error() -> None:
    """Messages of these errors hold urls, and with them the ids of patients' assessments."""
    reasons = {_no_answer(error).reason for error in (*NEVER_SENT.values(), *SENT.values())}
    assert not [reason for reason in reasons if HOST in reason or "0192530c" in reason or not reason.isprintable()]


# --- the proxy ----------------------------------------------------------------------------------------

PROXY = "http://proxy.example:3128"
WAY = Way(f"https://{HOST}", proxy=None, ca_bundle=None, connect_timeout_s=5.0, read_timeout_s=30.0, connections=8)


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"HTTPS_PROXY": PROXY}, PROXY, id="HTTPS_PROXY"),
        pytest.param({"https_proxy": PROXY}, PROXY, id="https_proxy"),
        pytest.param({"HTTPS_PROXY": ""}, None, id="empty"),
        pytest.param({"HTTP_PROXY": PROXY, "ALL_PROXY": PROXY}, None, id="others are not honoured"),
        pytest.param({"HTTPS_PROXY": PROXY, "NO_PROXY": HOST}, None, id="NO_PROXY: the host"),
        pytest.param({"https_proxy": PROXY, "no_proxy": HOST}, None, id="no_proxy"),
        pytest.param({"HTTPS_PROXY": PROXY, "NO_PROXY": "canaryspeech.com"}, None, id="NO_PROXY: its domain"),
        pytest.param({"HTTPS_PROXY": PROXY, "NO_PROXY": ".canaryspeech.com"}, None, id="NO_PROXY: a dot before it"),
        pytest.param({"HTTPS_PROXY": PROXY, "NO_PROXY": f"a.example, {HOST}"}, None, id="NO_PROXY: a list"),
        pytest.param({"HTTPS_PROXY": PROXY, "NO_PROXY": "*"}, None, id="NO_PROXY: all"),
        pytest.param({"HTTPS_PROXY": PROXY, "NO_PROXY": "speech.com"}, PROXY, id="NO_PROXY: not a part of a name"),
        pytest.param({"HTTPS_PROXY": PROXY, "NO_PROXY": "a.example"}, PROXY, id="NO_PROXY: another"),
        pytest.param({"HTTPS_PROXY": PROXY, "NO_PROXY": ""}, PROXY, id="NO_PROXY: empty"),
    ],
)
def test_the_environment_s_proxy(environment: dict[str, str], expected: str | None) -> None:
    assert proxies(WAY, environment) == ({"https": expected} if expected else {})


def test_the_configured_proxy_goes_before_the_environment() -> None:
    config = WAY._replace(proxy="http://ours.example:1")
    for environment in ({}, {"HTTPS_PROXY": PROXY}, {"NO_PROXY": HOST}):
        assert proxies(config, environment) == {"https": "http://ours.example:1"}


@pytest.mark.parametrize(
    "url", ["http://localhost:8080", "http://127.0.0.1:8080", "https://127.1.2.3", "http://[::1]:1"]
)
def test_no_proxy_for_loopback(url: str) -> None:
    assert proxies(WAY._replace(url=url, proxy="http://ours.example:1"), {"HTTPS_PROXY": PROXY}) == {}


def test_only_the_environment_that_is_passed_in_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://leaked.example:1")
    assert proxies(WAY, {}) == {}
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, HOST)
        assert proxies(WAY, {"HTTPS_PROXY": PROXY}) == {"https": PROXY}


@pytest.mark.parametrize("answer", ["407 Proxy Authentication Required", "403 Forbidden", "502 Bad Gateway"])
def test_a_proxy_that_opens_no_tunnel_was_not_handed_the_request(answer: str) -> None:
    """http.client raises this while it asks for the tunnel, before any request goes through it."""
    error = no_proxy(OSError(f"Tunnel connection failed: {answer}"))
    assert _no_answer(error) == NoAnswer(sent=False, reason="the proxy does not let us through")


@pytest.mark.parametrize(
    ("content", "told"), [(None, "No such file"), (b"", "no certificate"), (b"\xff\x00", "no certif")]
)
def test_a_ca_bundle_that_is_none_stops_the_start(tmp_path: Path, content: bytes | None, told: str) -> None:
    """Later, every request would look as if it might have been taken."""
    bundle = tmp_path / "ca.pem"
    if content is not None:
        bundle.write_bytes(content)
    with pytest.raises(SetupError, match=told):
        Http(WAY._replace(ca_bundle=str(bundle)), {})
