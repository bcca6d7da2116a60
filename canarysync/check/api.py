"""Probes of the API and the way there: proxy, certificates, clock, token, permissions. They create nothing there."""

from __future__ import annotations

import http.client
import ssl
import uuid
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from canarysync.answers import Answer, Refused, Reply, Unauthorized, Unreachable, judge_other
from canarysync.auth import left_s, tokens_for
from canarysync.check.findings import Finding, ok, problem, warning
from canarysync.config import Api
from canarysync.exchange import Request
from canarysync.hosts import is_loopback
from canarysync.model import Token
from canarysync.quantity import told_s
from canarysync.score_api import Api as ScoreCalls
from canarysync.upload import Http, proxies, without_password
from canarysync.upload import authorities as trusted_in

_NOWHERE = uuid.UUID(int=0)
_LITTLE_SKEW_S = 30.0
_MUCH_SKEW_S = 300.0
_SOON_S = 14 * 86400.0
_THE_WAY = "check the url, the network, DNS and the proxy"
_IGNORED = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR")


def proxy(api: Api, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Which proxy is used, and who says so? Its name and password are not shown."""
    found = proxies(api.way, environment).get("https")
    if found:
        where = "by the config" if api.proxy else "by HTTPS_PROXY, in this environment: the service may have another"
        yield ok("proxy", f"{without_password(found)} ({where})")
    elif is_loopback(urlsplit(api.url).hostname or ""):
        yield ok("proxy", "none, as the API is on this machine")
    else:
        yield ok("proxy", "none" + (" (NO_PROXY spares this host)" if _proxy_in(environment) else ""))


def _proxy_in(environment: Mapping[str, str]) -> bool:
    return bool(environment.get("https_proxy") or environment.get("HTTPS_PROXY"))


def authorities(api: Api, environment: Mapping[str, str]) -> Iterator[Finding]:
    """Whose certificates are trusted?"""
    if urlsplit(api.url).scheme != "https":
        return
    if api.ca_bundle is not None:
        trusted = len(_context(api).get_ca_certs())
        if not trusted:
            yield problem("CA bundle", f"{api.ca_bundle} holds no authority's certificate", "give a PEM file of CAs")
        else:
            yield ok("CA bundle", f"{api.ca_bundle} (by the config; {trusted} certificates)")
        return
    ignored = [name for name in _IGNORED if environment.get(name)]
    if ignored:
        remedy = "name the file in api.ca_bundle, if the API needs it"
        yield warning("CA bundle", f"the one that comes with certifi; {', '.join(ignored)}: not used", remedy)
    else:
        yield ok("CA bundle", "the one that comes with certifi")


def _context(api: Api) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=trusted_in(api.way))


def certificate(api: Api, environment: Mapping[str, str], now: Callable[[], datetime]) -> Iterator[Finding]:
    """Whose certificate does the API show, and until when?"""
    parts = urlsplit(api.url)
    if parts.scheme != "https":
        yield ok("TLS", "none, as the API is on this machine")
        return
    try:
        shown = _certificate_of(api, environment)
    except ssl.SSLCertVerificationError as error:
        remedy = "a proxy that reads along, or an authority of your own? Name it in api.ca_bundle. See the clock, too"
        yield problem("TLS", f"the certificate of {parts.hostname} is not accepted: {error.verify_message}", remedy)
        return
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        yield problem("TLS", f"no connection to {parts.hostname}: {why}", _THE_WAY)
        return
    ends_s = ssl.cert_time_to_seconds(shown["notAfter"])
    left = ends_s - now().timestamp()
    text = f"{_name_in(shown, 'subject')}, issued by {_name_in(shown, 'issuer')}, ends in {told_s(left)}"
    if left < _SOON_S:
        yield warning("TLS", text, "whoever runs that server has to renew its certificate")
    else:
        yield ok("TLS", text)


def _certificate_of(api: Api, environment: Mapping[str, str]) -> Mapping[str, Any]:
    parts, through = urlsplit(api.url), urlsplit(proxies(api.way, environment).get("https", ""))
    host, port = parts.hostname or "", parts.port or 443
    at, at_port = (through.hostname, through.port or 80) if through.hostname else (host, port)
    connection = http.client.HTTPSConnection(at, at_port, timeout=api.connect_timeout_s, context=_context(api))
    if through.hostname:
        connection.set_tunnel(host, port, headers=_proxy_headers(through))
    try:
        connection.connect()
        return connection.sock.getpeercert() or {}
    finally:
        connection.close()


def _proxy_headers(through: SplitResult) -> dict[str, str]:
    if through.username is None:
        return {}
    words = f"{unquote(through.username)}:{unquote(through.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(words.encode()).decode()}"}


def _name_in(shown: Mapping[str, Any], part: str) -> str:
    names = {key: value for ((key, value), *_) in shown.get(part, ())}
    return str(names.get("commonName") or names.get("organizationName") or "nobody named")


def talk(api: Api, environment: Mapping[str, str], now: Callable[[], datetime], *, secret: bool) -> Iterator[Finding]:
    """A token, the clock, a score and a list that cannot be there: 404 is the right answer. Without a ``secret`` only
    whether something answers."""
    talk = _Talk(api, environment, now)
    try:
        yield from talk.findings() if secret else talk.without_token()
    finally:
        talk.close()


class _Talk:
    """One conversation with the API."""

    def __init__(self, api: Api, environment: Mapping[str, str], now: Callable[[], datetime]) -> None:
        self._api = api
        self._now = now
        self._http = Http(api.way, environment)
        self._environment = environment

    def close(self) -> None:
        self._http.close()

    def findings(self) -> Iterator[Finding]:
        token = tokens_for(self._api, self._environment, ScoreCalls(self._http).post, self._now).current()
        if not isinstance(token, Token):
            yield from self.without_token()
            if isinstance(token, Unreachable):
                return
            yield problem("token", token.reason, "is it the right key, and for the project of this region?")
            return
        yield self._life(token)
        reply = self._get(f"score/{_NOWHERE}", token)
        yield from self._clock(reply)
        judged = judge_other(reply, self._now())
        finding = self._permission(judged)
        yield finding
        if isinstance(judged, Answer | Refused):
            yield self._read_back(judge_other(self._get(f"assessment/{_NOWHERE}/get-scores", token), self._now()))

    def without_token(self) -> Iterator[Finding]:
        reply = self._get(f"score/{_NOWHERE}", None)
        judged = judge_other(reply, self._now())
        if isinstance(judged, Unauthorized | Refused | Answer):
            yield ok("API", f"{self._api.url} answers")
            yield from self._clock(reply)
        else:
            yield problem("API", f"{self._api.url}: {judged.reason}", _THE_WAY)

    def _get(self, path: str, token: Token | None) -> Reply:
        headers = {"Authorization": f"Bearer {token.secret}"} if token else {}
        return self._http.request(Request("GET", f"/v2/org/{path}", headers))

    def _life(self, token: Token) -> Finding:
        given = self._api.token is not None
        left = left_s(token.secret, self._now(), just_issued=not given)
        if left is None:
            return ok("token", "got; it does not say how long it lives")
        if given and left < _SOON_S:
            remedy = "put a new one there in time, or use an api_key, for which tokens are renewed by themselves"
            if not left:
                return problem("token", "it has ended", remedy)
            return warning("token", f"it ends in {told_s(left)}", remedy)
        return ok("token", f"{'found' if given else 'got'}, lives {told_s(left)}")

    def _clock(self, reply: Reply) -> Iterator[Finding]:
        try:
            theirs = parsedate_to_datetime((isinstance(reply, Answer) and reply.date) or "")
            ahead_s = (self._now() - theirs).total_seconds()
        except (ValueError, TypeError):  # none, or one without a zone
            return
        skew_s = abs(ahead_s) if abs(ahead_s) > 1 else 0.0  # a Date has no fractions
        text = f"{told_s(skew_s)} {'ahead of' if ahead_s > 0 else 'behind'} the API's"
        remedy = "timedatectl set-ntp true: receipts carry our time, and pauses that the API asks for are kept by it"
        if skew_s > _LITTLE_SKEW_S:
            yield (problem if skew_s > _MUCH_SKEW_S else warning)("clock", text, remedy)
        else:
            yield ok("clock", text if skew_s else "as the API's")

    def _permission(self, judged: object) -> Finding:
        if isinstance(judged, Answer) or (isinstance(judged, Refused) and judged.status == 404):
            return ok("API", f"{self._api.url} answers, and the token is accepted")
        if isinstance(judged, Unauthorized):
            return problem("API", "HTTP 401: the token is not accepted", "is it of this region, and did it end?")
        if isinstance(judged, Refused) and judged.status == 403:
            return problem("API", "HTTP 403: the token may not do this", "it needs the permission scope:api")
        why = f"HTTP {judged.status}" if isinstance(judged, Refused) else getattr(judged, "reason", "")
        return problem("API", f"{self._api.url}: {why}", "is the url right, and the service up?")

    def _read_back(self, judged: object) -> Finding:
        if isinstance(judged, Answer) or (isinstance(judged, Refused) and judged.status == 404):
            return ok("read-back", "scores can be looked for after a lost answer")
        why = f"HTTP {judged.status}" if isinstance(judged, Refused) else getattr(judged, "reason", "HTTP 401")
        remedy = "ask for the right to list scores; until then `in_doubt:` of the routes decides"
        return warning("read-back", f"{why} to a list of scores: what is in doubt will be held for a person", remedy)
