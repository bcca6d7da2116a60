"""The calls of API.md, as requests."""

from __future__ import annotations

from collections.abc import Mapping

from canarysync.answers import Reply
from canarysync.exchange import Exchange, Request
from canarysync.model import Score
from canarysync.passes import Pass, Send

_PUT_ANSWER_MOST_BYTES = 64 << 10
_LISTING_MOST_BYTES = 8 << 20


class Api:
    """The calls that concern scores."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def put(self, score: Score, token: str) -> Pass[Reply]:
        """PUT put-score, once."""
        request = Request(
            "PUT",
            f"/v2/org/assessment/{score.assessment_id}/put-score",
            {"Authorization": f"Bearer {token}", "Content-Type": "application/json"},
            score.body,
            _PUT_ANSWER_MOST_BYTES,
        )
        reply: Reply = yield Send(self._exchange.begin, request)
        return reply

    def listing(self, assessment_id: str, token: str) -> Reply:
        """GET get-scores: everything that the API has for an assessment."""
        path = f"/v2/org/assessment/{assessment_id}/get-scores"
        return self._exchange.request(Request("GET", path, _bearing(token), most_bytes=_LISTING_MOST_BYTES))

    def score(self, uuid: str, token: str) -> Reply:
        """GET score: one score."""
        return self._exchange.request(Request("GET", f"/v2/org/score/{uuid}", _bearing(token)))

    def post(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """One POST, as auth.py needs it."""
        return self._exchange.request(Request("POST", path, headers, body))


def _bearing(token: str) -> Mapping[str, str]:
    return {"Authorization": f"Bearer {token}"}
