"""One file, one pass: from the drop folder to a receipt. Start reading here.

    read → validate → intend → PUT → uploaded → file away          (the happy way through ``Pipeline.process``)

Every pass does what can be done now and says how far it came, as a ``Step``; whoever calls (daemon/) comes back
when the step says so. Nothing here loops, sleeps, or knows SQL or HTTP. A pass is a generator: where it has to wait,
for the disk or the API, it yields, and others go on (passes.py). Two rules keep every promise:

* the ledger has the *intent* on disk before a request leaves, and the *outcome* before the file is moved;
* an entry that may have been sent (in doubt) is looked for at the API before anything is sent again.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from canarysync import reading
from canarysync.answers import Deferred, HoldApi, InDoubt, Refused, Unreachable, Uploaded
from canarysync.calls import Unanswerable, Unreadable
from canarysync.candidates import syntax_of
from canarysync.config import DoubtPolicy, Route
from canarysync.examine import MOST_BYTES, Found, Question, Unsynced
from canarysync.ledger import DECIDED, Draft, Entry, Taken
from canarysync.model import (
    SEND_AGAIN,
    Code,
    Held,
    Kind,
    Proof,
    Rejection,
    Score,
    Signature,
    State,
    Syntax,
    Token,
)
from canarysync.outcomes import FOLDER_GONE_WAIT_S, UNREADABLE, Outcomes, Tools, Valid, api_trouble
from canarysync.parse import parse
from canarysync.passes import AskTogether, Pass, ask
from canarysync.readback import Absent, Adopt, LookAgain, Near, judge_look
from canarysync.reading import Content, Look, NotRead
from canarysync.sidecar import message_for
from canarysync.step import ApiUp, Outcome, Step
from canarysync.validate import validate

TWIN_WAIT_S = 5.0
"""How soon a file is looked at again whose score another file is sending, if nobody says that it is through."""

OBSTACLE_WAIT_S = 30.0
"""How soon a file is looked at again that may not be read, or could not be moved; of many, one looks sooner."""


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
        self._moment = tools.moment
        self._read_back_wait_s = tools.read_back_wait_s
        self._examine = tools.examine
        self._outcomes = Outcomes(route, present, tools)
        self._drop = str(route.drop)

    # --- the two kinds of pass -----------------------------------------------------------------------

    def process(self, name: str, *, settled: bool, may_send: bool, looked: Look | None = None) -> Pass[Step]:
        """One pass over ``drop/name``.

        ``settled``: it did not change for the quiet period; only then may it be rejected. ``may_send``: the
        API may be asked now; if not, everything up to that is done. ``looked``: what stands there, if that is known.
        """
        entry = self._ledger.open_entry(self._route_id, name)
        if entry is not None and entry.state in DECIDED:
            return (yield from self._finish(entry, may_send=may_send))
        if self._on_hold():
            return Step(Outcome.ON_HOLD)
        if not settled and syntax_of(name) is Syntax.YAML:
            return Step(Outcome.UNSETTLED)
        examined = yield from self._examined(name, looked or reading.look(self._path(name)), may_send=may_send)
        if isinstance(examined, NotRead):
            return self._not_read(entry, examined)
        found, verdict = examined
        if isinstance(verdict, Rejection):
            if not settled:
                return Step(Outcome.UNSETTLED)
            return (yield from self._reject(name, entry, found, verdict))
        if entry is None or _says_the_same(entry, verdict.score):
            return (yield from self._advance(name, entry, verdict, may_send=may_send))
        parted = self._part(entry)
        step = yield from self._advance(name, None, verdict, may_send=may_send)
        return step._replace(parted=parted)

    def resume(self, entry_id: str, *, may_send: bool) -> Pass[Step]:
        """One pass for a detached entry: its file is gone or changed, but its score may be at the API."""
        entry = self._ledger.entry(entry_id)
        if entry.state in DECIDED:
            return (yield from self._finish(entry, may_send=may_send))
        if self._on_hold():
            return Step(Outcome.ON_HOLD)
        waiting = self._outcomes.too_early(entry)
        if waiting is not None:
            return waiting
        if not may_send:
            return Step(Outcome.BLOCKED, entry=entry)
        return (yield from self._settle_doubt(entry, None))

    def _on_hold(self) -> bool:
        """Whether a person has stopped the route. Asked at every pass, so that a hold works at once."""
        return self._ledger.hold_on(self._route_id) is not None

    def _finish(self, entry: Entry, *, may_send: bool) -> Pass[Step]:
        """The outcome is known since an earlier pass; only the move is left, and perhaps the look for twins."""
        if entry.resent and entry.proof is not None and not may_send:
            return Step(Outcome.BLOCKED, entry=entry)
        found: Content | NotRead = NotRead(Kind.MISSING)
        if not entry.detached:
            found = reading.read(self._path(entry.name), self._route.max_size_bytes)
        if not isinstance(found, Content) or found.sha256 != entry.sha256:
            return (yield from self._outcomes.file_away(entry, None, None))
        verdict = self._judge(entry.name, found)
        details = verdict if isinstance(verdict, Rejection) else verdict.score
        return (yield from self._outcomes.file_away(entry, found, details))

    def _path(self, name: str) -> str:
        return f"{self._drop}/{name}"

    # --- reading -------------------------------------------------------------------------------------

    def _examined(
        self, name: str, looked: Look, *, may_send: bool
    ) -> Pass[tuple[Content | NotRead, Valid | Rejection] | NotRead]:
        """What is in the file, and our own verdict on it, if there is something to judge. Raises OSError where it
        could not be synced."""
        kind, signature = looked
        if may_send and kind is Kind.FILE and signature is not None and signature.size_bytes <= MOST_BYTES:
            question = Question(self._path(name), self._route.max_size_bytes, syntax_of(name))
            examined: Found = yield AskTogether(self._examine, question)
            if isinstance(examined, Unsynced):
                raise OSError(examined.code, os.strerror(examined.code))
            if examined is not None:
                return examined.content, Valid(examined.score, examined.content, on_disk=True)
        found = reading.read(self._path(name), self._route.max_size_bytes, looked)
        if isinstance(found, NotRead) and _undecided(found):
            return found
        return found, self._judge(name, found)

    def _judge(self, name: str, found: Content | NotRead) -> Valid | Rejection:
        """Our own verdict on a file."""
        if isinstance(found, NotRead):
            code = Code.UNSAFE if found.kind is Kind.UNSAFE else Code.TOO_LARGE
            return Rejection(code, message_for(code, None))
        document = parse(found.data, syntax_of(name))
        score = document if isinstance(document, Rejection) else validate(document)
        return score if isinstance(score, Rejection) else Valid(score, found)

    def _not_read(self, entry: Entry | None, found: NotRead) -> Step:
        """Nothing can be said of the file: it is being written, may not be read, or is gone."""
        if found.changing:
            return Step(Outcome.UNSETTLED)
        if found.kind is Kind.UNREADABLE:
            reason = "cannot be read (rights, or an I/O error)"
            return Step(Outcome.DEFERRED, reason, OBSTACLE_WAIT_S, entry=entry, trouble=True)
        if entry is None:
            return Step(Outcome.GONE)
        if not self._present():
            return Step(Outcome.DEFERRED, "the drop folder is gone", FOLDER_GONE_WAIT_S, entry=entry, trouble=True)
        parted = self._part(entry)
        if parted.detached:
            return Step(Outcome.GONE, parted=parted)
        return Step(Outcome.WITHDRAWN, "taken back before it was sent", entry=entry)

    def _part(self, entry: Entry) -> Entry:
        """The file no longer says what its entry does. What was certainly not taken is withdrawn; what may
        have been goes on without the file, as a detached entry."""
        if entry.state is State.DEFERRED:
            self._outcomes.withdrawn(entry, "")
            return entry
        return self._ledger.detach(entry, self._now())

    def _reject(self, name: str, entry: Entry | None, found: Content | NotRead, rejection: Rejection) -> Pass[Step]:
        """Our own no: recorded, then filed in failed/ with all its problems."""
        parted = self._part(entry) if entry is not None else None
        content = found if isinstance(found, Content) else None
        step = yield from self._outcomes.rejected(self._draft(name, found, None), rejection, content)
        return step._replace(parted=parted)

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

    def _advance(self, name: str, entry: Entry | None, valid: Valid, *, may_send: bool) -> Pass[Step]:
        """A valid score: do the next thing that its entry allows."""
        if entry is not None:
            if entry.sha256 != valid.content.sha256:
                entry = self._ledger.rebind(entry, valid.content.sha256, valid.content.signature)
            waiting = self._outcomes.too_early(entry)
            if waiting is not None:
                return waiting
        try:
            obstacle = self._outcomes.obstacle(name)
        except FileNotFoundError:
            return self._not_read(entry, NotRead(Kind.MISSING))
        if obstacle:
            return Step(Outcome.DEFERRED, f"not sent: {obstacle}", OBSTACLE_WAIT_S, entry=entry, trouble=True)
        if not may_send:
            return Step(Outcome.BLOCKED, entry=entry)
        if entry is not None and entry.state is not State.DEFERRED:
            return (yield from self._settle_doubt(entry, valid))
        return (yield from self._send(name, entry, valid))

    def _send(
        self, name: str, entry: Entry | None, valid: Valid, *, resent: bool = False, unsure: bool = False
    ) -> Pass[Step]:
        """Steps 0 to 2: the token, the file and the intent on disk, the request. ``unsure``: an earlier request may
        have been taken, and nobody can look."""
        token = self._calls.good_token() or (yield from ask(self._calls.token))
        if not isinstance(token, Token):
            return api_trouble(token, entry)
        if valid.on_disk:
            kind, _ = reading.look(self._path(name))
        else:
            kind = Kind.FILE if (yield from reading.sync(self._path(name))) else Kind.MISSING
        if kind in (Kind.MISSING, Kind.UNREADABLE):
            return self._not_read(entry, NotRead(kind))
        if entry is not None:
            entry = self._ledger.intend_again(entry, self._now(), resent=resent)
            return (yield from self._put(entry, valid, token, unsure=unsure))
        claim = self._ledger.intend(self._draft(name, valid.content, valid.score), self._now())
        if isinstance(claim, Taken):
            return (yield from self._twin(name, claim.owner, valid))
        if claim.entry.state is State.IN_DOUBT:  # it waited while the ledger was lost: perhaps it was sent before
            return (yield from self._look(claim.entry, valid))
        return (yield from self._put(claim.entry, valid, token))

    def _put(self, entry: Entry, valid: Valid, token: Token, *, unsure: bool = False) -> Pass[Step]:
        """The request, and what its answer means for the entry."""
        verdict = yield from self._calls.put(valid.score, token, entry.forbidden)
        if unsure and isinstance(verdict, Deferred | Unreachable | HoldApi):
            # This request was not taken; of the one before, as little is known as ever.
            step = self._outcomes.in_doubt(entry, verdict.reason, self._outcomes.backoff_s(entry))
            return step._replace(api=api_trouble(verdict, entry).api)
        match verdict:
            case Uploaded(uuid):
                return (yield from self._outcomes.uploaded(entry, uuid, Proof.RESPONSE, valid))
            case Refused():
                return (yield from self._refused(entry, verdict, valid))
            case InDoubt(reason):
                return self._outcomes.in_doubt(entry, reason, self._outcomes.backoff_s(entry))
            case Deferred(everyone=False):
                return (yield from self._outcomes.deferred(entry, verdict, valid))
            case Deferred() | Unreachable() | HoldApi():
                return self._outcomes.not_taken(entry, verdict)

    def _refused(self, entry: Entry, refused: Refused, valid: Valid) -> Pass[Step]:
        """The server's no. To a second sending it may mean "it is there": look before believing it."""
        if not entry.resent:
            return (yield from self._outcomes.refused(entry, refused.status, valid, refused))
        doubt = self._outcomes.in_doubt(entry, "refused at a second sending", 0.0, status=refused.status)
        assert doubt.entry is not None
        return (yield from self._look(doubt.entry, valid, refused))

    def _twin(self, name: str, owner: Entry, valid: Valid) -> Pass[Step]:
        """Another file says the same score: its outcome will be this file's outcome too."""
        if owner.state is not State.UPLOADED:
            reason = "another file with this score is " + ("held for a person" if owner.held else "on its way")
            return Step(Outcome.TWIN, reason, TWIN_WAIT_S, held=owner.held is not None, entry=owner)
        return (yield from self._outcomes.duplicate(self._draft(name, valid.content, valid.score), owner, valid))

    # --- in doubt ------------------------------------------------------------------------------------

    def _settle_doubt(self, entry: Entry, valid: Valid | None) -> Pass[Step]:
        """What a person decided (`canarysync resolve`), or else what the API says. ``valid`` is None when the file is
        gone."""
        if entry.resolution is None:
            return (yield from self._look(entry, valid))
        if entry.resolution == SEND_AGAIN:
            return (yield from self._send_again(entry, valid))
        return (yield from self._outcomes.uploaded(entry, entry.resolution, Proof.PERSON, valid))

    def _look(self, entry: Entry, valid: Valid | None, refused: Refused | None = None) -> Pass[Step]:
        """Ask the API whether a score in doubt is there. ``valid`` is None when its file is gone."""
        assert entry.assessment_id is not None
        assert entry.identity is not None
        asked = self._moment()
        listed = yield from ask(partial(self._calls.listing, entry.assessment_id))
        if isinstance(listed, Unanswerable):
            return (yield from self._unanswerable(entry, valid))
        if isinstance(listed, Unreadable):
            return self._unreadable(entry)
        if not isinstance(listed, list):
            return self._outcomes.no_look(self._in_doubt(entry), listed)
        # Asked before who owns what: whatever is listed and was on its way then, is owned now or is not ours.
        unowned = self._ledger.sends_alike(entry)
        owned = self._ledger.owned_uuids([score.uuid for score in listed if score.uuid], entry)
        match judge_look(entry.identity, listed, owned, entry.first_look, asked, self._read_back_wait_s):
            case Adopt() | Near() if unowned:
                return self._outcomes.no_look(
                    self._in_doubt(entry), Deferred("a like score is on its way", TWIN_WAIT_S)
                )
            case Adopt(uuid):
                return (yield from self._outcomes.uploaded(entry, uuid, Proof.READ_BACK, valid))
            case Near():
                return self._outcomes.held(entry, Held.NEAR)
            case LookAgain() | Absent() if entry.held is Held.OWNED:
                # It was taken, the API says, as another file's score: to send it again would help nobody.
                return self._outcomes.held(entry, Held.OWNED)
            case Absent() if entry.status is not None:
                # Refused at a second sending, and not there at two looks: now the refusal is believed.
                details = refused or (valid.score if valid else None)
                return (yield from self._outcomes.refused(entry, entry.status, valid, details))
            case LookAgain(after_s, first):
                first_look = self._moment() if first else entry.first_look
                return self._outcomes.in_doubt(entry, "not there at the first look", after_s, first_look=first_look)
            case Absent():
                return (yield from self._send_again(entry, valid))

    def _send_again(self, entry: Entry, valid: Valid | None) -> Pass[Step]:
        """It was never taken, or a person says so. Without its bytes nothing is left to send."""
        if valid is not None:
            return (yield from self._send(entry.name, entry, valid, resent=True))
        step = self._outcomes.withdrawn(entry, "taken back; the API does not have it")
        return step._replace(api=ApiUp())

    def _unanswerable(self, entry: Entry, valid: Valid | None) -> Pass[Step]:
        """The API lists no scores to us: the route's policy decides."""
        if self._route.in_doubt is DoubtPolicy.RESEND and valid is not None and entry.status is None:
            return (yield from self._send(entry.name, self._in_doubt(entry), valid, resent=True, unsure=True))
        return self._outcomes.held(entry, Held.UNANSWERABLE)

    def _unreadable(self, entry: Entry) -> Step:
        """It may be so only now; if it stays so, a person has to look."""
        if entry.held is None and not self._outcomes.stands_long(entry):
            return self._outcomes.no_look(self._in_doubt(entry), Deferred(UNREADABLE))
        return self._outcomes.held(entry, Held.OWNED if entry.held is Held.OWNED else Held.UNREADABLE)

    def _in_doubt(self, entry: Entry) -> Entry:
        """An intent that a crash left becomes what it is: in doubt."""
        if entry.state is State.IN_DOUBT:
            return entry
        return self._ledger.doubt(entry, "interrupted", self._now(), self._now())


def _undecided(found: NotRead) -> bool:
    return found.changing or found.kind in (Kind.MISSING, Kind.UNREADABLE)


def _says_the_same(entry: Entry, score: Score) -> bool:
    return entry.identity is not None and entry.identity.fingerprint == score.identity.fingerprint
