"""Requests and answers as values: everything of the sandbox but ``server.py`` is free of sockets."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from canarysync.model import Problem


class Endpoint(StrEnum):
    """The five endpoints of API.md, by the names that faults and counters use."""

    PUT = "put"
    SCORES = "scores"
    SCORE = "score"
    TOKEN = "token"
    REFRESH = "refresh"


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read to its end. ``path`` is raw, without a query; ``headers`` are keyed in lower case."""

    method: str
    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def is_json(self) -> bool:
        """Whether the Content-Type says JSON; parameters do not matter (RFC 9110 §8.3.1)."""
        media_type = self.headers.get("content-type", "").partition(";")[0]
        return media_type.strip().lower() == "application/json"


class Delivery(StrEnum):
    """How much of an answer reaches the client."""

    WHOLE = "whole"
    CUT = "cut"  # the head and half of the body, then the connection closes
    NONE = "none"  # the connection closes (FIN)
    RESET = "reset"  # the connection is reset (RST)


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer. ``headers`` come on top of Date, Content-Type and Content-Length."""

    status: int
    body: bytes = field(repr=False)
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()
    delivery: Delivery = Delivery.WHOLE


class Refusal(Exception):
    """The request is answered with an error: a 4xx status, words, and the problems of its body."""

    def __init__(self, status: int, message: str, problems: Sequence[Problem] = ()) -> None:
        super().__init__(message)
        self.answer = error_answer(status, message, problems)


def json_answer(value: object, status: int = 200) -> Answer:
    """``value`` (anything that ``json`` can write) as an answer."""
    return Answer(status, json.dumps(value).encode())


def error_answer(status: int, message: str, problems: Sequence[Problem] = ()) -> Answer:
    """``{"error": {...}}``; the API does not document its error bodies, so this shape is our own."""
    error = {"status": status, "message": message, "problems": [_told(problem) for problem in problems]}
    # RFC 9110 §11.6.1: a 401 names the scheme that is asked for.
    headers = (("WWW-Authenticate", "Bearer"),) if status == 401 else ()
    return Answer(status, json.dumps({"error": error}).encode(), headers=headers)


def _told(problem: Problem) -> dict[str, str]:
    told = {"path": problem.path, "message": problem.message}
    return told | {key: text for key in ("expected", "hint") if (text := getattr(problem, key))}
