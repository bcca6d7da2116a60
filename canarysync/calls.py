"""Requests as the pipeline wants them: with a token in hand that is renewed once, and judged."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Protocol

from canarysync.answers import (
    Answer,
    Deferred,
    HoldApi,
    InDoubt,
    Refused,
    Reply,
    Unauthorized,
    Unreachable,
    Uploaded,
    judge_other,
    judge_put,
)
from canarysync.model import Score, Token
from canarysync.passes import Pass, ask
from canarysync.readback import RemoteScore, score_in, scores_in

NoToken = Deferred | HoldApi | Unreachable
"""Why there is no token now; none of these is any file's fault."""

PutVerdict = Uploaded | Refused | Deferred | Unreachable | HoldApi | InDoubt


_NOT_EVEN_FRESH = HoldApi("HTTP 401: a fresh token is not accepted")


class Tokens(Protocol):
    """Where access tokens come from (auth.py). Safe to call from many threads."""

    def current(self) -> Token | NoToken:
        """A token that is good as far as we know."""

    def good(self) -> Token | None:
        """A token that is good as far as we know, if the API need not be asked for it."""

    def in_hand(self) -> Token | None:
        """The token that was last got, if there is one; nobody is asked."""

    def renewed(self, stale: Token) -> Token | NoToken:
        """Another token than ``stale``, which the API did not accept."""


class ScoreApi(Protocol):
    """One HTTP attempt each (score_api.py)."""

    def put(self, score: Score, token: str) -> Pass[Reply]:
        """PUT put-score."""

    def listing(self, assessment_id: str, token: str) -> Reply:
        """GET get-scores."""

    def score(self, uuid: str, token: str) -> Reply:
        """GET score."""


class Absent:
    """The API has no score of that uuid."""


class Unanswerable:
    """The API cannot say what it holds (403, 404, 405, 501 …)."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """What came was cut short, is longer than we read, goes on elsewhere, or is no list of scores."""


class Calls:
    """The API with its tokens."""

    def __init__(self, api: ScoreApi, tokens: Tokens, now: Callable[[], datetime]) -> None:
        self._api = api
        self._tokens = tokens
        self._now = now

    def token(self) -> Token | NoToken:
        """A token, to be had before an intent is written: without one nothing would be sent."""
        return self._tokens.current()

    def good_token(self) -> Token | None:
        """The same, at once; None where it has to be asked for."""
        return self._tokens.good()

    def token_in_hand(self) -> Token | None:
        """The token that was last got, without asking for one."""
        return self._tokens.in_hand()

    def put(self, score: Score, token: Token, forbidden: int) -> Pass[PutVerdict]:
        """PUT a score; a 401 is answered with one renewed token. ``forbidden`` earlier attempts got a 403."""
        verdict = judge_put((yield from self._api.put(score, token.secret)), self._now(), forbidden)
        if not isinstance(verdict, Unauthorized):
            return verdict
        fresh = yield from ask(partial(self._tokens.renewed, token))
        if not isinstance(fresh, Token):
            return _trouble_of_all(fresh)
        verdict = judge_put((yield from self._api.put(score, fresh.secret)), self._now(), forbidden)
        return _NOT_EVEN_FRESH if isinstance(verdict, Unauthorized) else verdict

    def listing(self, assessment_id: str) -> list[RemoteScore] | Unanswerable | Unreadable | NoToken:
        """What the API holds of an assessment."""

        verdict = self._asked(lambda token: self._api.listing(assessment_id, token.secret))
        if isinstance(verdict, Refused):
            return Unanswerable()
        if not isinstance(verdict, Answer):
            return verdict
        found = scores_in(verdict.body, assessment_id) if verdict.complete else None
        return Unreadable() if found is None else found

    def score(self, uuid: str, assessment_id: str) -> RemoteScore | Absent | Unanswerable | Unreadable | NoToken:
        """What the API holds under ``uuid``, which should be a score of that assessment."""
        verdict = self._asked(lambda token: self._api.score(uuid, token.secret))
        if isinstance(verdict, Refused):
            return Absent() if verdict.status in (404, 410) else Unanswerable()
        if not isinstance(verdict, Answer):
            return verdict
        found = score_in(verdict.body, assessment_id) if verdict.complete else None
        return Unreadable() if found is None else found

    def _asked(self, ask: Callable[[Token], Reply]) -> Answer | Refused | NoToken:
        """A request that changes nothing."""
        token = self.token()
        if not isinstance(token, Token):
            return _trouble_of_all(token)
        verdict = judge_other(ask(token), self._now())
        if not isinstance(verdict, Unauthorized):
            return verdict
        fresh = self._tokens.renewed(token)
        if not isinstance(fresh, Token):
            return _trouble_of_all(fresh)
        verdict = judge_other(ask(fresh), self._now())
        return _NOT_EVEN_FRESH if isinstance(verdict, Unauthorized) else verdict


def _trouble_of_all(no_token: NoToken) -> NoToken:
    """That there is no token is no fault of the request that was to be made: it concerns every other one too."""
    return replace(no_token, everyone=True) if isinstance(no_token, Deferred) else no_token
