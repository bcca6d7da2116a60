"""What came of a file: recorded first, then acted on. The ledger's half of the pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial

from canarysync.answers import Deferred, HoldApi, Unreachable
from canarysync.archive import Archive, Details, Unfiled
from canarysync.calls import Calls, NoToken, Unreadable
from canarysync.config import DoubtPolicy, Route
from canarysync.errors import UuidOwned
from canarysync.examine import Examine, examine
from canarysync.ledger import DONE, Draft, Entry, Ledger
from canarysync.model import Code, Held, Moment, Proof, Rejection, Score, State
from canarysync.passes import ON_DISK, Pass, ask
from canarysync.readback import possible_duplicate
from canarysync.reading import Content
from canarysync.retry import RETRY_AFTER_MOST_S, GiveUp, backoff_s, next_attempt
from canarysync.sidecar import outcome_of
from canarysync.step import ApiDown, ApiUp, Outcome, Step

FOLDER_GONE_WAIT_S = 5.0
"""How soon a file is looked at again whose drop folder is not there."""

UNREADABLE = "the API's list of scores cannot be read"

HELD = {
    Held.NEAR: "held: the API has a like score, but not quite this one",
    Held.UNANSWERABLE: "held: the API cannot say whether it is there",
    Held.UNREADABLE: "held: what the API has cannot be read, or is too much to read",
    Held.ORPHANED: "held: its route is not in the config",
    Held.OWNED: "held: the API named the uuid of another file's score",
}


@dataclass(frozen=True, slots=True)
class Tools:
    """What a pipeline works with. ``now`` gives aware UTC times, ``moment`` all that the clocks say, ``chance``
    numbers uniform in [0, 1)."""

    ledger: Ledger
    calls: Calls
    now: Callable[[], datetime]
    moment: Callable[[], Moment]
    chance: Callable[[], float]
    read_back_wait_s: float
    endpoint: str
    examine: Examine = examine


@dataclass(frozen=True, slots=True)
class Valid:
    """A valid score and the bytes that it was read from. ``on_disk``: these are known to be."""

    score: Score
    content: Content
    on_disk: bool = False


class Outcomes:
    """Each method records one outcome, carries it out, and returns the step that tells of it.

    ``present`` says whether the drop folder is there and ours.
    """

    def __init__(self, route: Route, present: Callable[[], bool], tools: Tools) -> None:
        self._route = route
        self._present = present
        self._ledger = tools.ledger
        self._calls = tools.calls
        self._now = tools.now
        self._chance = tools.chance
        self._read_back_wait_s = tools.read_back_wait_s
        self._archive = Archive(route, present, tools.ledger, tools.now, tools.endpoint)

    # --- ends ----------------------------------------------------------------------------------------

    def uploaded(self, entry: Entry, uuid: str, proof: Proof, valid: Valid | None) -> Pass[Step]:
        """Step 3, the proof on disk; then the move. ``valid`` is None when the file is gone."""
        now = self._now()
        target = self._archive.done_name(entry.name, now)
        try:
            entry = self._ledger.upload(entry, uuid, proof, target, now)
        except UuidOwned:
            if proof is Proof.RESPONSE:
                return self.held(entry, Held.OWNED)
            if proof is Proof.PERSON:
                entry = self._ledger.share(entry, uuid, target, now)
                return (yield from self._file(entry, *_parts(valid)))
            return self.in_doubt(entry, "another file was given this score", self.backoff_s(entry))
        return (yield from self._file(entry, *_parts(valid), None if proof is Proof.PERSON else ApiUp()))

    def duplicate(self, draft: Draft, owner: Entry, valid: Valid) -> Pass[Step]:
        """``owner`` has uploaded this very score: its uuid is this file's uuid too."""
        now = self._now()
        entry = self._ledger.duplicate(draft, owner, self._archive.done_name(draft.name, now), now)
        return (yield from self._file(entry, valid.content, valid.score))

    def rejected(self, draft: Draft, rejection: Rejection, content: Content | None) -> Pass[Step]:
        """Our own no, with all its problems."""
        target = self._archive.failed_name(draft.name)
        entry = self._ledger.fail(draft, State.REJECTED, rejection.code, None, target, self._now())
        return (yield from self._file(entry, content, rejection))

    def refused(self, entry: Entry, status: int | None, valid: Valid | None, details: Details) -> Pass[Step]:
        """The server's no."""
        return (yield from self._failed(entry, State.REFUSED, Code.REFUSED, status, valid, details))

    def _failed(
        self, entry: Entry, state: State, code: Code, status: int | None, valid: Valid | None, details: Details
    ) -> Pass[Step]:
        target = self._archive.failed_name(entry.name)
        entry = self._ledger.fail(entry, state, code, status, target, self._now())
        content = valid.content if valid else None
        return (yield from self._file(entry, content, details, ApiUp()))

    def withdrawn(self, entry: Entry, reason: str) -> Step:
        """Its file was taken back, and the API does not have it."""
        self._ledger.withdraw(entry, self._now())
        return Step(Outcome.WITHDRAWN, reason, entry=entry)

    # --- waiting -------------------------------------------------------------------------------------

    def deferred(self, entry: Entry, verdict: Deferred, valid: Valid) -> Pass[Step]:
        """Not taken, and worth another try: this file's turn comes again after its backoff."""
        now = self._now()
        pause_s = verdict.retry_after_s
        again = next_attempt(self._route.retry, entry.attempts, entry.created_at, now, self._chance(), pause_s)
        if isinstance(again, GiveUp):
            return (yield from self._failed(entry, State.GAVE_UP, Code.GAVE_UP, None, valid, valid.score))
        entry = self._ledger.defer(entry, verdict.reason, again.at, now, forbidden=verdict.forbidden)
        return Step(Outcome.DEFERRED, verdict.reason, (again.at - now).total_seconds(), ApiUp(), entry=entry)

    def not_taken(self, entry: Entry, verdict: NoToken) -> Step:
        """The trouble is the API's: the file may go again as soon as the API may be asked."""
        now = self._now()
        pause_s = verdict.retry_after_s if isinstance(verdict, Deferred) else None
        at = now + timedelta(seconds=pause_s or 0.0)
        return api_trouble(verdict, self._ledger.defer(entry, verdict.reason, at, now))

    def in_doubt(
        self,
        entry: Entry,
        reason: str,
        after_s: float,
        *,
        first_look: Moment | None = None,
        status: int | None = None,
    ) -> Step:
        """Perhaps taken: to be looked for after ``after_s``. ``status``: how a second sending was refused."""
        return self._doubt(entry, reason, after_s, first_look=first_look, status=status)

    def held(self, entry: Entry, why: Held) -> Step:
        """In doubt, and for a person to decide; looked at again now and then, in case the doubt resolves itself."""
        return self._doubt(entry, HELD[why], self._route.retry.most_s, held=why)

    def _doubt(
        self,
        entry: Entry,
        reason: str,
        after_s: float,
        *,
        first_look: Moment | None = None,
        status: int | None = None,
        held: Held | None = None,
    ) -> Step:
        now = self._now()
        at, status = now + timedelta(seconds=after_s), status or entry.status
        entry = self._ledger.doubt(entry, reason, at, now, first_look=first_look, status=status, held=held)
        return Step(Outcome.IN_DOUBT, reason, after_s, ApiUp(), held=held is not None, entry=entry)

    def too_early(self, entry: Entry) -> Step | None:
        """The recorded time of the next try has not come yet (after a restart, or in another run-once)."""
        if entry.retry_at is None or entry.resolution is not None:
            return None
        most_s = max(self._route.retry.most_s, self._read_back_wait_s, RETRY_AFTER_MOST_S)
        left_s = (entry.retry_at - self._now()).total_seconds()
        if left_s <= 0 or left_s > most_s:  # so far ahead only if the clock has been set back since
            return None
        outcome = Outcome.DEFERRED if entry.state is State.DEFERRED else Outcome.IN_DOUBT
        return Step(outcome, entry.reason, left_s, held=entry.held is not None, entry=entry)

    def backoff_s(self, entry: Entry) -> float:
        """Seconds until the next try of this entry, by its route's policy."""
        return backoff_s(self._route.retry, max(entry.attempts, 1), self._chance())

    def aged_backoff_s(self, entry: Entry) -> float:
        """Seconds until the next look or move, after one that failed: about as long as the entry stands still.

        A failed one writes nothing, so the pauses double by themselves.
        """
        policy = self._route.retry
        return (0.5 + self._chance() / 2) * min(max(self._stands_s(entry), policy.first_s), policy.most_s)

    def _stands_s(self, entry: Entry) -> float:
        """For how many seconds nothing has become of the entry; negative where the clock was set back."""
        return (self._now() - entry.changed_at).total_seconds()

    # --- filing away ---------------------------------------------------------------------------------

    def obstacle(self, name: str) -> str:
        """Why the file of this name could not be filed away later on; empty when nothing stands in the way. Raises
        FileNotFoundError where it is noticed that it is not there."""
        return self._archive.obstacle(name)

    def file_away(self, entry: Entry, content: Content | None, details: Details) -> Pass[Step]:
        """Steps 4 to 6 for an outcome that an earlier pass has recorded, and perhaps begun to carry out."""
        if not self._present():  # the file is not gone, its folder is: nothing may be filed in its stead
            return _folder_gone(entry, None)
        return (yield from self._file(entry, content, details, again=True))

    def _file(
        self, entry: Entry, content: Content | None, details: Details, api: ApiUp | None = None, *, again: bool = False
    ) -> Pass[Step]:
        """Steps 4 to 6; a failed move is tried again, and never leads to another sending. ``api``: what was learnt of
        it before. ``again``: an earlier pass may have come some way."""
        if entry.resent and entry.proof is not None:
            checked = yield from self._check_for_twins(entry)
            if isinstance(checked, Step):
                return checked
            entry = checked
        yield ON_DISK  # what is in done/ or failed/ is known to the ledger as such
        filed = yield from self._archive.file_away(entry, content, details, again=again)
        if isinstance(filed, Unfiled):
            if not self._present():
                return _folder_gone(entry, api)
            return Step(Outcome.DEFERRED, filed.reason, self.aged_backoff_s(entry), api, entry=entry, trouble=True)
        outcome = Outcome(outcome_of(filed)) if filed.state in DONE else Outcome.FAILED
        return Step(outcome, str(filed.code or ""), api=api, entry=filed, more=self._archive.is_there(entry))

    def _check_for_twins(self, entry: Entry) -> Pass[Entry | Step]:
        """Sent twice after all? Look once more; where that is not to be known at all, the receipt says so too."""
        assert entry.assessment_id is not None
        assert entry.identity is not None
        assert entry.uuid is not None
        listed = yield from ask(partial(self._calls.listing, entry.assessment_id))
        if isinstance(listed, HoldApi | Unreachable) or (isinstance(listed, Deferred) and listed.everyone):
            return self.no_look(entry, listed)
        if isinstance(listed, Deferred | Unreadable) and not self.stands_long(entry):
            return self.no_look(entry, listed if isinstance(listed, Deferred) else Deferred(UNREADABLE))
        doubtful = True
        if isinstance(listed, list):
            owned = self._ledger.owned_uuids([score.uuid for score in listed if score.uuid], entry)
            # Where it may have been sent again without a look, one look afterwards is no proof that there is one only.
            blind = self._route.in_doubt is DoubtPolicy.RESEND
            doubtful = blind or possible_duplicate(entry.identity, listed, owned, entry.uuid)
        return self._ledger.twins_checked(entry, possible_duplicate=doubtful)

    def no_look(self, entry: Entry, verdict: NoToken) -> Step:
        """A look failed, and everything stays as it was: look again later."""
        outcome = Outcome.DEFERRED if entry.state in DONE else Outcome.IN_DOUBT
        if isinstance(verdict, Deferred) and not verdict.everyone:
            wait_s = max(self.aged_backoff_s(entry), verdict.retry_after_s or 0.0)
            return Step(outcome, verdict.reason, wait_s, ApiUp(), entry=entry)
        return api_trouble(verdict, entry)._replace(outcome=outcome)

    def stands_long(self, entry: Entry) -> bool:
        """Whether nothing has become of the entry for so long that no further looks will help."""
        return self._stands_s(entry) >= self._route.retry.most_s


def _parts(valid: Valid | None) -> tuple[Content | None, Score | None]:
    return (valid.content, valid.score) if valid else (None, None)


def _folder_gone(entry: Entry, api: ApiUp | None) -> Step:
    return Step(Outcome.DEFERRED, "the drop folder is gone", FOLDER_GONE_WAIT_S, api, entry=entry, trouble=True)


def api_trouble(verdict: NoToken, entry: Entry | None) -> Step:
    """No file's fault: every file waits until the API can be used again."""
    pause_s = verdict.retry_after_s if isinstance(verdict, Deferred) else None
    down = ApiDown(verdict.reason, pause_s or 0.0)
    return Step(Outcome.BLOCKED, verdict.reason, api=down, entry=entry)
