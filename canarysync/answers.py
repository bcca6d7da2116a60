"""What an answer means: one pure table from what came back to what it says of the score (README, "Answers").

The one question that sorts all failures is *could the server have it?* Whatever is not known to be harmless
is in doubt.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import datetime

from canarysync.retry import retry_after_s

FORBIDDEN_MOST_ATTEMPTS = 5
"""A 403 may be a permission still on its way; after so many attempts it is an answer."""

_WORDS_MOST = 2000
_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.ASCII)  # RFC 9562 §4
_LATER = frozenset({408, 425, 429})
_NOT_THE_API = frozenset({407})


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP response. ``body`` is bounded; ``complete`` says whether it is all of it. ``date`` is the server's."""

    status: int
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)
    retry_after: str | None = None
    complete: bool = True
    date: str | None = None


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """No response. ``sent`` is False only when the request cannot have reached the server."""

    sent: bool
    reason: str


Reply = Answer | NoAnswer


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The server created the score. ``uuid`` is in lower case."""

    uuid: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The server said no to this score, for good. ``words`` are its own, shortened and untrusted."""

    status: int
    words: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Deferred:
    """Not taken, and worth another try. ``everyone``: the server asked all requests to pause. ``forbidden``: 403."""

    reason: str
    retry_after_s: float | None = None
    everyone: bool = False
    forbidden: bool = False


@dataclass(frozen=True, slots=True)
class Unreachable:
    """The request never left: nothing is known of the score, and every other request would fail alike."""

    reason: str


@dataclass(frozen=True, slots=True)
class HoldApi:
    """It is not the API that speaks, or it does not let us in: no file's fault, so all files stay."""

    reason: str


@dataclass(frozen=True, slots=True)
class Unauthorized:
    """The access token is not accepted (any more)."""


@dataclass(frozen=True, slots=True)
class InDoubt:
    """Sent, and no proof either way: read back before anything else."""

    reason: str


Verdict = Uploaded | Refused | Deferred | Unreachable | HoldApi | Unauthorized | InDoubt


def judge_put(reply: Reply, now: datetime, forbidden: int) -> Verdict:
    """What the reply to a PUT put-score says. ``forbidden`` earlier attempts got a 403."""
    if isinstance(reply, NoAnswer):
        return InDoubt(reply.reason) if reply.sent else Unreachable(reply.reason)
    if 200 <= reply.status < 300:
        uuid = uuid_in(reply)
        return Uploaded(uuid) if uuid else InDoubt(f"{reply.status} without a valid uuid")
    return _judge_common(reply, now) or _judge_client_error(reply, forbidden)


def judge_other(reply: Reply, now: datetime) -> Answer | Deferred | Unreachable | HoldApi | Unauthorized | Refused:
    """What the reply to a request that changes nothing says; a 2xx is handed back as it is, perhaps incomplete."""
    if isinstance(reply, NoAnswer):
        return Deferred(reply.reason) if reply.sent else Unreachable(reply.reason)
    if 200 <= reply.status < 300:
        return reply
    common = None if reply.status == 501 else _judge_common(reply, now)
    if isinstance(common, InDoubt):  # nothing can have come of it: simply ask again
        return Deferred(common.reason, retry_after_s(reply.retry_after, now))
    return common or Refused(reply.status, words_of(reply))


def _judge_common(reply: Answer, now: datetime) -> Deferred | HoldApi | Unauthorized | InDoubt | None:
    """The rows of the table that do not concern the score itself; None for the rest, the plain 4xx."""
    status, pause_s = reply.status, retry_after_s(reply.retry_after, now)
    if status < 200:  # no final answer (RFC 9110 §15.2): one may have been on its way
        return InDoubt(f"HTTP {status}")
    if status == 401:  # in HTML too: a gateway may speak for the API here, and a fresh token does no harm
        return Unauthorized()
    if status < 400 or status in _NOT_THE_API or (status < 500 and _is_html(reply)):
        return HoldApi(f"HTTP {status} that is not the API's (a proxy, a portal, a wrong url?)")
    if status in _LATER:
        return Deferred(f"HTTP {status}", pause_s, everyone=status == 429 and pause_s is not None)
    if status == 503 and pause_s is not None:
        return Deferred("HTTP 503", pause_s, everyone=True)
    return InDoubt(f"HTTP {status}") if status >= 500 else None


def _judge_client_error(reply: Answer, forbidden: int) -> Refused | Deferred:
    if reply.status == 403 and forbidden + 1 < FORBIDDEN_MOST_ATTEMPTS:
        return Deferred("HTTP 403", forbidden=True)
    return Refused(reply.status, words_of(reply))


def uuid_in(reply: Answer) -> str | None:
    """The uuid of ``{"uuid": "…"}``, in lower case; None unless the answer is complete and the uuid well-formed."""
    try:
        content = json.loads(reply.body) if reply.complete else None
    except (ValueError, RecursionError):
        return None
    return as_uuid(content.get("uuid")) if isinstance(content, dict) else None


def as_uuid(value: object) -> str | None:
    """``value`` in lower case if it is a UUID in its textual form (RFC 9562 §4), else None."""
    return value.lower() if isinstance(value, str) and _UUID.fullmatch(value.lower()) else None


def words_of(reply: Answer) -> str:
    """The server's own words, shortened."""
    text = reply.body[: 4 * _WORDS_MOST].decode("utf-8", "replace").strip()
    return text if len(text) <= _WORDS_MOST else text[:_WORDS_MOST] + "…"


def _is_html(reply: Answer) -> bool:
    kind = reply.content_type.partition(";")[0].strip().lower()
    return kind in ("text/html", "application/xhtml+xml") or reply.body.lstrip()[:1] == b"<"
