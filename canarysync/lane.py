"""One route at work: its folder, watch, scans, and the visits to its files. All that may block is called in workers."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from canarysync import filing, moving, reading
from canarysync.candidates import ERROR_SUFFIX, Matcher
from canarysync.config import Route
from canarysync.crew import Crew
from canarysync.discover import Hints, Scan, Watch
from canarysync.errors import CanarysyncError, LedgerError, from_os, told
from canarysync.folder import GONE, Claims, FolderGone, absence, route_id_in, take
from canarysync.instant import for_programs
from canarysync.ledger import DECIDED, DONE, Entry, Hold
from canarysync.lock import Lock
from canarysync.logs import event, where
from canarysync.model import Observation
from canarysync.mounts import mount_at
from canarysync.outcomes import FOLDER_GONE_WAIT_S, Tools
from canarysync.passes import ON_DISK, Pass
from canarysync.pipeline import Pipeline
from canarysync.recovery import recover
from canarysync.retention import Retention
from canarysync.settle import Wait, quiet_period_s, settle, unchanged_since
from canarysync.step import Outcome, Step
from canarysync.workers import Task

_log = logging.getLogger(__name__)

CHUNK = 256
"""So many names are taken from a scan at a time."""

NETWORK_RESCAN_S = 5.0
"""A network mount sends no events for what other machines do: it is scanned so often instead."""

_LEDGER_WAIT_S = 5.0
_TROUBLE_WAIT_S = 30.0
_DEFECT_WAIT_S = 300.0


class Key(NamedTuple):
    """What a visit is for: a name in the drop folder, or an entry that goes on without its file."""

    name: str
    entry_id: str | None = None


class Visit(NamedTuple):
    """A visit that ended: what came of it, and since when the file has been as it is."""

    step: Step
    since: Observation | None


@dataclass(slots=True)
class Chunk:
    """A part of a scan: names in the folder, and ``keys`` of what the ledger holds open.

    ``resolved`` are those of them that a person has decided on. ``gone``: the folder is not there (any more), which
    is not the same as empty. ``trouble``: it is not to be had for another reason, and ``hint`` what to do about that.
    """

    names: list[str] = field(default_factory=list)
    keys: list[Key] = field(default_factory=list)
    resolved: list[Key] = field(default_factory=list)
    finished: bool = False
    gone: bool = False
    trouble: str = ""
    hint: str = ""


class Lane:
    """A route with its lock, watch and pipeline. Opened again whenever its folder comes back."""

    def __init__(
        self,
        route: Route,
        tools: Tools,
        hint: Callable[[Hints], None],
        lend: Callable[[Callable[[], None]], None],
        *,
        watching: bool,
        claims: Claims | None = None,
    ) -> None:
        """``hint`` is told of candidates that something happened to; ``lend`` lets a worker do something;
        ``claims`` are those of all routes together."""
        self.route = route
        self.skipped: dict[str, int] = {}
        self.hold: Hold | None = None
        self.mode = ""
        self.file_system = ""
        self.quiet_s = route.settle_s
        self.rescan_s = route.rescan_s
        self._drop = str(route.drop)
        self._tools = tools
        self._hint = hint
        self._watching = watching
        self._claims = claims or Claims()
        self._matcher = Matcher(route.match)
        self._lock: Lock | None = None
        self._route_id = ""
        self._watch: Watch | None = None
        self._pipeline: Pipeline | None = None
        self._retention: Retention | None = None
        self._crew = Crew(tools.ledger.gather, lend)
        self._scan: tuple[Scan, Iterator[str]] | None = None
        self._swept = False
        self._network = False

    # --- the folder ----------------------------------------------------------------------------------

    def open(self) -> str:
        """Take the folder, arm the watch. Returns why that cannot be done now, nothing once it is. Raises
        CanarysyncError."""
        try:
            return self._open()
        except OSError as error:
            raise from_os("open the route", str(self.route.drop), error) from None

    def _open(self) -> str:
        try:
            self._claims.enter(self.route)  # before the lock, which would only say that we hold it
            lock = take(self.route, self._tools.ledger.route_id(self.route.name))
            self._lock, self._route_id = lock, route_id_in(lock.first_line())
            self._claims.enter(self.route)  # with those just made
            self._recognise(lock)
            self._prepare(lock)
        except FolderGone as gone:
            self.close()
            return str(gone)
        except BaseException:
            self.close()
            raise
        return ""

    def _recognise(self, lock: Lock) -> None:
        """Is this the ledger that the folder was last worked on with? If not, or if it is older than it was then, it
        does not know all that was sent."""
        ledger, route_id, now = self._tools.ledger, self._route_id, self._tools.now()
        known = route_id in ledger.routes().values()
        complete = known and ledger.has_reached(lock.note or "")
        new = lock.note is None
        if not complete and lock.note:
            if known:
                ledger.set_copy_aside(now)
            lock.leave_note("")  # until the recovery has ended, no ledger will do
        if ledger.route_id(self.route.name) != route_id:
            ledger.register_route(self.route.name, route_id)
        if complete:
            return
        recover(self.route, route_id, ledger, now, self._tools.endpoint, new=new)
        lock.leave_note(ledger.bookmark())

    def _prepare(self, lock: Lock) -> None:
        """Clear up after a crash, and arm the watch. Nothing is filed meanwhile: visits need the pipeline, which
        comes last, and those that began before the folder went hold a lock that is no longer its."""
        unfiled = self._open_entries()
        decided = [entry for entry in unfiled if entry.state in DECIDED]
        for folder in (self.route.done, self.route.failed, *self._filed_into(decided)):
            filing.drop_temporaries(folder, (entry.id for entry in decided))
        moving.put_all_back(self.route.drop, {entry.name for entry in decided})
        filing.sweep_temporaries(self.route.failed)
        filing.sweep_stale_errors(self.route.failed, ERROR_SUFFIX, {entry.id for entry in unfiled})
        self._arm()
        tools = self._tools
        self._retention = Retention(self.route, self._route_id, tools.ledger, tools.now, tools.endpoint)
        self._pipeline = Pipeline(self.route, self._route_id, lock.same_file, self._tools)

    def _arm(self) -> None:
        """The watch is armed before the first scan, so that nothing falls between the two."""
        mount = mount_at(self.route.drop)
        self._network = mount.network
        self.file_system = mount.fs_type
        self.quiet_s = quiet_period_s(self.route.settle_s, mount.network)
        if not self._watching:
            return
        self.mode = "polling" if mount.network else "events"
        if not mount.network:
            try:
                self._watch = Watch(self.route.drop, self._heard)
            except OSError:
                self.mode = "polling"
        self.rescan_s = min(self.route.rescan_s, NETWORK_RESCAN_S) if self.mode == "polling" else self.route.rescan_s
        event(
            _log, logging.INFO, "watching", route=self.route.name, folder=self.route.drop, mode=self.mode,
            file_system=mount.fs_type, settle_s=self.quiet_s, rescan_s=self.rescan_s,
        )  # fmt: skip

    def _filed_into(self, unfiled: Sequence[Entry]) -> set[Path]:
        """The dated folders that a crash may have come in the middle of a move to."""
        targets = (self.route.done / entry.target for entry in unfiled if entry.state in DONE and entry.target)
        return {target.parent for target in targets} - {self.route.done}

    def _open_entries(self) -> Sequence[Entry]:
        return self._tools.ledger.open_entries(self._route_id)

    def wants(self, name: str) -> bool:
        """Whether a hinted name is a candidate at all."""
        return self._matcher.skipped(name) is None

    def _heard(self, hints: Hints) -> None:
        """The watch has news. Called in its thread."""
        names = [name for name in hints.names if self.wants(name)]
        if names or hints.overflowed:
            self._hint(Hints(names, hints.overflowed))

    def present(self) -> bool:
        """Whether the folder that we locked is still the one at its path."""
        return self._lock is not None and self._lock.same_file()

    def _leave_bookmark(self) -> None:
        """Note in the folder how far the ledger has come, so that an older one will be recognised as such."""
        with suppress(OSError, LedgerError):  # the next scan notes it
            if self._lock is not None and self._pipeline is not None:
                self._lock.leave_note(self._tools.ledger.bookmark())

    def close(self) -> None:
        """Disarm, and let go of the folder."""
        if self._watch is not None:
            self._watch.stop()
        if self._lock is not None:
            self._leave_bookmark()
            self._lock.release()
        self._claims.leave(self.route)
        self._watch = self._lock = self._scan = self._pipeline = None
        self._swept = False

    def leave(self) -> None:
        """Close for good: another route may have the folder now."""
        self.close()
        self._tools.ledger.forget_route(self.route.name)

    # --- in workers ----------------------------------------------------------------------------------

    def knock(self) -> None:
        """Ask the route's folders for anything at all, and return as soon as they have answered, be it with an error.
        It takes no lock of ours: where visits hang and this does not, it is not the file system that hangs."""
        for folder in (self.route.drop, self.route.done, self.route.failed):
            with suppress(OSError), os.scandir(folder) as entries:
                next(entries, None)

    def scan_on(self) -> Chunk:
        """The next names of the scan under way, or of a new one. Opens the folder again if it was gone.

        Nothing that goes wrong in it goes any further; the next scan tries again.
        """
        hint = ""
        try:
            return self._scan_on()
        except (FileNotFoundError, NotADirectoryError):
            trouble = GONE
        except OSError as error:
            trouble = f"cannot list the folder: {error.strerror}"
        except CanarysyncError as error:
            trouble, hint = told(error), error.hint
        except Exception as error:
            trouble = f"a defect: {where(error)}"
        self._scan = None
        return Chunk(gone=True, trouble=trouble, hint=hint)

    def _scan_on(self) -> Chunk:
        if self._lock is None and (gone := self.open()):
            return Chunk(gone=True, trouble=gone)
        if not self.present():
            self.close()
            return Chunk(gone=True, trouble=absence(self.route.drop, self._route_id) or GONE)
        if self._watch is not None and not self._watch.alive():
            self._watch.stop()
            self._watch = None  # it may be that there is no other to be had
            self._arm()
        entries: Sequence[Entry] = ()
        if self._scan is None:
            self._look_for_hold()
            # What is not filed yet is to be visited, whether the folder has such a name or not.
            scan, entries = Scan(self.route.drop, self._matcher), self._open_entries()
            self._scan = (scan, iter(scan))
        scan, names = self._scan
        found = list(islice(names, CHUNK))
        chunk = (
            Chunk() if self.hold else Chunk(found, resolved=[_key_of(entry) for entry in entries if entry.resolution])
        )
        # On hold, only what is decided goes on: to its place.
        chunk.keys = [_key_of(entry) for entry in entries if entry.state in DECIDED or not self.hold]
        if len(found) < CHUNK:
            chunk.finished, self._scan = True, None
            self.skipped = dict(scan.skipped)
            if not self._swept:  # only now: a million files that wait are not to wait for that
                filing.sweep_temporaries(self.route.drop)
                self._swept = True
            self._leave_bookmark()
            if self._retention is not None and self.hold is None:  # nothing vanishes that a person may look into
                self._retention.turn()
        return chunk

    def _look_for_hold(self) -> None:
        """Say once that a person has stopped the route, and once that it goes on."""
        hold = self._tools.ledger.hold_on(self._route_id)
        if hold is not None and hold != self.hold:
            event(
                _log, logging.WARNING, "the route is on hold: its files stay in drop/", route=self.route.name,
                since=for_programs(hold.at), by=hold.by, why=hold.reason,
            )  # fmt: skip
        elif hold is None and self.hold is not None:
            event(_log, logging.WARNING, "the route is released, and goes on", route=self.route.name)
        self.hold = hold

    def visit(self, key: Key, since: Observation | None, may_send: bool, done: Callable[[Visit], None]) -> Task:
        """Begin a pass for ``key``; ``done`` is called with what came of it, in a worker."""
        return self._crew.begin(self._guarded(key, since, may_send), done)

    def look_after_visits(self) -> None:
        """Let those go on that wait for others that hang."""
        self._crew.look_after()

    def _guarded(self, key: Key, since: Observation | None, may_send: bool) -> Pass[Visit]:
        """Nothing that goes wrong in it goes any further."""
        try:
            visit = yield from self._visit(key, since, may_send)
            yield ON_DISK
            return visit
        except LedgerError as error:
            return Visit(Step(Outcome.DEFERRED, told(error), _LEDGER_WAIT_S, trouble=True), since)
        except OSError as error:
            reason = error.strerror or type(error).__name__
            return Visit(Step(Outcome.DEFERRED, reason, _TROUBLE_WAIT_S, trouble=True), since)
        except Exception as error:
            return Visit(Step(Outcome.DEFERRED, f"a defect: {where(error)}", _DEFECT_WAIT_S, trouble=True), since)

    def _visit(self, key: Key, since: Observation | None, may_send: bool) -> Pass[Visit]:
        pipeline = self._pipeline
        if pipeline is None or not self.present():
            return Visit(Step(Outcome.UNSETTLED, "the drop folder is gone", FOLDER_GONE_WAIT_S), since)
        if key.entry_id is not None:
            return Visit((yield from pipeline.resume(key.entry_id, may_send=may_send)), None)
        now_s = time.monotonic()
        looked = reading.look(f"{self._drop}/{key.name}", by_open=self._network)
        since = unchanged_since(since, Observation(key.name, looked[0], now_s, looked[1]))
        state = settle(since, now_s, self.quiet_s)
        waiting = isinstance(state, Wait)
        step = yield from pipeline.process(key.name, settled=not waiting, may_send=may_send, looked=looked)
        if step.outcome is Outcome.UNSETTLED:
            until_s = state.until_s if isinstance(state, Wait) else now_s + self.quiet_s
            step = Step(Outcome.UNSETTLED, "until it is quiet", max(until_s - time.monotonic(), 0.0))
        return Visit(step, since)


def _key_of(entry: Entry) -> Key:
    return Key(entry.name, entry.id if entry.detached else None)
