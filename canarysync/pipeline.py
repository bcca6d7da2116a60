"""One file, one pass: from the drop folder to a receipt. Start reading here.

    read → validate → intend → PUT → uploaded → file away          (the happy way through ``Pipeline.process``)

Every pass does what can be done now and says how far it came, as a ``Step``; whoever calls (daemon.py) comes back
when the step says so. Nothing here loops, sleeps, or knows SQL or HTTP. Two rules keep every promise:

* the ledger has the *intent* on disk before a request leaves, and the *outcome* before the file is moved;
* an entry that may have been sent (in doubt) is looked for at the API before anything is sent again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from canarysync import filing
from canarysync.answers import Deferred, HoldApi, InDoubt, Refused, Unreachable, Uploaded
from canarysync.archive import Archive, Details, Unfiled
from canarysync.calls import Calls, NoToken, Unanswerable
from canarysync.candidates import syntax_of
from canarysync.config import InDoubt as WhenInDoubt
from canarysync.config import Route
from canarysync.errors import UuidOwned
from canarysync.filing import Content, NotRead
from canarysync.ledger import DECIDED, DONE, Draft, Entry, Ledger, Taken
from canarysync.model import Code, Kind, Proof, Rejection, Score, Signature, State, Syntax, Token
from canarysync.parse import parse
from canarysync.readback import Absent, Adopt, LookAgain, Near, judge_look, possible_duplicate
from canarysync.retry import GiveUp, backoff_s, next_attempt, wait_s
from canarysync.sidecar import message_for, outcome_of
from canarysync.step import ApiDown, ApiUp, Outcome, Step
from canarysync.validate import validate

TWIN_WAIT_S = 5.0
"""How soon a file is looked at again whose score another file is sending, if nobody says that it is through."""

OBSTACLE_WAIT_S = 30.0
"""How soon a file is looked at again that may not be read, or could not be moved."""

HELD_NEAR = "held: a like score with other data is there"
HELD_UNANSWERABLE = "held: the API cannot say whether it is there"
_HELD = frozenset({HELD_NEAR, HELD_UNANSWERABLE})


_FOLDER_GONE = Step(Outcome.DEFERRED, "the drop folder is gone", OBSTACLE_WAIT_S)


@dataclass(frozen=True, slots=True)
class Tools:
    """What a pipeline works with. ``now`` gives aware UTC times, ``chance`` numbers uniform in [0, 1)."""

    ledger: Ledger
    calls: Calls
    now: Callable[[], datetime]
    chance: Callable[[], float]
    read_back_wait_s: float
    endpoint: str


@dataclass(frozen=True, slots=True)
class _Valid:
    """A valid score and the bytes that it was read from."""

    score: Score
    content: Content


class Pipeline:
    """The way of one route's files. Safe to call from many threads, with one pass at a time for each name.

    ``present`` says whether the drop folder is there and ours: while it is not (an unmounted share), a missing
    file means nothing.
    """

    def __init__(self, route: Route, route_id: str, present: Callable[[], bool], tools: Tools) -> None:
        self._route = route
        self._route_id = route_id
        self._present = present
        self._ledger = tools.ledger
        self._calls = tools.calls
        self._now = tools.now
        self._chance = tools.chance
        self._read_back_wait_s = tools.read_back_wait_s
        self._archive = Archive(route, tools.ledger, tools.now, tools.endpoint)

    # --- the two kinds of pass -----------------------------------------------------------------------

    def process(self, name: str, *, settled: bool, may_send: bool) -> Step:
        """One pass over ``drop/name``.

        ``settled``: it did not change for the quiet period; only then may it be rejected. ``may_send``: the
        API may be asked now; if not, everything up to that is done.
        """
        entry = self._ledger.open_entry(self._route_id, name)
        if entry is not None and entry.state in DECIDED:
            return self._finish(entry)
        if not settled and syntax_of(name) is Syntax.YAML:
            return Step(Outcome.UNSETTLED)
        found = filing.read(self._route.drop / name, self._route.max_size_bytes)
        if isinstance(found, NotRead) and _undecided(found):
            return self._not_read(entry, found)
        verdict = self._judge(name, found)
        if isinstance(verdict, Rejection):
            return self._reject(name, entry, found, verdict) if settled else Step(Outcome.UNSETTLED)
        if entry is None or _says_the_same(entry, verdict.score):
            return self._advance(name, entry, verdict, may_send=may_send)
        detached = self._part(entry)
        return replace(self._advance(name, None, verdict, may_send=may_send), detached=detached)

    def resume(self, entry_id: str, *, may_send: bool) -> Step:
        """One pass for a detached entry: its file is gone or changed, but its score may be at the API."""
        entry = self._ledger.entry(entry_id)
        if entry.state in DECIDED:
            return self._finish(entry)
        waiting = self._too_early(entry)
        if waiting is not None:
            return waiting
        return self._look(entry, None) if may_send else Step(Outcome.BLOCKED, entry=entry)

    # --- reading -------------------------------------------------------------------------------------

    def _judge(self, name: str, found: Content | NotRead) -> _Valid | Rejection:
        """Our own verdict on a file."""
        if isinstance(found, NotRead):
            code = Code.UNSAFE if found.kind is Kind.UNSAFE else Code.TOO_LARGE
            return Rejection(code, message_for(code, None))
        document = parse(found.data, syntax_of(name))
        score = document if isinstance(document, Rejection) else validate(document)
        return score if isinstance(score, Rejection) else _Valid(score, found)

    def _not_read(self, entry: Entry | None, found: NotRead) -> Step:
        """Nothing can be said of the file: it is being written, may not be read, or is gone."""
        if found.changing:
            return Step(Outcome.UNSETTLED)
        if found.kind is Kind.UNREADABLE:
            return Step(Outcome.DEFERRED, "cannot be read (rights, or an I/O error)", OBSTACLE_WAIT_S, entry=entry)
        if entry is None:
            return Step(Outcome.GONE)
        if not self._present():
            return _FOLDER_GONE
        detached = self._part(entry)
        if detached is not None:
            return Step(Outcome.GONE, detached=detached)
        return Step(Outcome.WITHDRAWN, "taken back before it was sent", entry=entry)

    def _part(self, entry: Entry) -> str | None:
        """The file no longer says what its entry does. What was certainly not taken is withdrawn; what may
        have been goes on without the file, as a detached entry, whose id is returned."""
        if entry.state is State.DEFERRED:
            self._ledger.withdraw(entry, self._now())
            return None
        return self._ledger.detach(entry).id

    def _reject(self, name: str, entry: Entry | None, found: Content | NotRead, rejection: Rejection) -> Step:
        """Our own no: recorded, then filed in failed/ with all its problems."""
        detached = self._part(entry) if entry is not None else None
        draft = self._draft(name, found, None)
        target = self._archive.failed_name(name)
        rejected = self._ledger.fail(draft, State.REJECTED, rejection.code, None, target, self._now())
        content = found if isinstance(found, Content) else None
        return replace(self._file_away(rejected, content, rejection), detached=detached)

    def _draft(self, name: str, found: Content | NotRead, score: Score | None) -> Draft:
        return Draft(
            route_id=self._route_id,
            name=name,
            sha256=found.sha256 if isinstance(found, Content) else None,
            signature=found.signature or Signature(0, 0, 0, 0),
            assessment_id=score.assessment_id if score else None,
            identity=score.identity if score else None,
        )

    # --- sending -------------------------------------------------------------------------------------

    def _advance(self, name: str, entry: Entry | None, valid: _Valid, *, may_send: bool) -> Step:
        """A valid score: do the next thing that its entry allows."""
        if entry is not None:
            if entry.sha256 != valid.content.sha256:
                entry = self._ledger.rebind(entry, valid.content.sha256, valid.content.signature)
            waiting = self._too_early(entry)
            if waiting is not None:
                return waiting
        obstacle = filing.obstacle(self._route.drop / name, (self._route.done, self._route.failed))
        if obstacle:
            return Step(Outcome.DEFERRED, f"not sent: {obstacle}", OBSTACLE_WAIT_S, entry=entry)
        if not may_send:
            return Step(Outcome.BLOCKED, entry=entry)
        if entry is not None and entry.state is not State.DEFERRED:
            return self._look(entry, valid)
        return self._send(name, entry, valid)

    def _too_early(self, entry: Entry) -> Step | None:
        """The recorded time of the next try has not come yet (after a restart, or in another run-once)."""
        if entry.retry_at is None:
            return None
        most_s = max(self._route.retry.most_s, self._read_back_wait_s)
        left_s = wait_s(entry.retry_at, self._now(), most_s)
        if left_s == 0:
            return None
        outcome = Outcome.DEFERRED if entry.state is State.DEFERRED else Outcome.IN_DOUBT
        return Step(outcome, entry.reason, left_s, held=entry.reason in _HELD, entry=entry)

    def _send(self, name: str, entry: Entry | None, valid: _Valid, *, resent: bool = False) -> Step:
        """Steps 0 to 2: the token, the file and the intent on disk, the request."""
        token = self._calls.token()
        if not isinstance(token, Token):
            return _api_trouble(token, entry)
        filing.sync(self._route.drop / name)
        if entry is not None:
            return self._put(self._ledger.intend_again(entry, self._now(), resent=resent), valid, token)
        claim = self._ledger.intend(self._draft(name, valid.content, valid.score), self._now())
        if isinstance(claim, Taken):
            return self._twin(name, claim.owner, valid)
        return self._put(claim.entry, valid, token)

    def _put(self, entry: Entry, valid: _Valid, token: Token) -> Step:
        """The request, and what its answer means for the entry."""
        verdict = self._calls.put(valid.score, token, entry.attempts)
        match verdict:
            case Uploaded(uuid):
                return self._uploaded(entry, uuid, Proof.RESPONSE, valid)
            case Refused():
                return self._refused(entry, verdict, valid)
            case InDoubt(reason):
                return self._doubt(entry, reason, self._backoff_s(entry))
            case Unreachable() | HoldApi():
                return self._not_taken(entry, verdict)
            case Deferred():
                return self._deferred(entry, verdict, valid)

    def _twin(self, name: str, owner: Entry, valid: _Valid) -> Step:
        """Another file says the same score: its outcome will be this file's outcome too."""
        if owner.state is not State.UPLOADED:
            return Step(Outcome.TWIN, "another file with this score is on its way", TWIN_WAIT_S, entry=owner)
        draft = self._draft(name, valid.content, valid.score)
        entry = self._ledger.duplicate(draft, owner, self._archive.done_name(name), self._now())
        return self._file_away(entry, valid.content, valid.score)

    # --- what came of it -----------------------------------------------------------------------------

    def _uploaded(self, entry: Entry, uuid: str, proof: Proof, valid: _Valid | None) -> Step:
        """Step 3, the proof on disk; then the move."""
        target = self._archive.done_name(entry.name)
        try:
            entry = self._ledger.upload(entry, uuid, proof, target, self._now())
        except UuidOwned:
            return self._doubt(entry, "the API named another score's uuid", self._backoff_s(entry))
        content, score = (valid.content, valid.score) if valid else (None, None)
        return _heard(self._file_away(entry, content, score))

    def _refused(self, entry: Entry, refused: Refused, valid: _Valid) -> Step:
        """The server's no. To a second sending it may mean "it is there": look before believing it."""
        if entry.resent:
            now = self._now()
            entry = self._ledger.doubt(entry, "refused at a second sending", now, now, status=refused.status)
            return self._look(entry, valid, refused)
        return self._fail(entry, State.REFUSED, Code.REFUSED, refused.status, valid, refused)

    def _deferred(self, entry: Entry, verdict: Deferred, valid: _Valid) -> Step:
        """Not taken, and worth another try: this file's turn comes again after its backoff."""
        if verdict.everyone:
            return self._not_taken(entry, verdict)
        now, policy = self._now(), self._route.retry
        again = next_attempt(
            policy, entry.attempts, entry.created_at, now, self._chance(), verdict.retry_after_s
        )
        if isinstance(again, GiveUp):
            return self._fail(entry, State.GAVE_UP, Code.GAVE_UP, None, valid, valid.score)
        entry = self._ledger.defer(entry, verdict.reason, again.at, now)
        left_s = (again.at - now).total_seconds()
        return Step(Outcome.DEFERRED, verdict.reason, left_s, ApiUp(), entry=entry)

    def _not_taken(self, entry: Entry, verdict: NoToken) -> Step:
        """The trouble is the API's: the file may go again as soon as the API may be asked."""
        now = self._now()
        return _api_trouble(verdict, self._ledger.defer(entry, verdict.reason, now, now))

    def _fail(
        self, entry: Entry, state: State, code: Code, status: int | None, valid: _Valid | None, details: Details
    ) -> Step:
        target = self._archive.failed_name(entry.name)
        failed = self._ledger.fail(entry, state, code, status, target, self._now())
        return _heard(self._file_away(failed, valid.content if valid else None, details))

    def _doubt(
        self, entry: Entry, reason: str, after_s: float, *, first_look_at: datetime | None = None
    ) -> Step:
        """Perhaps taken: recorded as such, to be looked for after ``after_s``."""
        now = self._now()
        entry = self._ledger.doubt(
            entry, reason, now + timedelta(seconds=after_s), now, first_look_at=first_look_at, status=entry.status
        )
        return Step(Outcome.IN_DOUBT, reason, after_s, ApiUp(), held=reason in _HELD, entry=entry)

    def _backoff_s(self, entry: Entry) -> float:
        return backoff_s(self._route.retry, max(entry.attempts, 1), self._chance())

    # --- read-back -----------------------------------------------------------------------------------

    def _look(self, entry: Entry, valid: _Valid | None, refused: Refused | None = None) -> Step:
        """Ask the API whether a score in doubt is there. ``valid`` is None when its file is gone."""
        assert entry.assessment_id is not None
        assert entry.identity is not None
        listed = self._calls.listing(entry.assessment_id)
        if isinstance(listed, Unanswerable):
            return self._unanswerable(entry, valid)
        if not isinstance(listed, list):
            return self._no_look(entry, listed)
        owned = self._ledger.owned_uuids([score.uuid for score in listed], entry)
        now, wait = self._now(), self._read_back_wait_s
        match judge_look(entry.identity, listed, owned, entry.first_look_at, now, wait):
            case Adopt(uuid):
                return self._uploaded(entry, uuid, Proof.READ_BACK, valid)
            case Near():
                return self._doubt(entry, HELD_NEAR, self._route.retry.most_s)
            case LookAgain() | Absent() if entry.status is not None:
                # Refused at a second sending, and not there: now the refusal is believed.
                details = refused or (valid.score if valid else None)
                return self._fail(entry, State.REFUSED, Code.REFUSED, entry.status, valid, details)
            case LookAgain(first_look_at, at):
                left_s = (at - now).total_seconds()
                return self._doubt(entry, "not there at the first look", left_s, first_look_at=first_look_at)
            case Absent():
                return self._send_again(entry, valid)

    def _send_again(self, entry: Entry, valid: _Valid | None) -> Step:
        """It was never taken. Without its bytes nothing is left to send."""
        if valid is not None:
            return self._send(entry.name, entry, valid, resent=True)
        self._ledger.withdraw(entry, self._now())
        return Step(Outcome.WITHDRAWN, "taken back; the API does not have it", api=ApiUp(), entry=entry)

    def _unanswerable(self, entry: Entry, valid: _Valid | None) -> Step:
        """The API lists no scores to us: the route's policy decides."""
        if self._route.in_doubt is WhenInDoubt.RESEND and valid is not None and entry.status is None:
            return self._send(entry.name, self._in_doubt(entry), valid, resent=True)
        return self._doubt(entry, HELD_UNANSWERABLE, self._route.retry.most_s)

    def _in_doubt(self, entry: Entry) -> Entry:
        """An intent that a crash left becomes what it is: in doubt."""
        if entry.state is State.IN_DOUBT:
            return entry
        return self._ledger.doubt(entry, "interrupted", self._now(), self._now())

    def _no_look(self, entry: Entry, verdict: NoToken) -> Step:
        """The look itself failed; the doubt stays as it was."""
        entry = self._in_doubt(entry)
        if isinstance(verdict, Deferred) and not verdict.everyone:
            wait = max(self._backoff_s(entry), verdict.retry_after_s or 0.0)
            return Step(Outcome.IN_DOUBT, verdict.reason, wait, ApiUp(), entry=entry)
        return replace(_api_trouble(verdict, entry), outcome=Outcome.IN_DOUBT)

    # --- filing away ---------------------------------------------------------------------------------

    def _finish(self, entry: Entry) -> Step:
        """The outcome is known since an earlier pass; only the move is left."""
        found: Content | NotRead = NotRead(Kind.MISSING)
        if not entry.detached:
            found = filing.read(self._route.drop / entry.name, self._route.max_size_bytes)
        if not self._present():
            return _FOLDER_GONE
        if not isinstance(found, Content) or found.sha256 != entry.sha256:
            return self._file_away(entry, None, None)
        verdict = self._judge(entry.name, found)
        return self._file_away(entry, found, verdict if isinstance(verdict, Rejection) else verdict.score)

    def _file_away(self, entry: Entry, content: Content | None, details: Details) -> Step:
        """Steps 4 to 6; a failed move is tried again, and never leads to a request."""
        if entry.resent and entry.proof is Proof.RESPONSE and not entry.possible_duplicate:
            entry = self._check_for_twins(entry)
        filed = self._archive.file_away(entry, content, details)
        if isinstance(filed, Unfiled):
            return Step(Outcome.DEFERRED, filed.reason, self._backoff_s(entry), entry=entry)
        outcome = Outcome(outcome_of(filed)) if filed.state in DONE else Outcome.FAILED
        return Step(outcome, str(filed.code or ""), entry=filed)

    def _check_for_twins(self, entry: Entry) -> Entry:
        """Sent twice after all? Look once more; where that is not to be known, say so in the receipt too."""
        assert entry.assessment_id is not None
        assert entry.identity is not None
        listed = self._calls.listing(entry.assessment_id)
        if isinstance(listed, list):
            owned = self._ledger.owned_uuids([score.uuid for score in listed], entry)
            if not possible_duplicate(entry.identity, listed, owned):
                return entry
        return self._ledger.mark_possible_duplicate(entry)


def _undecided(found: NotRead) -> bool:
    return found.changing or found.kind in (Kind.MISSING, Kind.UNREADABLE)


def _says_the_same(entry: Entry, score: Score) -> bool:
    return entry.identity is not None and entry.identity.fingerprint == score.identity.fingerprint


def _api_trouble(verdict: NoToken, entry: Entry | None) -> Step:
    """No file's fault: every file waits until the API can be used again."""
    pause_s = verdict.retry_after_s if isinstance(verdict, Deferred) else None
    down = ApiDown(verdict.reason, pause_s or 0.0)
    return Step(Outcome.BLOCKED, verdict.reason, api=down, entry=entry)


def _heard(step: Step) -> Step:
    """The API gave an answer that counts."""
    return replace(step, api=ApiUp())
