"""Tokens as the API hands them out: signed JWTs for access, and refresh tokens that work once."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import math
import secrets
import threading
from collections.abc import Callable, Mapping
from typing import Any

from canarysync.sandbox.wire import Refusal

SANDBOX_API_KEY = "5A4DB0:Y2FuYXJ5c3luYyBzYW5kYm94"
"""The API key of a sandbox that was given no other: it opens nothing but sandboxes."""

SCOPE = "scope:api"
REFRESH_LIFE_S = 3 * 86_400.0
"""The reference gives no number for a refresh token's life ("a few days")."""


class Tokens:
    """Issues and checks tokens. Thread-safe. ``clock`` gives Unix seconds."""

    def __init__(self, api_key: str, life_s: float, clock: Callable[[], float]) -> None:
        self._api_key = api_key
        self._life_s = life_s
        self._clock = clock
        self._lock = threading.Lock()
        self._signing_key = secrets.token_bytes(32)
        self._refresh_until: dict[str, float] = {}

    def from_api_key(self, api_key: str) -> dict[str, str]:
        """A new pair for the API key; a wrong key is refused (401)."""
        if not hmac.compare_digest(api_key.encode(), self._api_key.encode()):
            raise Refusal(401, "the API key is not known")
        return self._pair()

    def from_refresh_token(self, token: str) -> dict[str, str]:
        """A new pair for a refresh token, which is used up; an unknown or expired one is refused (401)."""
        with self._lock:
            until = self._refresh_until.pop(token, -math.inf)
        if self._clock() >= until:
            raise Refusal(401, "the refresh token is unknown, used or expired")
        return self._pair()

    def access(self, scope: str = SCOPE, life_s: float | None = None) -> str:
        """A new access token: a JWT (RFC 7519), signed with HS256; ``exp`` is in whole Unix seconds."""
        now = self._clock()
        life_s = self._life_s if life_s is None else life_s
        claims = {
            "iat": int(now),
            "exp": math.ceil(now + life_s),
            "scope": scope,
            "jti": secrets.token_hex(8),
        }
        signed = _segment({"alg": "HS256", "typ": "JWT"}) + b"." + _segment(claims)
        return (signed + b"." + self._signature(signed)).decode()

    def authorize(self, headers: Mapping[str, str]) -> None:
        """Refuses a missing, foreign, expired or revoked bearer token (401), and one without scope (403)."""
        scheme, _, token = headers.get("authorization", "").partition(" ")
        claims = self._claims(token) if scheme.lower() == "bearer" else None
        if claims is None or self._clock() >= claims["exp"]:
            raise Refusal(401, "the access token is missing, expired or revoked")
        if SCOPE not in claims["scope"].split():
            raise Refusal(403, f"the access token lacks the permission {SCOPE}")

    def revoke(self, refresh_too: bool = False) -> None:
        """Makes all access tokens worthless, and all refresh tokens if asked."""
        with self._lock:
            self._signing_key = secrets.token_bytes(32)
            if refresh_too:
                self._refresh_until.clear()

    def _pair(self) -> dict[str, str]:
        refresh_token = secrets.token_urlsafe(32)
        with self._lock:
            self._refresh_until[refresh_token] = self._clock() + REFRESH_LIFE_S
        return {"accessToken": self.access(), "refreshToken": refresh_token}

    def _claims(self, token: str) -> dict[str, Any] | None:
        """The claims of a token that we signed ourselves; nothing else is decoded."""
        signed, _, signature = token.encode().rpartition(b".")
        if not hmac.compare_digest(signature, self._signature(signed)):
            return None
        payload = signed.partition(b".")[2]
        claims: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + b"=="))
        return claims

    def _signature(self, signed: bytes) -> bytes:
        return _base64url(hmac.digest(self._signing_key, signed, hashlib.sha256))


def _segment(value: dict[str, object]) -> bytes:
    return _base64url(json.dumps(value).encode())


def _base64url(data: bytes) -> bytes:
    """Base64 without padding, as JWTs have it (RFC 7515 §2)."""
    return base64.urlsafe_b64encode(data).rstrip(b"=")
