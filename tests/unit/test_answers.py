"""What an answer means: every row of the table of DESIGN §6, every status, every kind of fault."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canarysync.answers import (
    FORBIDDEN_MOST_ATTEMPTS,
    Answer,
    Deferred,
    HoldApi,
    InDoubt,
    NoAnswer,
    Refused,
    Reply,
    Unauthorized,
    Unreachable,
    Uploaded,
    Verdict,
    judge_other,
    judge_put,
    uuid_in,
    words_of,
)

NOW = datetime(1994, 11, 6, 8, 48, 37, tzinfo=UTC)
UUID = "7f0c3b1a-9c1e-4c55-8a39-1f2e3d4c5b6a"
CREATED = f'{{"uuid": "{UUID}"}}'.encode()
PROBLEM = b'{"message": "scoreId is not in the survey"}'
WORDS = PROBLEM.decode()
HTML = b"<!DOCTYPE html><title>Sign in</title>"
LATER_DATE = "Sun, 06 Nov 1994 08:49:37 GMT"  # a minute after NOW


def answer(
    status: int, body: bytes = PROBLEM, kind: str = "application/json", retry_after: str | None = None
) -> Answer:
    return Answer(status, kind, body, retry_after)


# (row of the table, reply, what it means for a PUT)
PUT: list[tuple[str, Reply, type[Verdict] | Verdict]] = [
    # | 2xx with a uuid | uploaded |
    ("200 with a uuid", answer(200, CREATED), Uploaded(UUID)),
    ("201 with a uuid", answer(201, CREATED), Uploaded(UUID)),
    ("299 with a uuid", answer(299, CREATED), Uploaded(UUID)),
    ("a uuid in capitals", answer(200, CREATED.upper().replace(b"UUID", b"uuid")), Uploaded(UUID)),
    ("a uuid and more", answer(200, b'{"ok": true, "uuid": "%s"}' % UUID.encode()), Uploaded(UUID)),
    ("a uuid under any media type", answer(200, CREATED, "text/plain"), Uploaded(UUID)),
    # | 400, 404, …, other 4xx, with a JSON body or none | refused |
    *[(f"{status} in JSON", answer(status), Refused(status, WORDS)) for status in (400, 404, 409, 410, 413, 415, 422)],
    *[(f"{status}, no body", answer(status, b"", ""), Refused(status, "")) for status in (400, 402, 418, 451, 499)],
    ("a plain text", answer(400, b"no such score", "text/plain"), Refused(400, "no such score")),
    ("JSON that quotes HTML", answer(422, b'{"message": "<b>"}'), Refused(422, '{"message": "<b>"}')),
    # | 3xx (never followed), 407, a 4xx in HTML | hold the API |
    *[(f"{status}", answer(status, b"", ""), HoldApi) for status in (300, 301, 302, 303, 304, 307, 308, 399)],
    ("301 in JSON with a uuid", answer(301, CREATED), HoldApi),
    ("407", answer(407), HoldApi),
    *[(f"{status} in HTML", answer(status, HTML, "text/html"), HoldApi) for status in (400, 403, 404, 409, 429)],
    ("401 in HTML", answer(401, HTML, "text/html"), Unauthorized),
    ("HTML by its type alone", answer(403, b"", "Text/HTML; charset=utf-8"), HoldApi),
    ("XHTML", answer(404, b"?", "application/xhtml+xml"), HoldApi),
    ("HTML by its looks", answer(404, b" \r\n" + HTML, "application/json"), HoldApi),
    # | 401 | renew the token once |
    ("401", answer(401), Unauthorized()),
    ("401 without a body", answer(401, b"", ""), Unauthorized()),
    # | 408, 425, 429, 503 with Retry-After | deferred; for 429 and 503 by everyone |
    ("408", answer(408), Deferred("HTTP 408")),
    ("408, Retry-After", answer(408, retry_after="7"), Deferred("HTTP 408", 7.0)),
    ("425", answer(425), Deferred("HTTP 425")),
    ("425, Retry-After", answer(425, retry_after="7"), Deferred("HTTP 425", 7.0)),
    ("429", answer(429), Deferred("HTTP 429")),
    ("429, Retry-After", answer(429, retry_after="7"), Deferred("HTTP 429", 7.0, everyone=True)),
    ("429, Retry-After 0", answer(429, retry_after="0"), Deferred("HTTP 429", 0.0, everyone=True)),
    ("429, a date", answer(429, retry_after=LATER_DATE), Deferred("HTTP 429", 60.0, everyone=True)),
    ("429, a senseless Retry-After", answer(429, retry_after="soon"), Deferred("HTTP 429")),
    ("503, Retry-After", answer(503, retry_after="7"), Deferred("HTTP 503", 7.0, everyone=True)),
    ("503, capped", answer(503, retry_after="86400"), Deferred("HTTP 503", 3600.0, everyone=True)),
    ("503 in HTML, Retry-After", answer(503, HTML, "text/html", "7"), Deferred("HTTP 503", 7.0, everyone=True)),
    # | never sent | deferred, the API is unreachable |
    ("never sent", NoAnswer(sent=False, reason="no connection"), Unreachable("no connection")),
    # | sent, and no proof | in doubt |
    ("sent, no answer", NoAnswer(sent=True, reason="no answer (ReadTimeoutError)"), InDoubt),
    ("503 without Retry-After", answer(503), InDoubt),
    ("503, a senseless Retry-After", answer(503, retry_after="soon"), InDoubt),
    *[(f"{status}", answer(status), InDoubt) for status in (500, 501, 502, 504, 505, 507, 511, 520, 599)],
    ("502 in HTML", answer(502, HTML, "text/html"), InDoubt),
    ("500 with a uuid", answer(500, CREATED), InDoubt),
    ("500, Retry-After", answer(500, retry_after="7"), InDoubt),
    ("200 without a body", answer(200, b""), InDoubt),
    ("204", answer(204, b"", ""), InDoubt),
    ("200 in HTML", answer(200, HTML, "text/html"), InDoubt),
    ("200, another object", answer(200, b'{"id": 1}'), InDoubt),
    ("200, cut short", replace(answer(200, CREATED), complete=False), InDoubt),
    # An interim response that was never followed by the final one (RFC 9110 §15.2; http.client skips only 100).
    *[(f"{status}", answer(status, b"", ""), InDoubt) for status in (100, 101, 102, 103, 199)],
    # RFC 9110 §15: a status outside 100 to 599 is to be treated as a 5xx.
    *[(f"{status}", answer(status, b"", ""), InDoubt) for status in (0, 99, 600, 999)],
]  # fmt: skip


@pytest.mark.parametrize(("row", "reply", "expected"), PUT, ids=[row for row, _, _ in PUT])
def test_a_put(row: str, reply: Reply, expected: type[Verdict] | Verdict) -> None:
    verdict = judge_put(reply, NOW, forbidden=0)
    assert isinstance(verdict, expected) if isinstance(expected, type) else verdict == expected


@pytest.mark.parametrize("kind", get_args(Verdict))
def test_the_table_has_a_row_for_every_verdict(kind: type[Verdict]) -> None:
    assert any(expected is kind or isinstance(expected, kind) for _, _, expected in PUT)


@pytest.mark.parametrize(
    ("attempts", "expected"),
    [
        (1, Deferred("HTTP 403", forbidden=True)),
        (4, Deferred("HTTP 403", forbidden=True)),
        (5, Refused(403, WORDS)),
        (6, Refused(403, WORDS)),
    ],
)
def test_403_is_refused_after_five_attempts(attempts: int, expected: Verdict) -> None:
    assert FORBIDDEN_MOST_ATTEMPTS == 5
    assert judge_put(answer(403), NOW, attempts - 1) == expected


def by_class(status: int) -> type[Verdict]:
    """The table in short, for a JSON body without a uuid and no Retry-After; whatever it does not name is in doubt."""
    special: dict[int, type[Verdict]] = {401: Unauthorized, 403: Deferred, 407: HoldApi}
    special |= dict.fromkeys((408, 425, 429), Deferred)
    if 300 <= status < 400:
        return HoldApi
    return special.get(status, Refused if 400 <= status < 500 else InDoubt)


@pytest.mark.parametrize("hundred", range(100, 600, 100))
def test_every_status(hundred: int) -> None:
    for reply in (answer(0), answer(0, b"", "")):
        replies = [replace(reply, status=status) for status in range(hundred, hundred + 100)]
        wrong = {
            reply.status: type(verdict).__name__
            for reply, verdict in ((reply, judge_put(reply, NOW, 1)) for reply in replies)
            if not isinstance(verdict, by_class(reply.status))
        }
        assert not wrong


replies = st.builds(
    Answer,
    st.integers(0, 999),
    st.sampled_from(["", "application/json", "text/html", "text/plain"]) | st.text(max_size=10),
    st.sampled_from([b"", CREATED, PROBLEM, HTML]) | st.binary(max_size=40),
    st.none() | st.sampled_from(["7", LATER_DATE]) | st.text(max_size=10),
    st.booleans(),
) | st.builds(NoAnswer, st.booleans(), st.text(max_size=10))


@given(replies, st.integers(1, 10))
def test_could_the_server_have_it(reply: Reply, attempts: int) -> None:
    """The promise of §6: only an answer that is known to be harmless lets the score be sent again unseen."""
    verdict = judge_put(reply, NOW, attempts)
    if isinstance(reply, NoAnswer):
        assert isinstance(verdict, InDoubt if reply.sent else Unreachable)
        return
    proof = 200 <= reply.status < 300 and reply.complete and uuid_in(reply) is not None
    assert isinstance(verdict, Uploaded) == proof
    harmless = 300 <= reply.status < 500 or (reply.status == 503 and isinstance(verdict, Deferred) and verdict.everyone)
    assert isinstance(verdict, InDoubt) == (not proof and not harmless)


# --- a request that changes nothing ----------------------------------------------------------------------

LISTING = answer(200, b'{"scores": []}')

OTHER: list[tuple[str, Reply, object]] = [
    ("200", LISTING, LISTING),
    ("204", answer(204, b"", ""), answer(204, b"", "")),
    ("200, cut short", replace(LISTING, complete=False), replace(LISTING, complete=False)),
    ("never sent", NoAnswer(sent=False, reason="no connection"), Unreachable("no connection")),
    ("sent, no answer: it may be asked again", NoAnswer(sent=True, reason="no answer"), Deferred("no answer")),
    ("302", answer(302, b"", ""), HoldApi),
    ("407", answer(407), HoldApi),
    ("404 in HTML", answer(404, HTML, "text/html"), HoldApi),
    ("401", answer(401), Unauthorized()),
    ("408", answer(408), Deferred("HTTP 408")),
    ("425", answer(425), Deferred("HTTP 425")),
    ("429", answer(429), Deferred("HTTP 429")),
    ("429, Retry-After", answer(429, retry_after="7"), Deferred("HTTP 429", 7.0, everyone=True)),
    ("500", answer(500), Deferred("HTTP 500")),
    ("502 in HTML", answer(502, HTML, "text/html"), Deferred("HTTP 502")),
    ("503", answer(503), Deferred("HTTP 503")),
    ("503, Retry-After, obeyed by everyone", answer(503, retry_after="7"), Deferred("HTTP 503", 7.0, everyone=True)),
    ("504, Retry-After", answer(504, retry_after="7"), Deferred("HTTP 504", 7.0)),
    # "If the API cannot answer (403, 404, 405, 501)"
    *[(f"{status}", answer(status), Refused(status, WORDS)) for status in (400, 403, 404, 405, 410, 501)],
]


@pytest.mark.parametrize(("row", "reply", "expected"), OTHER, ids=[row for row, _, _ in OTHER])
def test_a_request_that_changes_nothing(row: str, reply: Reply, expected: object) -> None:
    verdict = judge_other(reply, NOW)
    assert isinstance(verdict, expected) if isinstance(expected, type) else verdict == expected


@given(replies)
def test_a_request_that_changes_nothing_is_never_in_doubt(reply: Reply) -> None:
    assert isinstance(judge_other(reply, NOW), Answer | Deferred | Unreachable | HoldApi | Unauthorized | Refused)


# --- the uuid and the words -------------------------------------------------------------------------------

NO_PROOF = {
    "empty": b"",
    "null": b"null",
    "a list": b'["%s"]' % UUID.encode(),
    "a string": b'"%s"' % UUID.encode(),
    "no uuid": b"{}",
    "null uuid": b'{"uuid": null}',
    "a number": b'{"uuid": 7}',
    "empty uuid": b'{"uuid": ""}',
    "a placeholder": b'{"uuid": "abc123"}',
    "without hyphens": b'{"uuid": "%s"}' % UUID.replace("-", "").encode(),
    "in braces": b'{"uuid": "{%s}"}' % UUID.encode(),
    "urn": b'{"uuid": "urn:uuid:%s"}' % UUID.encode(),
    "blank behind": b'{"uuid": "%s "}' % UUID.encode(),
    "newline behind": b'{"uuid": "%s\\n"}' % UUID.encode(),
    "a path": b'{"uuid": "../../../../../../../../../etc/passwd"}',
    "no hex digit": b'{"uuid": "%s"}' % UUID.replace("f", "g").encode(),
    "digits that are not ASCII": f'{{"uuid": "{UUID.replace("7", chr(0x0667))}"}}'.encode(),
    "cut": CREATED[:-1],
    "two documents": CREATED + CREATED,
    "not UTF-8": b'{"uuid": "\xff"}',
    "endless digits": b'{"uuid": ' + b"9" * 10_000 + b"}",
    "too deep": b"[" * 60_000,
}


@pytest.mark.parametrize("body", NO_PROOF.values(), ids=list(NO_PROOF))
def test_what_is_no_proof(body: bytes) -> None:
    assert uuid_in(answer(200, body)) is None
    assert isinstance(judge_put(answer(200, body), NOW, 1), InDoubt)


@pytest.mark.parametrize("body", [CREATED, b"\xef\xbb\xbf" + CREATED, b" \n" + CREATED], ids=["plain", "BOM", "blanks"])
def test_what_is_proof(body: bytes) -> None:
    assert uuid_in(answer(200, body)) == UUID


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"", ""),
        (b" no \n", "no"),
        (b"x" * 2000, "x" * 2000),
        (b"x" * 2001, "x" * 2000 + "…"),
        ("é".encode() * 2000, "é" * 2000),
        (b"\xff", "\ufffd"),
    ],
    ids=["none", "blanks around", "as long as may be", "longer", "counted in characters", "not UTF-8"],
)
def test_the_words_of_the_server_are_shortened(body: bytes, expected: str) -> None:
    assert words_of(answer(400, body)) == expected


def test_neither_reply_nor_verdict_shows_what_the_server_wrote() -> None:
    """The server may quote the score: its words belong in the sidecar, and nowhere else."""
    for _, reply, _ in PUT:
        shown = repr(reply) + repr(judge_put(reply, NOW, 5)) + repr(judge_other(reply, NOW))
        assert not any(said in shown for said in ("survey", "Sign in", "no such score"))
