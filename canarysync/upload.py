"""The API, one HTTP attempt at a time. The sole user of ``requests``: what went wrong comes back as a value."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from canarysync import __version__
from canarysync.answers import Answer, NoAnswer, Reply
from canarysync.config import Api as ApiConfig
from canarysync.deadlines import Deadlines
from canarysync.errors import SetupError
from canarysync.model import Score
from canarysync.schema.formats import is_loopback
from canarysync.traffic import Traffic
from canarysync.trust import Trust
from canarysync.workers import elsewhere

_PUT_ANSWER_MOST_BYTES = 64 << 10
_LISTING_MOST_BYTES = 8 << 20
_CHUNK_BYTES = 64 << 10

_HEADERS = {
    "User-Agent": f"canarysync/{__version__}",
    "Accept": "application/json",
    "Accept-Encoding": "identity",
}

_NO_RETRIES = urllib3.Retry(total=False)  # the first error comes out as it is

_NEVER_SENT = {
    NewConnectionError: "no connection",
    NameResolutionError: "the host's name cannot be resolved",
    ConnectTimeoutError: "no connection within the connect timeout",
    ssl.SSLCertVerificationError: "the server's certificate is not accepted",
}


class _Request:
    """A request under way: whom it trusts, and the connection that it goes over, once that is known."""

    __slots__ = ("connection", "trust")

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self.connection: urllib3.connection.HTTPConnection | None = None

    def cut(self) -> None:
        """End whatever is going on there: a thread that waits for the server gets an error."""
        socket_ = getattr(self.connection, "sock", None)
        socket_ = getattr(socket_, "socket", socket_)  # TLS within the TLS to a proxy is no socket, but has one
        with suppress(OSError):
            if socket_ is not None:
                socket_.shutdown(socket.SHUT_RDWR)


_this_thread = threading.local()  # .request: the _Request that it is making


class _Connection(urllib3.connection.HTTPConnection):
    """A connection that says by whom it is used, and sends a request as a whole: head and body in one packet."""

    _parts: list[bytes] | None = None

    def connect(self) -> None:
        _this_thread.request.connection = self
        super().connect()

    def request(self, *arguments: Any, **more: Any) -> None:
        _this_thread.request.connection = self
        parts: list[bytes] = []
        self._parts = parts
        super().request(*arguments, **more)
        self._parts = None
        self.send(b"".join(parts))

    def send(self, data: Any) -> None:
        if self._parts is None:
            super().send(data)
        else:
            self._parts.append(data)


class _TlsConnection(_Connection, urllib3.connection.HTTPSConnection):
    def connect(self) -> None:
        """With the one context, to the proxy too, instead of one that reads all the authorities anew."""
        self.ssl_context, self.ca_certs = _this_thread.request.trust.context(), None
        if self.proxy_config is not None:
            self.proxy_config = self.proxy_config._replace(ssl_context=self.ssl_context)
        super().connect()


class Http:
    """Connections to one host for the whole process: keep-alive, certificates always verified, no hidden settings.

    requests makes them, and none of its sessions uses them: what a session does for each request (a ~/.netrc that would
    replace the bearer token, REQUESTS_CA_BUNDLE that would beat ``ca_bundle``, cookies, redirects) is not wanted here,
    and costs more than the request itself. There are no retries: urllib3 holds PUT to be safe to repeat, and this PUT
    is not.
    """

    def __init__(self, config: ApiConfig, environment: Mapping[str, str]) -> None:
        """Raises SetupError where no request could ever be made that way."""
        self.observer: Callable[[str, Reply, float], None] = lambda call, reply, seconds: None
        """Told of every request: the last part of its path, what came back, and how long it took."""
        self.traffic = Traffic()
        self._trust = _trust(config)
        # Sixteen above the workers: a token exchange or a probe must not push a worker's connection out.
        self._pool, self._prefix = _way(config, environment, config.most_at_once + 16)
        self._timeout = urllib3.Timeout(connect=config.connect_timeout_s, read=config.read_timeout_s)
        self._most_s = config.connect_timeout_s + 2 * config.read_timeout_s
        self._deadlines = Deadlines()

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None, most_bytes: int = 1 << 20
    ) -> Reply:
        """One attempt. Redirects are not followed; an answer is read up to ``most_bytes`` and for a bounded time."""
        in_flight, began_s = self.traffic.begins(), time.monotonic()
        request = _this_thread.request = _Request(self._trust)
        try:
            with elsewhere(2 * self._most_s), self._deadlines.within(self._most_s, request.cut):
                reply = self._attempt(method, path, headers, body, most_bytes)
        finally:
            self.traffic.ends()
        took_s = time.monotonic() - began_s
        self.traffic.told(method, reply, began_s, took_s, in_flight)
        self.observer(path.rpartition("/")[2], reply, took_s)
        return reply

    def _attempt(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, most_bytes: int
    ) -> Reply:
        try:
            response = self._pool.urlopen(
                method,
                self._prefix + path,
                body,
                {**_HEADERS, **headers},
                retries=_NO_RETRIES,
                redirect=False,
                assert_same_host=False,
                timeout=self._timeout,
                preload_content=False,
                decode_content=False,
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            return _no_answer(error)
        try:
            return _answer(response, most_bytes)
        finally:  # what was not read to its end must not meet the next request
            response.close()
            response.release_conn()

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """One POST, as auth.py needs it."""
        return self.request("POST", path, headers, body)

    def close(self) -> None:
        """Close all connections, and end the thread that watches over them. No request may be under way."""
        self._pool.close()
        self._deadlines.close()


def _way(
    config: ApiConfig, environment: Mapping[str, str], most_connections: int
) -> tuple[urllib3.HTTPConnectionPool, str]:
    """The connections to the API, in the way that requests would make them, and what all paths there begin with."""
    through = proxies(config, environment)
    try:
        url = requests.Request("GET", config.url).prepare()
        adapter = HTTPAdapter(pool_maxsize=most_connections)
        found = adapter.get_connection_with_tls_context(url, verify=authorities(config), proxies=through)
    except (requests.RequestException, urllib3.exceptions.HTTPError):
        to = without_password(through.get("https", config.url))
        hint = "mend api.proxy or HTTPS_PROXY: http://HOST:PORT" if through else "mend api.url: https://HOST"
        raise SetupError("make requests to", to, "no connection can be made to such an address", hint) from None
    pool = cast(urllib3.HTTPConnectionPool, found)
    pool.ConnectionCls = _TlsConnection if pool.scheme == "https" else _Connection
    return pool, url.path_url.rstrip("/")


def _answer(response: urllib3.BaseHTTPResponse, most_bytes: int) -> Answer:
    if response.status < 200:  # not read: it is the final answer that would come
        return Answer(response.status, complete=False)
    content, complete = _read(response, most_bytes)
    headers = response.headers
    return Answer(
        response.status,
        headers.get("Content-Type", ""),
        content,
        headers.get("Retry-After"),
        complete,
        headers.get("Date"),
    )


def _read(response: urllib3.BaseHTTPResponse, most_bytes: int) -> tuple[bytes, bool]:
    """The body as it came, and whether that is all of it: no decoding, so no bombs."""
    parts, size = [], 0
    try:
        while part := response.read1(_CHUNK_BYTES, decode_content=False):
            parts.append(part)
            size += len(part)
            if size > most_bytes:
                return b"".join(parts), False
    except (urllib3.exceptions.HTTPError, OSError):
        return b"".join(parts), False
    return b"".join(parts), True


class Api:
    """The calls of API.md that concern scores."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def put(self, score: Score, token: str) -> Reply:
        """PUT put-score, once."""
        return self._http.request(
            "PUT",
            f"/v2/org/assessment/{score.assessment_id}/put-score",
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            score.body,
            _PUT_ANSWER_MOST_BYTES,
        )

    def listing(self, assessment_id: str, token: str) -> Reply:
        """GET get-scores: everything that the API has for an assessment."""
        return self._http.request(
            "GET",
            f"/v2/org/assessment/{assessment_id}/get-scores",
            {"Authorization": f"Bearer {token}"},
            most_bytes=_LISTING_MOST_BYTES,
        )

    def score(self, uuid: str, token: str) -> Reply:
        """GET score: one score."""
        return self._http.request("GET", f"/v2/org/score/{uuid}", {"Authorization": f"Bearer {token}"})


def _trust(config: ApiConfig) -> Trust:
    """Raise SetupError where no certificate could ever be accepted: each request would look as if it was in doubt."""
    trust = Trust(authorities(config))
    try:
        if config.ca_bundle is not None:
            trust.context()
    except OSError as error:  # SSLError is one
        cause = error.strerror if error.errno and not isinstance(error, ssl.SSLError) else "it holds no certificate"
        raise SetupError("read the CA bundle", trust.path, cause or "", "name a PEM file in api.ca_bundle") from None
    return trust


def authorities(config: ApiConfig) -> str:
    """The file of the CA certificates that are trusted."""
    return str(config.ca_bundle) if config.ca_bundle else requests.utils.DEFAULT_CA_BUNDLE_PATH


def proxies(config: ApiConfig, environment: Mapping[str, str]) -> dict[str, str]:
    """The proxy in force: the configured one, else HTTPS_PROXY unless NO_PROXY names the host; never for loopback."""
    host = urlsplit(config.url).hostname or ""
    if is_loopback(host):
        return {}
    if config.proxy:
        return {"https": config.proxy}
    proxy = environment.get("https_proxy") or environment.get("HTTPS_PROXY")
    spared = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if not proxy or requests.utils.should_bypass_proxies(config.url, no_proxy=spared):
        return {}
    return {"https": proxy}


def without_password(url: str) -> str:
    """A proxy's address, to be shown: HTTPS_PROXY may hold a user and password."""
    head, at, host = url.rpartition("@")
    return f"{head.partition('://')[0]}://…@{host}" if at else url


def _no_answer(error: BaseException) -> NoAnswer:
    root = _root(error)
    words = root.args[0] if isinstance(root, OSError) and root.args else None
    if isinstance(words, str) and words.startswith("Tunnel connection failed"):
        # http.client's words for a CONNECT that was refused: the request itself was never handed out.
        return NoAnswer(sent=False, reason="the proxy does not let us through")
    if type(root) in _NEVER_SENT:  # exactly these: of a kind that we do not know, anything may be true
        return NoAnswer(sent=False, reason=_NEVER_SENT[type(root)])
    return NoAnswer(sent=True, reason=f"no answer ({type(root).__name__})")


def _root(error: BaseException) -> BaseException:
    """The end of the chain: what urllib3 wraps in MaxRetryError, ProxyError, SSLError or ProtocolError."""
    for _ in range(10):
        inner = getattr(error, "reason", None) or getattr(error, "original_error", None)
        if not isinstance(inner, BaseException):
            inner = error.args[0] if error.args else None
        if not isinstance(inner, BaseException) or isinstance(error, tuple(_NEVER_SENT)):
            return error
        error = inner
    return error
