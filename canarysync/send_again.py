"""A person wants a score created anew that was uploaded once, and is no longer at the API.

First the old entry gives up its score in the ledger, and keeps its uuid, so that nobody takes that for the new one's.
Then a copy of the file goes into the drop folder, as a new file. The old file stays in done/ with its receipt, which is
still true. What a crash leaves half done, the next call finishes; one call too many sends nothing.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import takewhile
from pathlib import Path

from canarysync import durable, sidecar, tree
from canarysync.candidates import RECEIPT_SUFFIX, Matcher, syntax_of
from canarysync.config import Config, Route
from canarysync.errors import LedgerError
from canarysync.filing import SIDECAR_MOST_BYTES
from canarysync.folder import absence
from canarysync.ledger import Entry, Ledger, Past
from canarysync.ledger_sqlite import Access
from canarysync.model import Document, Score, State
from canarysync.parse import parse
from canarysync.reading import Content, read
from canarysync.requeue import IN_USE, Failed, Fate
from canarysync.state import opened
from canarysync.validate import validate


def send_again(
    config: Config, routes: Sequence[Route], names: Sequence[str], at: datetime, *, dry_run: bool = False
) -> list[Failed]:
    """Have the scores of the files ``names`` in done/ sent again; tell of each file. Raises SetupError, LedgerError."""
    with opened(config.state, Access.BESIDE) as ledger:
        found: list[Failed] = []
        for path in (Path(name.removesuffix(RECEIPT_SUFFIX)) for name in names):
            here = [(route, file) for route in routes for file in _meant(route, path)]
            if ledger is None or not here:
                found.append(Failed("", path.name, Fate.UNKNOWN))
            elif len({route.name for route, _ in here}) > 1:
                found.append(Failed("", path.name, Fate.LEFT, why="several routes have one: name it with --route"))
            elif len(here) > 1:
                why = f"done/ has {len(here)}: name it with its folder, as in {here[0][1]}"
                found.append(Failed(here[0][0].name, path.name, Fate.LEFT, why=why))
            else:
                [(route, file)] = here
                found.append(_Again(route, ledger, config.api.url, file).send(at, dry_run=dry_run))
        return found


def _meant(route: Route, path: Path) -> list[str]:
    """The files in done/, relative to it, that ``path`` may mean: of those of its name, the ones whose folders are most
    like its own."""
    with suppress(OSError):  # what cannot be listed now has none
        places = [route.done / inside / path.name for inside in tree.folders(route.done)]
        alike = {place: _alike(place, path) for place in places if place.is_file()}
        most = max(alike.values(), default=0)
        return sorted(str(place.relative_to(route.done)) for place in alike if alike[place] == most)
    return []


def _alike(one: Path, other: Path) -> int:
    """In how many parts two paths end the same."""
    pairs = zip(reversed(one.parts), reversed(other.parts), strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


class _Again:
    """One file in done/, and what its receipt says of it."""

    def __init__(self, route: Route, ledger: Ledger, endpoint: str, file: str) -> None:
        self._route = route
        self._ledger = ledger
        self._file = file
        self._route_id = ledger.routes().get(route.name, "")
        self._content = read(route.done / file, route.max_size_bytes)
        receipt = read(route.done / f"{file}{RECEIPT_SUFFIX}", SIDECAR_MOST_BYTES)
        data = receipt.data if isinstance(receipt, Content) else b""
        self._past = sidecar.past(data, file, self._route_id, endpoint)

    def send(self, at: datetime, *, dry_run: bool) -> Failed:
        past, content, score = self._past, self._content, self._score()
        if past is None or score is None or not isinstance(content, Content) or content.sha256 != past.sha256:
            return self._told(Fate.LEFT, "it is not the file of a readable receipt")
        owner = self._ledger.owner(score.identity.fingerprint)
        why = next(filter(None, self._obstacles(past, owner)), "")
        if why:
            return self._told(Fate.LEFT, why)
        if not dry_run:
            try:
                if owner is not None:
                    self._ledger.replace(owner, at)
                self._copy(content.data, self._route.drop / past.name)
            except FileExistsError:
                return self._told(Fate.LEFT, IN_USE)
            except LedgerError as error:
                return self._told(Fate.LEFT, error.cause)
            except OSError as error:  # the disk; or a start of canarysync swept away what was only half written
                return self._told(Fate.LEFT, f"drop/ could not be written ({error.strerror}): call again")
        return self._told(Fate.BACK)

    def _score(self) -> Score | None:
        document = parse(self._content.data, syntax_of(self._file)) if isinstance(self._content, Content) else None
        score = validate(document) if isinstance(document, Document) else None
        return score if isinstance(score, Score) else None

    def _obstacles(self, past: Past, owner: Entry | None) -> Iterator[str]:
        """Why it cannot be sent again. Where nobody owns the score, an earlier call got no further than the ledger."""
        yield absence(self._route.drop, self._route_id)
        if owner is not None and owner.id != past.entry_id:
            known = f"in done/ as {owner.target}" if owner.state is State.UPLOADED else "on its way"
            yield f"the file with this score that was sent is another one, {known}"
        if Matcher(self._route.match).skipped(past.name) is not None:
            yield "no pattern of the route matches its name"
        if os.path.lexists(self._route.drop / past.name):
            yield IN_USE

    def _copy(self, data: bytes, target: Path) -> None:
        durable.write_new(target, data, f".canarysync-requeue-{secrets.token_hex(8)}.tmp", 0o660)
        durable.sync_folder(target.parent)

    def _told(self, fate: Fate, why: str = "") -> Failed:
        name = self._past.name if self._past else self._file
        return Failed(self._route.name, self._file, fate, name, why=why)
