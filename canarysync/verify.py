"""Are the sidecars in done/ and failed/ still true? Each against its file, the ledger and, if wanted, the API."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from itertools import islice
from pathlib import Path
from typing import Any

from canarysync import sidecar, tree
from canarysync.answers import Deferred, HoldApi
from canarysync.calls import Absent, Calls, NoToken, Unanswerable, Unreadable
from canarysync.candidates import ERROR_SUFFIX, RECEIPT_SUFFIX
from canarysync.config import Config, Route
from canarysync.durable import is_there, sync_folder
from canarysync.errors import Exit, IoTrouble
from canarysync.filing import FILE_MOST_BYTES, SIDECAR_MOST_BYTES
from canarysync.folder import absence
from canarysync.instant import for_programs
from canarysync.ledger import DONE, Entry, Past
from canarysync.ledger_sqlite import Access, SqliteLedger
from canarysync.model import Kind
from canarysync.readback import RemoteScore
from canarysync.reading import Content, NotRead, read
from canarysync.state import opened

FINDINGS_MOST = 50
"""So many findings of a route are kept to be shown; all are counted, and in the audit file."""

_AT_ONCE = 8
"""So many sidecars are looked at at once, unless the configuration has a number of its own."""

_PAUSES_S = (1.0, 2.0, 4.0, 8.0)
_PAUSE_MOST_S = 300.0


class Verdict(StrEnum):
    """What one sidecar, or one file without one, comes to."""

    FINE = "fine"
    MISSING = "missing"
    ALTERED = "altered"
    NO_SIDECAR = "no_sidecar"
    NOT_OURS = "not_ours"
    UNKNOWN = "unknown"
    NOT_AT_API = "not_at_api"
    ALTERED_AT_API = "altered_at_api"
    NOT_SEEN = "not_seen"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sidecar, looked at. ``folder`` is ``done`` or ``failed``, ``file`` the name of the file there, perhaps with
    its dated folder."""

    at: datetime
    route: str
    folder: str
    file: str
    verdict: Verdict
    sha256: str | None = None
    uuid: str | None = None

    def as_json(self) -> dict[str, Any]:
        """For programs; also a line of the audit file."""
        return {
            "at": for_programs(self.at), "route": self.route, "folder": self.folder, "file": self.file,
            "sha256": self.sha256, "uuid": self.uuid, "verdict": str(self.verdict),
        }  # fmt: skip


@dataclass(slots=True)
class Tally:
    """What a route comes to. ``findings``: the first that are not fine. ``trouble``: why it could not be looked at."""

    route: str
    folder: Path
    counts: Counter[Verdict] = field(default_factory=Counter)
    findings: list[Finding] = field(default_factory=list)
    trouble: str = ""

    def add(self, finding: Finding) -> None:
        self.counts[finding.verdict] += 1
        if finding.verdict not in _NO_TROUBLE and len(self.findings) < FINDINGS_MOST:
            self.findings.append(finding)

    @property
    def bad(self) -> int:
        """How many are neither fine nor gone."""
        return self.counts.total() - sum(self.counts[verdict] for verdict in _NO_TROUBLE)

    @property
    def all_gone(self) -> bool:
        """That may be an archive's work, or a folder that is not mounted."""
        return self.counts[Verdict.GONE] > 0 and not self.counts[Verdict.FINE]


_NO_TROUBLE = (Verdict.FINE, Verdict.GONE)


def exit_code(tallies: Sequence[Tally]) -> Exit:
    """75 where something could not be looked at now, else 1 where something is not as it should be, else 0."""
    if any(tally.trouble or tally.counts[Verdict.NOT_SEEN] for tally in tallies):
        return Exit.TRY_AGAIN
    return Exit.NEEDS_A_PERSON if any(tally.bad or tally.all_gone for tally in tallies) else Exit.OK


@dataclass(frozen=True, slots=True)
class Means:
    """What a verification works with. ``calls``: None to leave the API alone. ``tick`` is called for each finding.

    ``pause`` waits for so many seconds.
    """

    calls: Calls | None = None
    tick: Callable[[], None] = lambda: None
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    pause: Callable[[float], None] = time.sleep


def sidecars(routes: Sequence[Route]) -> int | None:
    """How many there are to look at; None where a folder cannot be listed now, as ``verify`` will tell."""
    try:
        return sum(name.endswith(suffix) for route in routes for _, suffix, name in _all_names(route))
    except OSError:
        return None


def verify(config: Config, routes: Sequence[Route], audit: Path | None, means: Means) -> list[Tally]:
    """Look at everything that was filed of these routes, in bounded memory. ``audit`` gets a line of JSON for
    each sidecar, or is left as it was when this does not come to its end.

    Raises IoTrouble when the API cannot be asked now, or the audit file not be written.
    """
    with ExitStack() as stack:
        ledger = stack.enter_context(opened(config.state, Access.READER))
        write = stack.enter_context(_audit(audit)) if audit else lambda finding: None
        tallies = []
        for route in routes:
            tally = Tally(route.name, route.done.parent)
            tallies.append(tally)
            for finding in _findings(_Verifier(route, config, ledger, means), tally):
                tally.add(finding)
                write(finding)
                means.tick()
        return tallies


def _findings(verifier: _Verifier, tally: Tally) -> Iterator[Finding]:
    """A route's findings. Why they are not all, or not to be believed, is the tally's trouble; what goes wrong with
    them elsewhere is not."""
    try:
        yield from verifier.findings()
        tally.trouble = verifier.absence()
    except OSError as error:
        tally.trouble = f"cannot list {error.filename or tally.folder}: {error.strerror}"


@contextmanager
def _audit(path: Path) -> Iterator[Callable[[Finding], None]]:
    """The file at ``path``, in whose place another one comes once it is complete, and on disk."""
    passing = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with passing.open("xb") as file:
            yield lambda finding: _write(file.write, finding)
            file.flush()
            os.fsync(file.fileno())
        passing.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        cause, hint = error.strerror or type(error).__name__, "make room, or name another file with --audit"
        raise IoTrouble("write the audit file", str(path), cause, hint) from error
    finally:
        passing.unlink(missing_ok=True)


def _write(write: Callable[[bytes], object], finding: Finding) -> None:
    write(json.dumps(finding.as_json()).encode() + b"\n")


def _all_names(route: Route) -> Iterator[tuple[Path, str, str]]:
    """Of what may be a file of ours, or a sidecar: its folder, the suffix of sidecars there, and its name, perhaps with
    the dated folder before it."""
    for name in tree.names(route.done, deep=True):
        # Where files do not go into folders, those are people's own; but for the receipts, which are from before.
        if not _hidden(name) and (route.dated or "/" not in name or name.endswith(RECEIPT_SUFFIX)):
            yield route.done, RECEIPT_SUFFIX, name
    failed = tree.names(route.failed, deep=False)
    yield from ((route.failed, ERROR_SUFFIX, name) for name in failed if not _hidden(name))


def _hidden(name: str) -> bool:
    return name.rpartition("/")[2].startswith(".")


class _Verifier:
    """One route. What it says of a file is asked of the ledger last, since a daemon may be at work beside it."""

    def __init__(self, route: Route, config: Config, ledger: SqliteLedger | None, means: Means) -> None:
        self._route = route
        self._config = config
        self._ledger = ledger
        self._route_id = ledger.route_id(route.name) if ledger else None
        self._means = means

    def absence(self) -> str:
        """Why the route's folders are not to be believed; empty when they are."""
        return absence(self._route.drop, self._route_id) if self._route_id else ""

    def findings(self) -> Iterator[Finding]:
        """All of them, in no order: several files at a time. Raises OSError for a folder that cannot be listed."""
        most = self._config.api.concurrency or _AT_ONCE
        names = _all_names(self._route)
        with ThreadPoolExecutor(most) as pool:
            while part := list(islice(names, 16 * most)):
                yield from filter(None, pool.map(lambda each: self._looked_at(*each), part))
        yield from self._gone()

    def _looked_at(self, folder: Path, suffix: str, name: str) -> Finding | None:
        """What one name comes to. It may be this one alone that the disk does not give out."""
        try:
            return self._look(folder, suffix, name)
        except OSError:
            return self._finding(folder, name.removesuffix(suffix), Verdict.NOT_SEEN, None)

    def _look(self, folder: Path, suffix: str, name: str) -> Finding | None:
        """A sidecar with its file; or a file, if it has none. None for what is told of elsewhere, or has left."""
        if name.endswith(suffix):
            return self._sidecar(folder, suffix, name.removesuffix(suffix))
        if is_there(folder / f"{name}{suffix}") or not is_there(folder / name):
            return None
        return self._finding(folder, name, Verdict.NO_SIDECAR, None)

    def _sidecar(self, folder: Path, suffix: str, file: str) -> Finding | None:
        content = read(folder / f"{file}{suffix}", SIDECAR_MOST_BYTES)
        if isinstance(content, NotRead):
            verdict = Verdict.NOT_SEEN if _not_now(content) else Verdict.NOT_OURS
            return None if content.kind is Kind.MISSING else self._finding(folder, file, verdict, None)
        past = sidecar.past(content.data, file, self._route_id or "", self._config.api.url)
        if past is None:
            return self._finding(folder, file, Verdict.NOT_OURS, None)
        verdict = _against_file(folder / file, past)
        if verdict is Verdict.MISSING and folder == self._route.failed:
            return None  # somebody took it to mend it: the sidecar will go by itself
        entry = self._ledger.history.entry(past.entry_id) if self._ledger else None
        if verdict is not Verdict.FINE and entry is not None and (entry.removed or entry.filed_at is None):
            # Retention was faster; or it is on its way there.
            return None if entry.removed else self._finding(folder, file, Verdict.NOT_SEEN, past)
        if verdict is Verdict.FINE and self._ledger is not None and not _says_the_same(entry, past):
            verdict = Verdict.UNKNOWN
        if verdict is Verdict.FINE and past.state in DONE and self._means.calls is not None:
            verdict = self._against_api(self._means.calls, past)
        return self._finding(folder, file, verdict, past)

    def _finding(self, folder: Path, file: str, verdict: Verdict, past: Past | None) -> Finding:
        where = "done" if folder == self._route.done else "failed"
        told = (past.sha256, past.uuid) if past else (None, None)
        return Finding(self._means.now(), self._route.name, where, file, verdict, *told)

    def _gone(self) -> Iterator[Finding]:
        """What the ledger has as done and the folder has not: archived, perhaps."""
        if self._ledger is None or self._route_id is None:
            return
        for entry in self._ledger.history.filed(self._route_id):
            file = entry.target or entry.name
            names = (file, f"{file}{RECEIPT_SUFFIX}")
            if entry.state not in DONE or any(is_there(self._route.done / name) for name in names):
                continue
            now = self._ledger.history.entry(entry.id)
            if now is not None and not now.removed:
                hashes = (entry.sha256, entry.uuid)
                yield Finding(self._means.now(), self._route.name, "done", file, Verdict.GONE, *hashes)

    def _against_api(self, calls: Calls, past: Past) -> Verdict:
        """What GET score says. Raises IoTrouble when the API cannot be used at all."""
        for pause_s in _PAUSES_S:
            found = _asked(calls, past)
            if isinstance(found, Verdict | HoldApi):
                break
            asked_s = found.retry_after_s if isinstance(found, Deferred) else None
            self._means.pause(min(asked_s or pause_s, _PAUSE_MOST_S))
        else:
            found = _asked(calls, past)
        if isinstance(found, Verdict):
            return found
        if isinstance(found, Deferred) and not found.everyone:
            return Verdict.NOT_SEEN  # it is this one that it cannot tell of
        raise IoTrouble("ask the API", self._config.api.url, found.reason, "try again; canarysync check tells more")


def _asked(calls: Calls, past: Past) -> Verdict | NoToken:
    assert past.uuid is not None
    assert past.assessment_id is not None
    found = calls.score(past.uuid, past.assessment_id)
    if isinstance(found, Absent):
        return Verdict.NOT_AT_API
    if isinstance(found, Unreadable | Unanswerable):
        return Verdict.NOT_SEEN
    if isinstance(found, RemoteScore):
        same = past.identity is not None and found.match_key == past.identity.match_key
        return Verdict.FINE if same and found.uuid == past.uuid else Verdict.ALTERED_AT_API
    return found


def _not_now(found: NotRead) -> bool:
    return found.changing or found.kind is Kind.UNREADABLE


def _against_file(path: Path, past: Past) -> Verdict:
    if past.missing:
        return Verdict.FINE
    content = read(path, FILE_MOST_BYTES)
    if isinstance(content, Content):
        return Verdict.FINE if past.sha256 in (None, content.sha256) else Verdict.ALTERED
    if _not_now(content):
        return Verdict.NOT_SEEN
    if content.kind is Kind.MISSING:
        return Verdict.MISSING
    return Verdict.FINE if past.sha256 is None else Verdict.ALTERED


def _says_the_same(entry: Entry | None, past: Past) -> bool:
    """Whether the ledger knows what a sidecar says."""
    return entry is not None and (entry.sha256, entry.uuid) == (past.sha256, past.uuid)
