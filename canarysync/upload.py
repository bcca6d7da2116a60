"""The API, one HTTP attempt at a time. The sole user of ``requests``: what went wrong comes back as a value."""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from queue import Empty, Full, LifoQueue
from typing import cast
from urllib.parse import urlsplit

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from canarysync import __version__
from canarysync.answers import Answer, NoAnswer, Reply
from canarysync.connections import Connection, TlsConnection, UnderWay
from canarysync.deadlines import Deadlines
from canarysync.errors import SetupError
from canarysync.exchange import Request, Then, Way
from canarysync.hosts import is_loopback
from canarysync.trust import Trust

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


class Http:
    """Connections to one host for the whole process: keep-alive, certificates always verified, no hidden settings.

    requests makes them, and none of its sessions uses them: what a session does for each request (a ~/.netrc that would
    replace the bearer token, REQUESTS_CA_BUNDLE that would beat ``ca_bundle``, cookies, redirects) is not wanted here,
    and costs more than the request itself. There are no retries: urllib3 holds PUT to be safe to repeat, and this PUT
    is not.
    """

    def __init__(self, way: Way, environment: Mapping[str, str]) -> None:
        """``environment`` may name a proxy. Raises SetupError where no request could ever be made that way."""
        self._trust = _trust(way)
        self._pool, self._prefix = _connections(way, environment)
        self._connections = cast(LifoQueue[Connection | None], self._pool.pool)
        self._read_timeout_s = way.read_timeout_s
        self._timeout = urllib3.Timeout(connect=way.connect_timeout_s, read=way.read_timeout_s)
        self._most_s = way.most_s
        self._deadlines = Deadlines()

    def request(self, request: Request) -> Reply:
        """One attempt. Redirects are not followed; an answer is read for a bounded time."""
        under_way = UnderWay(self._trust)
        with self._deadlines.within(self._most_s, under_way.cut):
            return self._attempt(request)

    def begin(self, requests: Sequence[tuple[Request, Then]]) -> None:
        """The same for who need not wait: here he does."""
        for request, then in requests:
            then(self.request(request))

    def _attempt(self, request: Request) -> Reply:
        path, headers = self._prefix + request.path, {**_HEADERS, **request.headers}
        connection = self._open_one()
        if connection is None:
            return self._over_another(request, path, headers)
        kept = False
        try:
            with connection.again(request.method, path, request.body, headers, self._read_timeout_s) as response:
                answer = _answer(
                    response.status, response.getheader, response.read1, response.length, request.most_bytes
                )
            kept = answer.complete and not response.will_close
        except (http.client.HTTPException, OSError) as error:
            return _no_answer(error)
        else:
            return answer
        finally:
            if not kept:  # what was not read to its end must not meet the next request
                connection.close()
            self._put_back(connection)

    def _open_one(self) -> Connection | None:
        """A connection that a request can go over at once."""
        with suppress(Empty):
            connection = self._connections.get_nowait()
            if connection is not None and connection.is_connected:
                return connection
            self._put_back(connection)  # urllib3 will open it again
        return None

    def _put_back(self, connection: Connection | None) -> None:
        """As urllib3 does: where there are enough without it, it is closed."""
        try:
            self._connections.put_nowait(connection)
        except Full:
            if connection is not None:
                connection.close()

    def _over_another(self, request: Request, path: str, headers: Mapping[str, str]) -> Reply:
        """Open a connection, and make the request."""
        try:
            response = self._pool.urlopen(
                request.method,
                path,
                request.body,
                headers,
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
            read = partial(response.read1, decode_content=False)
            return _answer(response.status, response.headers.get, read, response.length_remaining, request.most_bytes)
        finally:  # what was not read to its end must not meet the next request
            response.close()
            response.release_conn()

    def close(self) -> None:
        """Close all connections, and end the thread that watches over them. No request may be under way."""
        self._pool.close()
        self._deadlines.close()


def _connections(way: Way, environment: Mapping[str, str]) -> tuple[urllib3.HTTPConnectionPool, str]:
    """The connections to the API, in the way that requests would make them, and what all paths there begin with."""
    through = proxies(way, environment)
    try:
        url = requests.Request("GET", way.url).prepare()
        adapter = HTTPAdapter(pool_maxsize=way.connections)
        found = adapter.get_connection_with_tls_context(url, verify=authorities(way), proxies=through)
    except (requests.RequestException, urllib3.exceptions.HTTPError):
        to = without_password(through.get("https", way.url))
        hint = "mend api.proxy or HTTPS_PROXY: http://HOST:PORT" if through else "mend api.url: https://HOST"
        raise SetupError("make requests to", to, "no connection can be made to such an address", hint) from None
    pool = cast(urllib3.HTTPConnectionPool, found)
    pool.ConnectionCls = TlsConnection if pool.scheme == "https" else Connection
    return pool, url.path_url.rstrip("/")


def _answer(
    status: int,
    header: Callable[[str], str | None],
    read: Callable[[int], bytes],
    length: int | None,
    most_bytes: int,
) -> Answer:
    """``length``: of the body, where that is known."""
    if status < 200:  # not read: it is the final answer that would come
        return Answer(status, complete=False)
    content, complete = _read(read, length, most_bytes)
    return Answer(status, header("Content-Type") or "", content, header("Retry-After"), complete, header("Date"))


def _read(read: Callable[[int], bytes], length: int | None, most_bytes: int) -> tuple[bytes, bool]:
    """The body as it came, and whether that is all of it: no decoding, so no bombs."""
    parts, size = [], 0
    try:
        while part := read(_CHUNK_BYTES):
            parts.append(part)
            size += len(part)
            if size > most_bytes:
                return b"".join(parts), False
            if size == length:  # http.client would wait for more
                break
    except (urllib3.exceptions.HTTPError, http.client.HTTPException, OSError):
        return b"".join(parts), False
    return b"".join(parts), length is None or size == length


def _trust(way: Way) -> Trust:
    """Raise SetupError where no certificate could ever be accepted: each request would look as if it was in doubt."""
    trust = Trust(authorities(way))
    try:
        if way.ca_bundle is not None:
            trust.context()
    except OSError as error:  # SSLError is one
        cause = error.strerror if error.errno and not isinstance(error, ssl.SSLError) else "it holds no certificate"
        raise SetupError("read the CA bundle", trust.path, cause or "", "name a PEM file in api.ca_bundle") from None
    return trust


def authorities(way: Way) -> str:
    """The file of the CA certificates that are trusted."""
    return way.ca_bundle or requests.utils.DEFAULT_CA_BUNDLE_PATH


def proxies(way: Way, environment: Mapping[str, str]) -> dict[str, str]:
    """The proxy in force: the configured one, else HTTPS_PROXY unless NO_PROXY names the host; never for loopback."""
    host = urlsplit(way.url).hostname or ""
    if is_loopback(host):
        return {}
    if way.proxy:
        return {"https": way.proxy}
    proxy = environment.get("https_proxy") or environment.get("HTTPS_PROXY")
    spared = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    if not proxy or requests.utils.should_bypass_proxies(way.url, no_proxy=spared):
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
