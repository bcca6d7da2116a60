"""The API, one HTTP attempt at a time. The sole user of ``requests``: what went wrong comes back as a value."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any
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
from canarysync.workers import elsewhere

_PUT_ANSWER_MOST_BYTES = 64 << 10
_LISTING_MOST_BYTES = 8 << 20
_CHUNK_BYTES = 64 << 10

_NEVER_SENT = {
    NewConnectionError: "no connection",
    NameResolutionError: "the host's name cannot be resolved",
    ConnectTimeoutError: "no connection within the connect timeout",
    ssl.SSLCertVerificationError: "the server's certificate is not accepted",
}


class _Request:
    """A request under way, and the connection that it goes over, once that is known."""

    connection: urllib3.connection.HTTPConnection | None = None

    def cut(self) -> None:
        """End whatever is going on there: a thread that waits for the server gets an error."""
        socket_ = getattr(self.connection, "sock", None)
        with suppress(OSError):
            if socket_ is not None:
                socket_.shutdown(socket.SHUT_RDWR)


_this_thread = threading.local()  # .request: the _Request that it is making


class _HttpConnection(urllib3.connection.HTTPConnection):
    def request(self, *arguments: Any, **more: Any) -> None:
        _this_thread.request.connection = self
        super().request(*arguments, **more)


class _HttpsConnection(urllib3.connection.HTTPSConnection):
    def request(self, *arguments: Any, **more: Any) -> None:
        _this_thread.request.connection = self
        super().request(*arguments, **more)


class _HttpPool(urllib3.HTTPConnectionPool):
    ConnectionCls = _HttpConnection


class _HttpsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _HttpsConnection


class _Adapter(HTTPAdapter):
    """requests' adapter, with connections that say by whom they are used."""

    def init_poolmanager(self, *arguments: Any, **more: Any) -> None:
        super().init_poolmanager(*arguments, **more)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, *arguments: Any, **more: Any) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(*arguments, **more)
        manager.pool_classes_by_scheme = _POOLS
        return manager


_POOLS = {"http": _HttpPool, "https": _HttpsPool}


class _Session(requests.Session):
    """Follows no redirect, and does not even look where it leads: requests would read the whole body for that."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        return None


class Http:
    """One session for the whole process: keep-alive, a pool as large as the concurrency, no hidden settings.

    ``trust_env`` is off: a ~/.netrc would replace the bearer token, REQUESTS_CA_BUNDLE would beat ``ca_bundle``.
    Adapter retries are off: urllib3 holds PUT to be safe to repeat, and this PUT is not.
    """

    def __init__(self, config: ApiConfig, environment: Mapping[str, str]) -> None:
        self.observer: Callable[[str, Reply, float], None] = lambda call, reply, seconds: None
        """Told of every request: the last part of its path, what came back, and how long it took."""
        _check_authorities(config.ca_bundle)
        self._base = config.url.rstrip("/")
        self._timeout = (config.connect_timeout_s, config.read_timeout_s)
        self._most_s = config.connect_timeout_s + 2 * config.read_timeout_s
        self._deadlines = Deadlines()
        self._session = _Session()
        self._session.trust_env = False
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))  # keep none, send none
        self._session.verify = authorities(config)
        self._session.proxies = proxies(config, environment)
        # Sixteen above the workers: a token exchange or a probe must not push a worker's connection out.
        size = config.concurrency + 16
        adapter = _Adapter(pool_connections=1, pool_maxsize=size, max_retries=0)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)
        self._session.headers = requests.structures.CaseInsensitiveDict(
            {"User-Agent": f"canarysync/{__version__}", "Accept": "application/json", "Accept-Encoding": "identity"}
        )

    def request(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None = None, most_bytes: int = 1 << 20
    ) -> Reply:
        """One attempt. Redirects are not followed; an answer is read up to ``most_bytes`` and for a bounded time."""
        began_s = time.monotonic()
        reply = self._attempt(method, path, headers, body, most_bytes)
        self.observer(path.rpartition("/")[2], reply, time.monotonic() - began_s)
        return reply

    def _attempt(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes | None, most_bytes: int
    ) -> Reply:
        request = _this_thread.request = _Request()
        with elsewhere(2 * self._most_s), self._deadlines.within(self._most_s, request.cut):
            try:
                response = self._session.request(
                    method,
                    self._base + path,
                    data=body,
                    headers=dict(headers),
                    timeout=self._timeout,
                    allow_redirects=False,
                    stream=True,
                )
            except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
                return _no_answer(error)
            with response:
                if response.status_code < 200:  # closed unread: the final answer must not meet the next request
                    return Answer(response.status_code, complete=False)
                content, complete = self._read(response, most_bytes)
                return Answer(
                    response.status_code,
                    response.headers.get("Content-Type", ""),
                    content,
                    response.headers.get("Retry-After"),
                    complete,
                    response.headers.get("Date"),
                )

    def _read(self, response: requests.Response, most_bytes: int) -> tuple[bytes, bool]:
        """The body as it came, and whether that is all of it: no decoding, so no bombs."""
        parts, size = [], 0
        try:
            while part := response.raw.read1(_CHUNK_BYTES, decode_content=False):
                parts.append(part)
                size += len(part)
                if size > most_bytes:
                    return b"".join(parts), False
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError):
            return b"".join(parts), False
        return b"".join(parts), True

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """One POST, as auth.py needs it."""
        return self.request("POST", path, headers, body)

    def close(self) -> None:
        """Close all connections, and end the thread that watches over them. No request may be under way."""
        self._session.close()
        self._deadlines.close()


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


def _check_authorities(bundle: Path | None) -> None:
    """Raise SetupError where no certificate could ever be accepted: each request would look as if it was in doubt."""
    try:
        if bundle is not None:
            ssl.create_default_context(cafile=bundle)
    except OSError as error:  # SSLError is one
        cause = error.strerror if error.errno and not isinstance(error, ssl.SSLError) else "it holds no certificate"
        raise SetupError("read the CA bundle", str(bundle), cause or "", "name a PEM file in api.ca_bundle") from None


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
