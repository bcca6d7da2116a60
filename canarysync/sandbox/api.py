"""The five endpoints of API.md. Where the reference is silent, as strict as a client may fear."""

from __future__ import annotations

import re

from canarysync.model import JsonValue, Places, Rejection, Syntax
from canarysync.parse import parse
from canarysync.sandbox.present import as_written, normalised
from canarysync.sandbox.routes import Route
from canarysync.sandbox.store import Store
from canarysync.sandbox.tokens import Tokens
from canarysync.sandbox.wire import Answer, Endpoint, Refusal, Request, json_answer
from canarysync.schema import SchemaName, check

_NOWHERE = Places({}, {})


UNKNOWN_ASSESSMENT = "00000000-0000-0000-0000-000000000000"
"""Every assessment is known, so that any file can be tried; only this one is not, so that a refusal can be too."""


class Api:
    """Serves the API's endpoints from a store of scores. ``normalise``: re-formatted (present.py)."""

    def __init__(self, store: Store, tokens: Tokens, normalise: bool = False) -> None:
        self._store = store
        self._tokens = tokens
        self._present = normalised if normalise else as_written

    def routes(self) -> tuple[Route, ...]:
        """The endpoints, the most used ones first."""
        assessment = "/v2/org/assessment/([^/]+)"
        return (
            Route(Endpoint.PUT, "PUT", re.compile(f"{assessment}/put-score"), self._put_score),
            Route(Endpoint.SCORES, "GET", re.compile(f"{assessment}/get-scores"), self._get_scores),
            Route(Endpoint.SCORE, "GET", re.compile("/v2/org/score/([^/]+)"), self._get_score),
            Route(Endpoint.TOKEN, "POST", re.compile("/v3/auth/tokens/get"), self._get_tokens),
            Route(Endpoint.REFRESH, "POST", re.compile("/v3/auth/tokens/refresh"), self._refresh_tokens),
        )

    def _put_score(self, request: Request, assessment_id: str) -> Answer:
        self._tokens.authorize(request.headers)
        if assessment_id == UNKNOWN_ASSESSMENT:
            raise Refusal(404, "there is no such assessment")
        _check_score(assessment_id, _json_object(request))
        return json_answer({"uuid": self._store.add(assessment_id, request.body).uuid})

    def _get_scores(self, request: Request, assessment_id: str) -> Answer:
        self._tokens.authorize(request.headers)
        scores = map(self._present, self._store.of_assessment(assessment_id))
        return Answer(200, b'{"scores": [' + b", ".join(scores) + b"]}")

    def _get_score(self, request: Request, uuid: str) -> Answer:
        self._tokens.authorize(request.headers)
        score = self._store.get(uuid)
        if score is None:
            raise Refusal(404, "there is no score with this uuid")
        return Answer(200, self._present(score))

    def _get_tokens(self, request: Request, _: str) -> Answer:
        _json_object(request)
        pair = self._tokens.from_api_key(request.headers.get("csc-api-key", ""))
        return json_answer({**pair, "identityIds": {}})

    def _refresh_tokens(self, request: Request, _: str) -> Answer:
        return json_answer(self._tokens.from_refresh_token(request.headers.get("csc-refresh-token", "")))


def _json_object(request: Request) -> dict[str, JsonValue]:
    """The request's body, which has to be one JSON object and to say so."""
    if not request.is_json:
        raise Refusal(415, "send application/json, and say so in the Content-Type")
    document = parse(request.body, Syntax.JSON)
    if isinstance(document, Rejection):
        raise Refusal(400, document.message, document.problems)
    if not isinstance(document.value, dict):
        raise Refusal(400, "the body is not a JSON object")
    return document.value


def _check_score(assessment_id: str, body: dict[str, JsonValue]) -> None:
    """Holds a score to the contract that score files are held to."""
    if "assessmentId" in body:
        raise Refusal(400, "assessmentId belongs in the path, not in the body")
    # Lines and columns are for files: the problems of a request name keys.
    problems = check({"assessmentId": assessment_id, **body}, SchemaName.SCORE, lambda: _NOWHERE)
    if problems:
        raise Refusal(400, "the score does not keep to the contract", problems)
