"""Access tokens: from an API key, renewed before they end and after a 401, by one thread for all; or a ready token."""

from __future__ import annotations

import base64
import json
import math
import os
import threading
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from pathlib import Path

from canarysync.answers import Answer, Deferred, HoldApi, Refused, Reply, Unauthorized, Unreachable, judge_other
from canarysync.calls import NoToken, Tokens
from canarysync.config import Api as ApiConfig
from canarysync.config import SecretKind, SecretRef
from canarysync.errors import SetupError
from canarysync.model import Token
from canarysync.workers import elsewhere

RENEW_BEFORE_S = 60.0
_LONGEST_LIFE_S = 366 * 86400.0
_EXCHANGE_MOST_S = 600.0

Post = Callable[[str, Mapping[str, str], bytes], Reply]
"""POST a body to a path with headers."""


class FixedToken:
    """A ready bearer token; one in a file is read again when the file has changed."""

    def __init__(self, read: Callable[[], str]) -> None:
        self._read = read

    def current(self) -> Token | NoToken:
        try:
            return Token(self._read())
        except SetupError as error:
            return HoldApi(f"the token cannot be read: {error.cause}")

    def good(self) -> Token | None:
        token = self.current()
        return token if isinstance(token, Token) else None

    def in_hand(self) -> Token | None:
        return None  # it may be another one at any time

    def renewed(self, stale: Token) -> Token | NoToken:
        fresh = self.current()
        if isinstance(fresh, Token) and fresh.secret == stale.secret:
            return HoldApi("HTTP 401: the token is not accepted")
        return fresh


class ExchangedToken:
    """Tokens for an API key (API.md, tokens/get and tokens/refresh)."""

    def __init__(self, read_key: Callable[[], str], post: Post, now: Callable[[], datetime]) -> None:
        self._read_key = read_key
        self._post = post
        self._now = now
        self._lock = threading.Lock()
        self._token: Token | None = None
        self._exchanges = 0
        self._result: Token | NoToken = Deferred("no token was asked for yet")
        self._refresh = ""

    def current(self) -> Token | NoToken:
        exchanges = self._exchanges
        return self.good() or self._exchanged_once(exchanges)

    def good(self) -> Token | None:
        token = self._token
        return token if token is not None and not self._is_due(token) else None

    def in_hand(self) -> Token | None:
        return self._token

    def renewed(self, stale: Token) -> Token | NoToken:
        exchanges, token = self._exchanges, self._token
        if token is not None and token.secret != stale.secret:
            return token
        return self._exchanged_once(exchanges)

    def _exchanged_once(self, exchanges: int) -> Token | NoToken:
        """One thread exchanges; those that wait for it take what it got, be it a token or trouble."""
        with elsewhere(_EXCHANGE_MOST_S), self._lock:
            if self._exchanges == exchanges:
                self._token = None
                self._result = self._exchange()
                self._exchanges += 1
            return self._result

    def _is_due(self, token: Token) -> bool:
        return token.renew_at is not None and self._now() >= token.renew_at

    def _exchange(self) -> Token | NoToken:
        if self._refresh:
            headers = {"Csc-Refresh-Token": self._refresh}
            self._refresh = ""
            renewed = self._ask("/v3/auth/tokens/refresh", headers)
            if isinstance(renewed, Token | Unreachable):
                return renewed
        try:
            key = self._read_key()
        except SetupError as error:
            return HoldApi(f"the API key cannot be read: {error.cause}")
        return self._ask("/v3/auth/tokens/get", {"Csc-Api-Key": key})

    def _ask(self, path: str, headers: Mapping[str, str]) -> Token | NoToken:
        reply = self._post(path, {**headers, "Content-Type": "application/json"}, b"{}")
        verdict = judge_other(reply, self._now())
        if isinstance(verdict, Unauthorized | Refused):
            status = verdict.status if isinstance(verdict, Refused) else 401
            return HoldApi(f"the API does not accept the API key (HTTP {status})")
        if not isinstance(verdict, Answer):
            return verdict
        found = _tokens_in(verdict.body, self._now()) if verdict.complete else None
        if found is None:
            return Deferred("the token answer cannot be understood")
        self._token, self._refresh = found
        return self._token


def _tokens_in(body: bytes, now: datetime) -> tuple[Token, str] | None:
    try:
        content = json.loads(body)
        access, refresh = content["accessToken"], content.get("refreshToken") or ""
        return Token(_checked(access), _renew_at(access, now)), _checked(refresh) if refresh else ""
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _renew_at(jwt: str, now: datetime) -> datetime | None:
    """When to renew an access token: a little before its ``exp`` (RFC 7519 §4.1.4), or at half of a short life.

    Where ``iat`` is there too, the token's life counts from now: the server's clock need not agree with ours.
    None when the token does not tell: then the API's 401 will.
    """
    life_s = left_s(jwt, now, just_issued=True)
    return None if life_s is None else now + timedelta(seconds=max(life_s - RENEW_BEFORE_S, life_s / 2))


def left_s(jwt: str, now: datetime, *, just_issued: bool) -> float | None:
    """Seconds that a token has left; None where it does not tell. One that was ``just_issued`` has its whole life."""
    try:
        payload = jwt.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        ends_s, issued = claims["exp"], claims.get("iat")
        start_s = issued if just_issued and isinstance(issued, int | float) else now.timestamp()
        life_s = float(ends_s - start_s)
        return None if math.isnan(life_s) else min(max(life_s, 0.0), _LONGEST_LIFE_S)
    except (ValueError, KeyError, IndexError, TypeError, OverflowError, RecursionError):
        return None


def tokens_for(config: ApiConfig, environment: Mapping[str, str], post: Post, now: Callable[[], datetime]) -> Tokens:
    """The source of tokens that the config names."""
    ref = config.token or config.api_key
    if ref is None:
        raise SetupError("find the secret", cause="the config names neither api_key nor token")
    reader = _reader(ref, environment)
    if config.token is not None:
        return FixedToken(reader)
    return ExchangedToken(reader, post, now)


def read_secret(ref: SecretRef, environment: Mapping[str, str]) -> str:
    """The secret itself. Raises SetupError, which never shows it."""
    return _reader(ref, environment)()


def _reader(ref: SecretRef, environment: Mapping[str, str]) -> Callable[[], str]:
    if ref.kind is SecretKind.ENV:
        return lambda: _from_environment(ref.name, environment)
    if ref.kind is SecretKind.CREDENTIAL:
        folder = environment.get("CREDENTIALS_DIRECTORY")
        if not folder:
            raise SetupError(
                "read the secret",
                ref.name,
                "a systemd credential exists only inside its service (CREDENTIALS_DIRECTORY is not set)",
                "run this by way of systemd, or give a file: in the config",
            )
        return _FileReader(Path(folder) / ref.name)
    return _FileReader(Path(ref.name))


def _from_environment(name: str, environment: Mapping[str, str]) -> str:
    value = environment.get(name, "")
    if not value.strip():
        raise SetupError("read the secret", name, "this environment variable is not set", "set it, or name a file:")
    return _clean(value, name)


class _FileReader:
    """Reads a secret's file, again only after it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: tuple[tuple[int, int, int], str] | None = None

    def __call__(self) -> str:
        try:
            seen = os.stat(self._path)
            version = (seen.st_mtime_ns, seen.st_size, seen.st_ino)
            known = self._known
            if known is not None and known[0] == version:
                return known[1]
            secret = _clean(self._path.read_bytes()[:65536].decode("ascii", "replace"), str(self._path))
        except OSError as error:
            why = os.strerror(error.errno or 0)
            raise SetupError("read the secret", str(self._path), why, "is it there, and readable by us?") from None
        self._known = (version, secret)
        return secret


def _clean(text: str, where: str) -> str:
    try:
        return _checked(text.strip())
    except ValueError:
        raise SetupError(
            "read the secret", where, "it is empty, or holds more than one word of printable ASCII", "store it alone"
        ) from None


def _checked(secret: object) -> str:
    """A secret that can stand in an HTTP header (RFC 9110 §5.5), or ValueError without it."""
    if not isinstance(secret, str) or not secret or not secret.isascii() or not secret.isprintable() or " " in secret:
        raise ValueError("not a token")
    return secret
