"""Requests with a token in hand: renewed once after a 401, and every answer judged (DESIGN §6, row 401)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from canarysync.answers import (
    Answer,
    Deferred,
    HoldApi,
    InDoubt,
    NoAnswer,
    Refused,
    Reply,
    Unreachable,
    Uploaded,
)
from canarysync.calls import Calls, NoToken, PutVerdict, Unanswerable, Unreadable
from canarysync.encode import encode
from canarysync.identity import identify
from canarysync.model import JsonValue, Number, Score, Token
from canarysync.passes import Pass
from canarysync.readback import RemoteScore
from tests.support import finished

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
UUID = "7f0c3b1a-9c1e-4c55-8a39-1f2e3d4c5b6a"
ASSESSMENT = "0192530c-4ce5-7aa1-be9b-bc52dec8a184"
BODY: dict[str, JsonValue] = {"scoreId": "PHQ9", "scoreType": "sum", "scoreData": {"value": Number("12")}}
IDENTITY = identify(ASSESSMENT, BODY)
SCORE = Score(ASSESSMENT, "PHQ9", IDENTITY, encode(BODY))

OLD, NEW = Token("old"), Token("new")
CREATED = Answer(200, "application/json", b'{"uuid": "%s"}' % UUID.encode())
LISTED = Answer(200, "application/json", encode({"scores": [{"uuid": UUID, **BODY}]}))
THERE = [RemoteScore(UUID, IDENTITY.match_key, IDENTITY.near_key[:32])]  # its body names no time
NOT_LET_IN = Answer(401)
RESET = NoAnswer(sent=True, reason="no answer (ReadTimeoutError)")
DOWN = NoAnswer(sent=False, reason="no connection")

NO_TOKENS: list[NoToken] = [
    Unreachable("no connection"),
    HoldApi("the API does not accept the API key (HTTP 401)"),
    Deferred("HTTP 500"),
    Deferred("HTTP 429", 7.0, everyone=True),
]


class FakeApi:
    """Gives ``replies`` in turn, and keeps what it was asked, with which token."""

    def __init__(self, *replies: Reply) -> None:
        self._replies = list(replies)
        self.asked: list[tuple[object, str]] = []

    def put(self, score: Score, token: str) -> Pass[Reply]:
        self.asked.append((score, token))
        return self._replies.pop(0)
        yield

    def listing(self, assessment_id: str, token: str) -> Reply:
        self.asked.append((assessment_id, token))
        return self._replies.pop(0)


class FakeTokens:
    """Gives ``current``; ``renewed`` once for the token that it gave before."""

    def __init__(self, current: Token | NoToken = OLD, renewed: Token | NoToken = NEW) -> None:
        self._current = current
        self._renewed = renewed
        self.stale: list[Token] = []

    def current(self) -> Token | NoToken:
        return self._current

    def renewed(self, stale: Token) -> Token | NoToken:
        self.stale.append(stale)
        return self._renewed


def calls(api: FakeApi, tokens: FakeTokens) -> Calls:
    return Calls(api, tokens, lambda: NOW)


PUTS: list[tuple[str, Sequence[Reply], Sequence[str], PutVerdict]] = [
    ("taken", [CREATED], ["old"], Uploaded(UUID)),
    ("401, then taken", [NOT_LET_IN, CREATED], ["old", "new"], Uploaded(UUID)),
    ("401 twice", [NOT_LET_IN, NOT_LET_IN], ["old", "new"], HoldApi("HTTP 401: a fresh token is not accepted")),
    ("401, then no answer: in doubt", [NOT_LET_IN, RESET], ["old", "new"], InDoubt(RESET.reason)),
    ("401, then refused", [NOT_LET_IN, Answer(422)], ["old", "new"], Refused(422, "")),
    ("401, then no connection", [NOT_LET_IN, DOWN], ["old", "new"], Unreachable(DOWN.reason)),
    ("401, then 403", [NOT_LET_IN, Answer(403)], ["old", "new"], Deferred("HTTP 403", forbidden=True)),
    ("no answer: not sent again", [RESET], ["old"], InDoubt(RESET.reason)),
    ("500: not sent again", [Answer(500)], ["old"], InDoubt("HTTP 500")),
    ("no connection", [DOWN], ["old"], Unreachable(DOWN.reason)),
    ("refused", [Answer(409)], ["old"], Refused(409, "")),
    ("429", [Answer(429, retry_after="7")], ["old"], Deferred("HTTP 429", 7.0, everyone=True)),
]


@pytest.mark.parametrize(("case", "replies", "with_tokens", "expected"), PUTS, ids=[row[0] for row in PUTS])
def test_a_put(case: str, replies: Sequence[Reply], with_tokens: Sequence[str], expected: PutVerdict) -> None:
    api, tokens = FakeApi(*replies), FakeTokens()
    assert finished(calls(api, tokens).put(SCORE, OLD, forbidden=0)) == expected
    assert api.asked == [(SCORE, token) for token in with_tokens]
    assert tokens.stale == [OLD] * (len(with_tokens) - 1)


@pytest.mark.parametrize("trouble", NO_TOKENS, ids=repr)
def test_a_put_after_which_no_token_can_be_had_was_not_taken(trouble: NoToken) -> None:
    """No file's fault: whatever the trouble is, it holds for everyone."""
    api = FakeApi(NOT_LET_IN)
    verdict = finished(calls(api, FakeTokens(renewed=trouble)).put(SCORE, OLD, forbidden=0))
    assert type(verdict) is type(trouble)
    assert len(api.asked) == 1
    if isinstance(trouble, Deferred):
        assert verdict == Deferred(trouble.reason, trouble.retry_after_s, everyone=True)
    else:
        assert verdict == trouble


@pytest.mark.parametrize(("forbidden", "kind"), [(3, Deferred), (4, Refused)])
def test_the_earlier_403s_reach_the_judge(forbidden: int, kind: type) -> None:
    assert isinstance(finished(calls(FakeApi(Answer(403)), FakeTokens()).put(SCORE, OLD, forbidden)), kind)


@pytest.mark.parametrize("token", [OLD, *NO_TOKENS], ids=repr)
def test_the_token_is_the_source_s(token: Token | NoToken) -> None:
    assert calls(FakeApi(), FakeTokens(current=token)).token() is token


LISTINGS: list[tuple[str, Sequence[Reply], object]] = [
    ("there", [LISTED], THERE),
    ("none", [Answer(200, "application/json", b'{"scores": []}')], []),
    ("401, then there", [NOT_LET_IN, LISTED], THERE),
    ("401 twice", [NOT_LET_IN, NOT_LET_IN], HoldApi("HTTP 401: a fresh token is not accepted")),
    ("no answer is no absence", [RESET], Deferred(RESET.reason)),
    ("no connection", [DOWN], Unreachable(DOWN.reason)),
    ("500", [Answer(500)], Deferred("HTTP 500")),
    ("302", [Answer(302)], HoldApi("HTTP 302 that is not the API's (a proxy, a portal, a wrong url?)")),
    ("cut short is no absence", [Answer(200, body=LISTED.body, complete=False)], Unreadable()),
    ("a first page is no absence", [Answer(200, body=b'{"scores": [], "next": "/?page=2"}')], Unreadable()),
    ("204 is no absence", [Answer(204)], Unreadable()),
    ("HTML is no absence", [Answer(200, "text/html", b"<p>")], Unreadable()),
    *[(f"{status}: the API cannot say", [Answer(status)], Unanswerable) for status in (403, 404, 405, 501)],
]


@pytest.mark.parametrize(("case", "replies", "expected"), LISTINGS, ids=[row[0] for row in LISTINGS])
def test_a_listing(case: str, replies: Sequence[Reply], expected: object) -> None:
    api = FakeApi(*replies)
    found = calls(api, FakeTokens()).listing(ASSESSMENT)
    assert isinstance(found, expected) if isinstance(expected, type) else found == expected
    assert api.asked == [(ASSESSMENT, token) for token in ["old", "new"][: len(replies)]]


@pytest.mark.parametrize("trouble", NO_TOKENS, ids=repr)
def test_a_listing_without_a_token_asks_nothing(trouble: NoToken) -> None:
    """Nor is it a fault of that one score: a Deferred becomes everybody's."""
    api = FakeApi()
    everyones = replace(trouble, everyone=True) if isinstance(trouble, Deferred) else trouble
    assert calls(api, FakeTokens(current=trouble)).listing(ASSESSMENT) == everyones
    assert api.asked == []


def test_no_token_is_shown() -> None:
    assert "old" not in f"{OLD!r} {OLD!s} {calls(FakeApi(), FakeTokens())!r}"
