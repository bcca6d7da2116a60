"""A ledger and folders that have come apart.

A ledger that was lost, or is older than its folder: what the sidecars say is taken back in, and every file that waits
is in doubt, once. That costs read-backs, and no score is created twice. And entries whose route has left the config.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Iterator
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path

from canarysync import sidecar, tree
from canarysync.candidates import ERROR_SUFFIX, RECEIPT_SUFFIX, Matcher, syntax_of
from canarysync.config import Route
from canarysync.discover import Scan
from canarysync.durable import is_there
from canarysync.errors import IoTrouble, UuidOwned
from canarysync.filing import SIDECAR_MOST_BYTES, sweep_temporaries
from canarysync.ledger import Entry, Ledger, Past
from canarysync.logs import event
from canarysync.model import SEND_AGAIN, Document, Held, Kind, Proof, Score, State
from canarysync.outcomes import HELD
from canarysync.parse import parse
from canarysync.reading import Content, NotRead, read
from canarysync.validate import validate
from canarysync.workers import sign_of_life

_log = logging.getLogger(__name__)

LOST = (
    "the ledger did not know what the folder knows: sidecars are taken back in, and what waits is looked for "
    "at the API before it is sent"
)

_BATCH = 500


def recover(route: Route, route_id: str, ledger: Ledger, at: datetime, endpoint: str, *, new: bool) -> None:
    """Bring the ledger up to what the route's folders say. May be repeated, and has to be if it did not end.

    Receipts of another API than that at ``endpoint`` count for nothing.

    ``new``: nobody has worked on the folder before, as far as its marker tells. If there are no receipts either, its
    files are simply new. Raises OSError, LedgerError; IoTrouble for a sidecar that cannot be read now.
    """
    taken = 0
    sweep_temporaries(route.done)  # the ledger cannot tell of which there may be some
    pasts = _pasts(route, route_id, endpoint)
    while batch := list(islice(pasts, _BATCH)):
        ledger.take_in(batch, at)
        taken += len(batch)
    if new and not taken:
        return
    for inside in tree.folders(route.done):  # in which of them a crash came, nothing tells any more
        sweep_temporaries(route.done / inside)
    ledger.suspect(route_id, {}, at)
    waiting, names = 0, iter(Scan(route.drop, Matcher(route.match)))
    while suspects := list(islice(names, _BATCH)):
        ledger.suspect(route_id, {name: _fingerprint(route, name) for name in suspects}, at)
        waiting += len(suspects)
    event(_log, logging.WARNING, LOST, route=route.name, sidecars=taken, waiting=waiting)


def _fingerprint(route: Route, name: str) -> str | None:
    """Of the score that a waiting file holds now; None where it holds none, or cannot be read."""
    sign_of_life()
    content = read(route.drop / name, route.max_size_bytes)
    document = parse(content.data, syntax_of(name)) if isinstance(content, Content) else None
    score = validate(document) if isinstance(document, Document) else None
    return score.identity.fingerprint if isinstance(score, Score) else None


def _pasts(route: Route, route_id: str, endpoint: str) -> Iterator[Past]:
    """What the sidecars in done/ and failed/ say. A sidecar that is none of ours is passed over."""
    for folder, suffix in ((route.done, RECEIPT_SUFFIX), (route.failed, ERROR_SUFFIX)):
        if not folder.is_dir():
            raise IoTrouble("take sidecars back into the ledger", str(folder), "it is not there", "is it mounted?")
        found = tree.names(folder, deep=folder == route.done)
        for name in (name for name in found if name.endswith(suffix)):
            sign_of_life()
            past = sidecar.past(_bytes_of(folder / name), name.removesuffix(suffix), route_id, endpoint)
            placed = past and _placed(route, folder, past)
            if placed:
                yield placed


def _bytes_of(path: Path) -> bytes:
    content = read(path, SIDECAR_MOST_BYTES)
    if isinstance(content, NotRead) and content.kind is Kind.UNREADABLE:
        raise IoTrouble(
            "take a sidecar back into the ledger", str(path), "it cannot be read now", "mend it, or move it elsewhere"
        )
    return content.data if isinstance(content, Content) else b""


def _placed(route: Route, folder: Path, past: Past) -> Past | None:
    """``past`` with the signature of its file where that is still in drop/: a crash came in the middle of the move.
    None for an error whose file is not in failed/: someone took it to mend it, or it never got there."""
    filed, waiting = folder / past.target, route.drop / past.name
    there = is_there(filed)
    if folder == route.failed and not there:
        return None
    if is_there(waiting) and (not there or os.path.samestat(os.lstat(filed), os.lstat(waiting))):
        content = read(waiting, route.max_size_bytes)
        if isinstance(content, Content) and content.sha256 == past.sha256:
            return replace(past, signature=content.signature)
    return past


def part_with_orphans(ledger: Ledger, configured: Collection[str], at: datetime) -> Iterator[None]:
    """Nobody looks after the entries of a route that is not ``configured`` any more. What was never sent lets go of its
    score; what is in doubt is for a person, and with it every file that says the same. Yields after each entry, a
    transaction of its own. Raises LedgerError: what is left is for the next call."""
    for name, route_id in ledger.routes().items():
        entries = ledger.open_entries(route_id) if name not in configured else ()
        for entry in entries:
            _part_with(ledger, entry, at)
            yield
        if entries:
            message = "the ledger has unfinished files of a route that is not in the config: put it back"
            event(_log, logging.WARNING, message, route=name, files=len(entries))


def _part_with(ledger: Ledger, entry: Entry, at: datetime) -> None:
    if entry.state is State.DEFERRED or entry.resolution == SEND_AGAIN:  # a person says that it is not at the API
        ledger.withdraw(entry, at)
    elif entry.resolution is not None:
        _believe(ledger, entry, entry.resolution, at)
    elif entry.state in (State.INTENDED, State.IN_DOUBT) and entry.held is None:
        ledger.doubt(entry, HELD[Held.ORPHANED], at, at, status=entry.status, held=Held.ORPHANED)


def _believe(ledger: Ledger, entry: Entry, uuid: str, at: datetime) -> None:
    """A person says that it is at the API: so files that say the same wait no longer. It is filed if its route ever
    comes back."""
    try:
        ledger.upload(entry, uuid, Proof.PERSON, entry.name, at)
    except UuidOwned:
        ledger.share(entry, uuid, entry.name, at)
