"""The sandbox's own endpoints, for tests in other processes, and the counters that they show.

They ask for no credentials, because nobody outside of this machine can reach them.
"""

from __future__ import annotations

import json
import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from canarysync.sandbox.faults import Faults
from canarysync.sandbox.routes import Route
from canarysync.sandbox.store import Store
from canarysync.sandbox.tokens import Tokens
from canarysync.sandbox.wire import Answer, Delivery, Endpoint, Refusal, Request, json_answer


class Tally:
    """Counts what the API was asked. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[tuple[str, int]] = Counter()
        self._in_flight = 0
        self._max_in_flight = 0
        self._connections = 0

    @contextmanager
    def in_flight(self) -> Iterator[None]:
        """Around the work on one request."""
        with self._lock:
            self._in_flight += 1
            self._max_in_flight = max(self._max_in_flight, self._in_flight)
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1

    def connected(self) -> None:
        """One more connection was accepted."""
        with self._lock:
            self._connections += 1

    def answered(self, endpoint: Endpoint, answer: Answer) -> None:
        """One more request has its answer; status 0 is one that the client does not get, or not whole."""
        with self._lock:
            self._counts[endpoint, answer.status if answer.delivery is Delivery.WHOLE else 0] += 1

    @property
    def counts(self) -> Counter[tuple[str, int]]:
        """Requests by endpoint and status."""
        with self._lock:
            return self._counts.copy()

    def as_json(self) -> dict[str, object]:
        """All counters: ``{"counts": {"put": {"200": 7}}, "maxInFlight": 2, "connections": 1}``."""
        with self._lock:
            counts: dict[str, dict[str, int]] = {}
            for (endpoint, status), count in self._counts.items():
                counts.setdefault(endpoint, {})[str(status)] = count
            return {"counts": counts, "maxInFlight": self._max_in_flight, "connections": self._connections}


class Control:
    """Serves ``/sandbox/…``."""

    def __init__(self, store: Store, tokens: Tokens, faults: Faults, tally: Tally) -> None:
        self._store = store
        self._tokens = tokens
        self._faults = faults
        self._tally = tally

    def routes(self) -> tuple[Route, ...]:
        """The sandbox's own endpoints; none has a variable in its path."""
        return (
            Route(None, "POST", re.compile("/sandbox/faults"), self._set_faults),
            Route(None, "POST", re.compile("/sandbox/revoke"), self._revoke),
            Route(None, "GET", re.compile("/sandbox/scores"), self._scores),
            Route(None, "GET", re.compile("/sandbox/requests"), self._requests),
        )

    def _set_faults(self, request: Request, _: str) -> Answer:
        """Replaces all faults by those in the body, a JSON list of texts as ``Fault.parse`` reads them."""
        try:
            texts = json.loads(request.body)
            if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
                raise ValueError("expected a JSON list of faults in their text form")
            self._faults.replace(*texts)
        except ValueError as error:
            raise Refusal(400, str(error)) from error
        return json_answer({"faults": len(texts)})

    def _revoke(self, _request: Request, _: str) -> Answer:
        self._tokens.revoke()
        return json_answer({})

    def _scores(self, _request: Request, _: str) -> Answer:
        scores = self._store.all()
        return json_answer(
            {
                "scores": [
                    {"uuid": score.uuid, "assessmentId": score.assessment_id, "body": score.body.decode()}
                    for score in scores
                ]
            }
        )

    def _requests(self, _request: Request, _: str) -> Answer:
        return json_answer(self._tally.as_json())
