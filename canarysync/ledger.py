"""The ledger: what it records, which changes are legal, and what every database behind it has to do."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol

from canarysync.model import Code, Held, Identity, Moment, Proof, Signature, State

OWNING = frozenset({State.INTENDED, State.IN_DOUBT, State.DEFERRED, State.UPLOADED})
"""In these states an entry owns its score's fingerprint: no other entry may send it."""

DONE = frozenset({State.UPLOADED, State.DUPLICATE})
FAILED = frozenset({State.REJECTED, State.REFUSED, State.GAVE_UP})
DECIDED = DONE | FAILED
"""The outcome is known; only the filing can be left."""

LEGAL: Mapping[State | None, frozenset[State]] = {
    # IN_DOUBT for a file that waited while the ledger was lost.
    None: frozenset({State.INTENDED, State.IN_DOUBT, State.DUPLICATE, State.REJECTED}),
    # A request is on its way, or was when we died.
    State.INTENDED: frozenset({State.IN_DOUBT, State.UPLOADED, State.DEFERRED, State.REFUSED, State.GAVE_UP}),
    # INTENDED only after two looks, or where the route or a person says so.
    State.IN_DOUBT: frozenset({State.IN_DOUBT, State.UPLOADED, State.INTENDED, State.REFUSED, State.WITHDRAWN}),
    # Known not to be at the API.
    State.DEFERRED: frozenset({State.INTENDED, State.DEFERRED, State.GAVE_UP, State.WITHDRAWN}),
    # A person asks for its score to be created anew. It keeps its uuid, so that nobody takes that for the new one's.
    State.UPLOADED: frozenset({State.REPLACED}),
}
"""From each state (None: no entry yet) to those that may follow. What is not a key is final."""


class Filed(StrEnum):
    """Where the file of an entry goes in the end."""

    DONE = "done"
    FAILED = "failed"


class Happened(StrEnum):
    """What became of an entry at a moment. Beside each is what it says more (``Happening.detail``)."""

    INTENDED = "intended"  # the number of the attempt
    SENT_AGAIN = "sent_again"  # likewise
    DEFERRED = "deferred"  # why
    IN_DOUBT = "in_doubt"  # why
    HELD = "held"  # why
    DECIDED = "decided"  # by a person: as Entry.resolution
    UPLOADED = "uploaded"  # the proof
    DUPLICATE = "duplicate"  # the entry that owns the score
    REPLACED = "replaced"  # a person wants its score sent again
    REJECTED = "rejected"  # the code
    REFUSED = "refused"  # the HTTP status
    GAVE_UP = "gave_up"
    WITHDRAWN = "withdrawn"
    DETACHED = "detached"
    FILED = "filed"
    TAKEN_IN = "taken_in"
    REMOVED = "removed"  # by retention: how that was not quite so
    KEPT = "kept"  # by retention, for good: why


@dataclass(frozen=True, slots=True)
class Happening:
    """A moment in the life of an entry, written down together with what it changed."""

    entry_id: str
    at: datetime
    what: Happened
    detail: str = ""


class Draft(NamedTuple):
    """An entry about to be made. ``sha256`` is None for a file that was never read; ``identity`` for no score."""

    route_id: str
    name: str
    sha256: str | None
    signature: Signature
    assessment_id: str | None = None
    identity: Identity | None = None


class Entry(NamedTuple):
    """One file in the ledger, with its score (a file has one today; the tables hold more).

    ``target`` is the name reserved in done/ or failed/ once the outcome is known. ``detached`` means that
    the file no longer holds what was sent. ``forbidden`` of its attempts were answered with 403. ``resent``
    means that it was sent again, and that the look for twins after that is still due. ``resolution`` is what a
    person decided: its uuid, or ``SEND_AGAIN``. ``removed``: retention has removed its file and sidecar.
    """

    id: str
    route_id: str
    name: str
    sha256: str | None
    signature: Signature
    state: State
    created_at: datetime
    changed_at: datetime
    target: str | None = None
    detached: bool = False
    reason: str = ""
    retry_at: datetime | None = None
    attempts: int = 0
    forbidden: int = 0
    code: Code | None = None
    status: int | None = None
    assessment_id: str | None = None
    identity: Identity | None = None
    uuid: str | None = None
    proof: Proof | None = None
    first_look: Moment | None = None
    held: Held | None = None
    resolution: str | None = None
    resent: bool = False
    possible_duplicate: bool = False
    filed_at: datetime | None = None
    removed: bool = False

    @property
    def for_a_person(self) -> bool:
        """Held, and nobody has decided yet."""
        return self.held is not None and self.resolution is None


@dataclass(frozen=True, slots=True)
class Past:
    """What a sidecar says of an entry that the ledger may have lost. ``signature`` is None once the file was moved;
    ``missing``: it never was, since it was gone."""

    entry_id: str
    route_id: str
    name: str
    target: str
    sha256: str | None
    state: State
    at: datetime
    signature: Signature | None = None
    attempts: int = 0
    code: Code | None = None
    status: int | None = None
    assessment_id: str | None = None
    identity: Identity | None = None
    uuid: str | None = None
    proof: Proof | None = None
    possible_duplicate: bool = False
    missing: bool = False


@dataclass(frozen=True, slots=True)
class Claimed:
    """The entry is ours: where it is INTENDED, the request may go once that is on disk."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Taken:
    """Another entry owns this score. ``owner`` says how far it is."""

    owner: Entry


@dataclass(frozen=True, slots=True)
class Hold:
    """A person has stopped a route: since when, who (a user's name), and why (their words, perhaps none)."""

    at: datetime
    by: str
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Counts:
    """What a route's ledger has filed: by where it went, failures also by code."""

    done: int
    failed: int
    withdrawn: int
    codes: Mapping[str, int]


class Notes(Protocol):
    """What was changed in one ``gather``."""

    def settle(self) -> None:
        """Return once it is on disk. Raises LedgerError where it is not: then none of it was recorded."""


class Ledger(Protocol):
    """The durable record. Every method that changes something returns only once it is on disk,
    except ``filed``, which rides on the next commit, and within ``gather``. Safe to call from many threads.

    Raises ``errors.LedgerError`` when it cannot record, and then has recorded nothing. Times are aware UTC.
    An entry changes only along ``LEGAL``, until a ledger turns out to know too little (``take_in``, ``suspect``).
    """

    def gather(self) -> AbstractContextManager[Notes]:
        """Within it, what this thread changes need not be on disk before ``Notes.settle``, and shares a commit with
        what others change meanwhile."""

    def route_id(self, name: str) -> str | None:
        """The id of a route, by which its drop folder is known; None before its first start."""

    def register_route(self, name: str, route_id: str) -> None:
        """Remember the id of a route for ever. A route of that id under another name was renamed; if that one is
        in use too, its drop folder is a copy: SetupError."""

    def forget_route(self, name: str) -> None:
        """A route is not in use any longer: its folder may come back under another name."""

    def routes(self) -> Mapping[str, str]:
        """The ids of all routes that there ever were, by name."""

    def hold(self, route_id: str, hold: Hold) -> None:
        """Stop a route until ``release``; a later hold takes the place of an earlier one. For use beside the process
        that owns the ledger, which asks for it at every pass."""

    def release(self, route_id: str) -> None:
        """End a hold, if there is one. For use beside the process that owns the ledger."""

    def hold_on(self, route_id: str) -> Hold | None:
        """The hold that a route is under; None where it is under none."""

    def open_entries(self, route_id: str) -> Sequence[Entry]:
        """All entries that are not filed, oldest first."""

    def open_entry(self, route_id: str, name: str) -> Entry | None:
        """The one entry of that name that is neither filed nor detached."""

    def entry(self, entry_id: str) -> Entry:
        """The entry as it is now."""

    def replace(self, entry: Entry, at: datetime) -> None:
        """An uploaded entry gives up its score, but not its uuid: a person wants it sent again. For use beside the
        process that owns the ledger. Raises LedgerError where the entry is not filed yet."""

    def intend(self, draft: Draft, at: datetime) -> Claimed | Taken:
        """Step 1: a new entry in INTENDED, its attempt counted, unless another one owns the fingerprint. In IN_DOUBT,
        with no attempt, where the name is a suspect (``suspect``)."""

    def intend_again(self, entry: Entry, at: datetime, *, resent: bool) -> Entry:
        """Step 1 for an entry that was deferred, or in doubt and found absent (``resent``)."""

    def defer(self, entry: Entry, reason: str, retry_at: datetime, at: datetime, *, forbidden: bool = False) -> Entry:
        """Known not to be at the API; to be tried again at ``retry_at``. ``forbidden``: the answer was 403."""

    def doubt(
        self,
        entry: Entry,
        reason: str,
        retry_at: datetime,
        at: datetime,
        *,
        first_look: Moment | None = None,
        status: int | None = None,
        held: Held | None = None,
    ) -> Entry:
        """Perhaps at the API; to be looked for at ``retry_at``. ``status``: how a second sending was refused.
        ``held``: a person has to decide."""

    def upload(self, entry: Entry, uuid: str, proof: Proof, target: str, at: datetime) -> Entry:
        """Step 3: the proof, and the name in done/. Raises ``errors.UuidOwned`` if another entry has that uuid."""

    def duplicate(self, draft: Draft, owner: Entry, target: str, at: datetime) -> Entry:
        """A new entry for a file whose score ``owner`` has already uploaded."""

    def share(self, entry: Entry, uuid: str, target: str, at: datetime) -> Entry:
        """A person says that the score in doubt is the one that another entry owns by this ``uuid``."""

    def resolve(self, entry: Entry, resolution: str, at: datetime) -> None:
        """Note what a person decided of an entry in doubt; the next pass carries it out. For use beside the process
        that owns the ledger. Raises LedgerError when the entry is no longer in doubt."""

    def fail(
        self, subject: Draft | Entry, state: State, code: Code, status: int | None, target: str, at: datetime
    ) -> Entry:
        """A file for failed/: REJECTED, REFUSED or GAVE_UP."""

    def withdraw(self, entry: Entry, at: datetime) -> None:
        """Its file is gone and its score is not at the API: nothing is left to do."""

    def rebind(self, entry: Entry, sha256: str, signature: Signature) -> Entry:
        """The same score in other bytes."""

    def detach(self, entry: Entry, at: datetime) -> Entry:
        """The file of that name now says something else: this entry goes on without it."""

    def retarget(self, entry: Entry, target: str) -> Entry:
        """The reserved name turned out to be taken."""

    def twins_checked(self, entry: Entry, *, possible_duplicate: bool) -> Entry:
        """The look after a second sending is done (``resent`` ends with it)."""

    def filed(self, entry: Entry, at: datetime) -> None:
        """Step 6. Not durable by itself: filing may be repeated."""

    def expired(self, route_id: str, where: Filed, before: datetime, after: Entry | None, most: int) -> Sequence[Entry]:
        """Entries filed in ``where`` before a time, the oldest first (from behind ``after`` on), that ``let_go`` has
        not been told of."""

    def let_go(self, removed: Mapping[str, str], kept: Mapping[str, str], at: datetime) -> None:
        """The entries (by id, with a detail) whose files retention has removed, and those whose files it never will."""

    def sends_alike(self, entry: Entry) -> bool:
        """Whether another entry with the same near key is being sent: the API may have a score that nobody owns yet."""

    def owned_uuids(self, uuids: Collection[str], besides: Entry) -> frozenset[str]:
        """Those of ``uuids`` that belong to entries other than ``besides``."""

    def counts(self, route_id: str, since: datetime | None = None) -> Counts:
        """How many entries stand where; of those that are filed, only the ones filed ``since`` then."""

    def failures(self, route_id: str) -> Mapping[str, str]:
        """The codes of all files that failed, by their names in failed/; those that came first stand first."""

    def owner(self, fingerprint: str) -> Entry | None:
        """The entry that sends, or has sent, the score of this fingerprint; None when none does."""

    def check_sound(self) -> None:
        """Raise LedgerError if the database turned out to be damaged since it was opened."""

    def bookmark(self) -> str:
        """Which ledger this is, and how far it has come: to be kept outside of it."""

    def has_reached(self, bookmark: str) -> bool:
        """Whether this is the ledger of ``bookmark``, and no older than it was then."""

    def bind(self, endpoint: str) -> None:
        """Say which API the ledger is about, once and for all. Raises SetupError when it is another one."""

    def set_copy_aside(self, at: datetime) -> None:
        """Before a recovery: keep a copy of the ledger as it is, and become another one as far as bookmarks tell. It
        turned out to be older than one of them, and may be older than others, which its coming commits would hide."""

    def take_in(self, pasts: Sequence[Past], at: datetime) -> None:
        """Enter what sidecars say. An entry whose end is known already stays as it is; one that the ledger knows
        only from before its end, or that stands in the way of a later one, gives way. May be repeated."""

    def suspect(self, route_id: str, waiting: Mapping[str, str | None], at: datetime) -> None:
        """Perhaps a ledger that is lost knew more: the route's undecided entries are in doubt from now on, and so
        will be, once, the entries of the files that are ``waiting`` (name: fingerprint, None for no score), and any
        entry of such a fingerprint until then. May be repeated."""

    def flush(self) -> None:
        """Commit what rides on the next commit, and what is not settled, when there may not be one soon."""

    def close(self) -> None:
        """Let go of the database."""
