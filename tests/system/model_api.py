"""A model of the API, in memory: it answers as upload.py would hand it on, remembers all, and fails as it is told."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from uuid import UUID

from canarysync.answers import Answer, InDoubt, NoAnswer, Reply, judge_put
from canarysync.calls import NoToken
from canarysync.identity import identify
from canarysync.model import Document, Identity, Moment, Score, Syntax, Token
from canarysync.parse import parse
from canarysync.passes import Pass, ask
from canarysync.sandbox.present import normalised
from canarysync.sandbox.store import StoredScore

T0 = datetime(2026, 6, 1, tzinfo=UTC)
MOST_LATE_S = 55.0
"""For so long a stored score may stay out of get-scores."""

WAIT_S = MOST_LATE_S + 5
"""So far apart are two looks that make an absence believed."""

JSON, HTML = "application/json", "text/html; charset=utf-8"


@dataclass
class Clock:
    """``elapsed_s`` is what really passed, in seconds; by ``ahead_s`` the wall clock has been set forward meanwhile."""

    elapsed_s: float = 0.0
    ahead_s: float = 0.0

    def now(self) -> datetime:
        """The wall clock's aware UTC time; no two readings are the same, so that entries have an order."""
        self.elapsed_s += 0.001
        return T0 + timedelta(seconds=self.elapsed_s + self.ahead_s)

    def moment(self) -> Moment:
        return Moment(self.now(), "boot", self.elapsed_s)


@dataclass(frozen=True)
class Fault:
    """What comes of a request. Whether the score is ``taken`` all the same, and ``late_s`` later in get-scores only."""

    reply: Reply
    taken: bool = False
    late_s: float = 0.0


NO_ANSWER = NoAnswer(sent=True, reason="no answer (ReadTimeoutError)")
NOBODY_HOME = NoAnswer(sent=False, reason="no connection")
PORTAL = Answer(200, HTML, b"<html>Please log in</html>")

FAULTS: dict[str, Fault] = {
    "lost": Fault(NO_ANSWER),
    "down": Fault(NOBODY_HOME),
    "portal": Fault(PORTAL),
    "redirected": Fault(Answer(302)),
    "400": Fault(Answer(400, JSON, b'{"error": "no"}')),
    "401": Fault(Answer(401, JSON)),
    "403": Fault(Answer(403, JSON)),
    "404": Fault(Answer(404, JSON)),
    "404 in HTML": Fault(Answer(404, HTML, b"<html>")),
    "408": Fault(Answer(408)),
    "429": Fault(Answer(429)),
    "429, later": Fault(Answer(429, retry_after="30")),
    "500": Fault(Answer(500, HTML, b"<html>")),
    "501": Fault(Answer(501)),
    "503, later": Fault(Answer(503, retry_after="90")),
}
"""May come of any request."""

PUT_FAULTS: dict[str, Fault] = FAULTS | {
    "taken, no answer": Fault(NO_ANSWER, taken=True),
    "taken, no answer, shown late": Fault(NO_ANSWER, taken=True, late_s=MOST_LATE_S),
    "taken, 502": Fault(Answer(502, HTML, b"<html>"), taken=True),
    "taken, no uuid": Fault(Answer(200, JSON, b"{}"), taken=True),
    "taken, cut": Fault(Answer(200, JSON, b'{"uuid": "', complete=False), taken=True),
}
LISTING_FAULTS: dict[str, Fault] = FAULTS | {
    "cut": Fault(Answer(200, JSON, b'{"scores": [', complete=False)),
    "garbage": Fault(Answer(200, JSON, b'{"scores": 7}')),
}
UNANSWERABLE = [LISTING_FAULTS[name] for name in ("400", "403", "404", "501")]
"""Such an answer says that the API will not say."""


@dataclass(frozen=True)
class Stored:
    """A score at the API; get-scores shows it from ``visible_at_s`` (of ``Clock.elapsed_s``) on.

    ``route`` is whose pass sent it; None when another system wrote it.
    """

    score: StoredScore
    route: str | None
    visible_at_s: float

    @property
    def identity(self) -> Identity:
        """That of the score as get-scores shows it."""
        return identity_of(self.score.assessment_id, normalised(self.score))


@dataclass
class ModelApi:
    """A ``ScoreApi``. ``step`` is called before a request has any effect, and before its answer is given.

    ``conflicts``: a score that is there already is answered with 409. ``put_fault`` and ``listing_fault`` befall all
    requests until ``heal``. ``route`` is the one whose pass is under way. ``blind``: it has refused to list scores.
    ``looks``: when it listed all that it shows; ``doubts``: when a score was last sent with no answer, by fingerprint;
    ``unseen``: a score was sent again before it was looked for twice, far enough apart. These are true times.
    """

    clock: Clock
    step: Callable[[], None]
    conflicts: bool = False
    put_fault: Fault | None = None
    listing_fault: Fault | None = None
    stored: list[Stored] = field(default_factory=list)
    route: str | None = None
    blind: bool = False
    token: int = 0
    looks: list[float] = field(default_factory=list)
    doubts: dict[str, float] = field(default_factory=dict)
    unseen: bool = False
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))

    def put(self, score: Score, token: str) -> Pass[Reply]:
        """PUT put-score."""
        return (yield from ask(lambda: self._put(score, token)))

    def _put(self, score: Score, token: str) -> Reply:
        self._note_doubt(score.identity.fingerprint)
        self.step()
        fault = self._fault(self.put_fault, token)
        reply = self._take(score) if fault is None or fault.taken else fault.reply
        self.step()
        reply = fault.reply if fault else reply
        if not isinstance(judge_put(reply, T0, 0), InDoubt):
            del self.doubts[score.identity.fingerprint]
        return reply

    def _note_doubt(self, fingerprint: str) -> None:
        if fingerprint in self.doubts and not (self.blind and self.route == "resend"):
            since = [at_s for at_s in self.looks if at_s > self.doubts[fingerprint]]
            self.unseen |= not since or since[-1] - since[0] < WAIT_S
        self.doubts[fingerprint] = self.clock.elapsed_s

    def _take(self, score: Score) -> Answer:
        match_key = identity_of(score.assessment_id, score.body).match_key
        if self.conflicts and any(match_key == there.identity.match_key for there in self.stored):
            return Answer(409, JSON, b'{"error": "it is there"}')
        late_s = self.put_fault.late_s if self.put_fault else 0.0
        uuid = self._store(score.assessment_id, score.body, self.route, late_s)
        return Answer(200, JSON, json.dumps({"uuid": uuid}).encode())

    def write(self, assessment_id: str, body: bytes) -> None:
        """Another system writes a score."""
        self._store(assessment_id, body, None, 0.0)

    def _store(self, assessment_id: str, body: bytes, route: str | None, late_s: float) -> str:
        score = StoredScore(str(UUID(int=next(self._numbers))), assessment_id, body)
        self.stored.append(Stored(score, route, self.clock.elapsed_s + late_s))
        return score.uuid

    def listing(self, assessment_id: str, token: str) -> Reply:
        """GET get-scores: times to the millisecond, numbers as doubles."""
        self.step()
        fault = self._fault(self.listing_fault, token)
        visible = [s.score for s in self.stored if s.visible_at_s <= self.clock.elapsed_s]
        shown = [normalised(s) for s in visible if s.assessment_id.lower() == assessment_id.lower()]
        self.blind |= fault in UNANSWERABLE
        if fault is None:
            self.looks.append(self.clock.elapsed_s)
        self.step()
        return fault.reply if fault else Answer(200, JSON, b'{"scores": [' + b", ".join(shown) + b"]}")

    def _fault(self, fault: Fault | None, token: str) -> Fault | None:
        return fault if token == str(self.token) else FAULTS["401"]

    def fail(self, put: str | None, listing: str | None) -> None:
        """From now on requests end like this (None: well)."""
        self.put_fault = PUT_FAULTS[put] if put else None
        self.listing_fault = LISTING_FAULTS[listing] if listing else None

    def heal(self) -> None:
        """From now on everything goes well."""
        self.fail(None, None)

    def ours(self) -> Mapping[str, list[Stored]]:
        """All that we stored, by match key."""
        found: defaultdict[str, list[Stored]] = defaultdict(list)
        for there in self.stored:
            if there.route is not None:
                found[there.identity.match_key].append(there)
        return found


@dataclass
class ModelTokens:
    """A ``Tokens``: the API's latest token, unless there is ``trouble`` in getting one."""

    api: ModelApi
    held: int = 0
    trouble: NoToken | None = None

    def current(self) -> Token | NoToken:
        return self.trouble or Token(str(self.held))

    def good(self) -> Token | None:
        return None if self.trouble else Token(str(self.held))

    def renewed(self, stale: Token) -> Token | NoToken:
        self.held = self.api.token
        return self.current()


def identity_of(assessment_id: str, body: bytes) -> Identity:
    """The identity of a score in JSON, as sent or as get-scores shows it."""
    document = parse(body, Syntax.JSON)
    assert isinstance(document, Document)
    assert isinstance(document.value, dict)
    return identify(assessment_id, document.value)
