"""How ``status`` looks: for people in as few lines as tell it, for programs whole. Values in, text out."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from shlex import quote
from typing import Any

import click

from canarysync.census import Census, OpenFile
from canarysync.display import counted, short, shown, wrapped
from canarysync.encode import members
from canarysync.errors import Exit
from canarysync.instant import for_people
from canarysync.ledger import Hold
from canarysync.quantity import told_s
from canarysync.status import ApiStatus, Process, RouteStatus, Status, exit_code, too_old, trouble

_NAMED_MOST = 5
_NAME_COLUMNS = 48
_LABEL = 12
_ITEM = "    · "
_DO = "    → "
_MEND = "NAME.error.json beside each says all: mend it there, then: canarysync requeue NAME"
_DECIDE = "look at the API: canarysync resolve {} --uploaded UUID if it is there, --send-again if not"
_GOES_ON = "canarysync check tells more; once it is mended, all goes on by itself"


def status_json(status: Status, max_age_s: float | None) -> dict[str, Any]:
    """Everything, for programs."""
    code = exit_code(status, max_age_s)
    routes = [{**members(route), **members(route.files)} for route in status.routes]
    for route in routes:
        del route["files"]
    process = {"running": bool(status.process.holder), **members(status.process)}
    return {"at": status.at, "process": process, "api": status.api, "routes": routes, "exitCode": int(code)}


def status_lines(status: Status, max_age_s: float | None, width: int | None) -> Iterator[str]:
    """For people. ``width`` is that of the terminal, None without one: then nothing is cut or broken."""
    code = exit_code(status, max_age_s)
    page = _Page(status.at, width)
    yield click.style(wrapped(verdict(status, code, max_age_s), "", "  ", width), bold=True, fg=_COLOURS[code])
    yield page.line("", process_words(status.process, status.at), indent=0)
    yield page.line("", _api_words(status.api, status.at), indent=0)
    if status.api.down:
        yield page.do(_GOES_ON)
    for route in status.routes:
        yield ""
        yield from page.route(route)


_COLOURS = {Exit.OK: "green", Exit.NEEDS_A_PERSON: "red", Exit.TRY_AGAIN: "yellow"}


def verdict(status: Status, code: Exit, max_age_s: float | None) -> str:
    """The first line, which is all that some monitoring shows."""
    routes = status.routes
    parts = {
        "held for a person": sum(route.files.held for route in routes),
        "to mend in failed/": sum(route.files.to_mend for route in routes),
        "in doubt": sum(route.files.in_doubt - route.files.held for route in routes),
        "waiting": sum(route.files.waiting for route in routes),
    }
    told = [f"{count:,} {what}" for what, count in parts.items() if count]
    told += ["the API cannot be used"] if status.api.down else []
    told += ["canarysync hangs"] if status.process.silent else []
    if not status.process.holder and not status.process.once:  # a run-once comes again by itself
        told.append("canarysync is not running")
    for route in routes:
        if route.folder and route.files.gone:
            told.append(f"the folder of {shown(route.name)} is not to be had")
        if route.files.obstacle:
            told.append(f"nothing is sent from {shown(route.name)}")
        if trouble(route):
            told.append(f"{shown(route.name)} is not watched")
        if route.hold:
            told.append(f"{shown(route.name)} is on hold")
        if route.overdue:
            told.append(f"{shown(route.name)} was not looked at for too long")
        elif max_age_s is not None and (late := too_old(route, status.at, max_age_s)):
            told.append(f"{shown(route.name)}: {late}")
    word = {
        Exit.OK: "well so far" if told else "all well",
        Exit.NEEDS_A_PERSON: "needs a person",
        Exit.TRY_AGAIN: "not done yet",
    }[code]
    return f"{word}: {', '.join(told)}" if told else word


def process_words(process: Process, now: datetime) -> str:
    """Who is at work here, or was last."""
    since = f", for {_ago(process.since, now)}" if process.since else ""
    if process.holder and not process.fresh:
        return f"canarysync is at work: process {process.pid}{since}; it has told no more of itself yet"
    if process.holder:
        what = "a run-once is at work" if process.once else "canarysync is running"
        silent = f"; it hangs: nothing was heard of it for {_ago(process.heard_at, now)}" if process.silent else ""
        return f"{what}: version {shown(process.version)}, process {process.pid}{since}{silent}"
    if process.heard_at is None:
        return "canarysync is not running"
    last = "the last run-once ended" if process.once else "it was last heard of"
    return f"canarysync is not running; {last} {_ago(process.heard_at, now)} ago"


def _api_words(api: ApiStatus, now: datetime) -> str:
    words = f"API: {shown(api.url)}"
    if api.down:
        words += f" cannot be used for {_ago(api.down_since, now)}: {shown(api.down)}"
        return words + (f"; next try {_until(api.again_at, now)}" if api.again_at else "")
    if api.in_flight:
        words += f"; in flight {api.in_flight} of {api.limit}{' (auto)' if api.auto else ''}"
    return words + (f"; the token will be renewed {_until(api.token_until, now)}" if api.token_until else "")


class _Page:
    """Lines of a width, at a time."""

    def __init__(self, now: datetime, width: int | None) -> None:
        self._now = now
        self._width = width

    def line(self, label: str, words: str, *, indent: int = 2, colour: str | None = None) -> str:
        """``label`` and ``words``; where they take several lines, the others stand below the words."""
        first = " " * indent + (label.ljust(_LABEL) if label else "")
        text = wrapped(words, first, " " * (len(first) or 2), self._width)
        return click.style(text, fg=colour) if colour else text

    def route(self, route: RouteStatus) -> Iterator[str]:
        files = route.files
        yield click.style(shown(route.name), bold=True) + f"  {shown(route.folder) or '(not in the config)'}"
        if files.gone and route.folder:
            yield self.line("", shown(files.gone, 1000), colour="red")
            yield self.do(_GOES_ON)
        if files.obstacle:
            yield self.line("", f"nothing is sent: {shown(files.obstacle, 1000)}", colour="red")
            yield self.do(_GOES_ON)
        if why := trouble(route):
            yield self.line("", f"not watched: {shown(why, 1000)}", colour="red")
            yield self.do(_GOES_ON)
        if route.hold:
            yield from self._hold(route.name, route.hold)
        yield self.line("", _sum(files))
        if files.missing:
            yield self.line("", _missing(files), colour="yellow")
        yield from self._watch(route)
        yield from self._rates(files)
        yield from self._waiting(route)
        yield from self._doubts(route)
        yield from self._mend(files)
        if files.skipped:
            yield self.line("left alone", f"{sum(files.skipped.values())} ({counted(files.skipped)})")

    def _hold(self, route: str, hold: Hold) -> Iterator[str]:
        why = f": {shown(hold.reason)}" if hold.reason else ""
        words = f"on hold since {for_people(hold.at)} by {shown(hold.by)}{why}"
        yield self.line("", words, colour="yellow")
        yield self.do(f"its files stay in drop/ until: canarysync release {shown(route)}")

    def _watch(self, route: RouteStatus) -> Iterator[str]:
        watch = route.watch
        if watch is None:
            return
        how = f"{watch.mode} ({watch.file_system}), a rescan every {told_s(watch.rescan_s)}; " if watch.mode else ""
        when = f"{_ago(watch.scanned_at, self._now)} ago" if watch.scanned_at else "never"
        late = " (too long ago: is a share hanging?)" if route.overdue else ""
        yield self.line("watch", f"{how}last scan {when}{late}", colour="red" if route.overdue else None)

    def _rates(self, files: Census) -> Iterator[str]:
        if not files.done and not files.failed:
            return
        words = f"{files.done_1h:,} done in the last hour, {files.done_24h:,} in 24 h"
        failed = sum(files.failed_24h.values())
        yield self.line("rate", words + (f"; {failed:,} failed in 24 h" if failed else ""))
        if files.withdrawn:
            yield self.line("withdrawn", f"{files.withdrawn:,} taken back before they were sent")

    def _waiting(self, route: RouteStatus) -> Iterator[str]:
        files = route.files
        if files.waiting:
            age = f", the oldest for {_ago(files.oldest_at, self._now)}" if files.oldest_at else ""
            yield self.line("waiting", f"{files.waiting:,}{age}", colour="yellow")
        named = {each.why for each in files.waits[:_NAMED_MOST]}
        for why, count in (route.watch.troubles if route.watch else {}).items():
            if why not in named and not files.obstacle:  # which says it already
                yield self._item(f"{count:,} of them: {shown(why)}")
        yield from self._named(files.waits, files.waiting)
        if files.unfiled:
            yield self.line("not moved", "the outcome is known, but these are still in drop/", colour="yellow")
            yield from self._named(files.unfiled, len(files.unfiled))

    def _doubts(self, route: RouteStatus) -> Iterator[str]:
        files = route.files
        if files.in_doubt:
            many = "" if files.held == files.in_doubt else f"{files.held:,} "
            held = f", {many}held for a person" if files.held else ""
            yield self.line("in doubt", f"{files.in_doubt:,}{held}", colour="yellow")
            yield from self._named(files.doubts, files.in_doubt)
        if files.held:
            held_files = [quote(shown(each.file)) for each in files.doubts if each.held]
            decide = _DECIDE.format(held_files[0] if files.held == len(held_files) == 1 else "NAME")
            yield self.do(decide if route.folder else "put the route back into the config, and start canarysync")

    def _mend(self, files: Census) -> Iterator[str]:
        if files.to_mend:
            words = f"{files.to_mend:,} in failed/ ({counted(files.to_mend_by_code)})"
            yield self.line("to mend", words, colour="yellow")
            yield from self._items([(each.file, shown(each.why, 600)) for each in files.mend[:_NAMED_MOST]])
            yield from self._more(files.to_mend)
            yield self.do(_MEND)
        elif files.failed and not (files.gone or files.obstacle or files.unfiled):
            yield self.line("to mend", "nothing: what failed has left failed/")

    def _named(self, files: Sequence[OpenFile], count: int) -> Iterator[str]:
        yield from self._items([(each.file, self._why(each)) for each in files[:_NAMED_MOST]])
        yield from self._more(count)

    def _why(self, each: OpenFile) -> str:
        again = f"; again {_until(each.again_at, self._now)}" if each.again_at else ""
        tries = f" (attempts: {each.attempts})" if each.attempts > 1 else ""
        # What a person needs to look for it at the API.
        asked = each.assessment_id if each.held else None
        where = f"; assessment {shown(asked)}, {for_people(each.since)}" if asked else ""
        return f"{shown(each.why, 600)}{again}{tries}{where}"

    def _items(self, told: Sequence[tuple[str, str]]) -> Iterator[str]:
        """Names and words; those with the same words in one item."""
        for words, files in groupby(told, lambda each: each[1]):
            yield self._item(f"{', '.join(self._name(file) for file, _ in files)}: {words}")

    def _more(self, count: int) -> Iterator[str]:
        if count > _NAMED_MOST:
            yield self._item(f"… and {count - _NAMED_MOST:,} more (--json tells of twenty)")

    def _item(self, words: str) -> str:
        if self._width is not None:  # a name of another file may be among them
            words = " ".join(short(word, max(self._width - len(_ITEM), 20)) for word in words.split(" "))
        return wrapped(words, _ITEM, " " * len(_ITEM), self._width)

    def do(self, remedy: str) -> str:
        return wrapped(remedy, _DO, " " * len(_DO), self._width)

    def _name(self, name: str) -> str:
        return (
            shown(name, 2000) if self._width is None else short(shown(name, 2000), max(_NAME_COLUMNS, self._width - 70))
        )


def _sum(files: Census) -> str:
    parts = f"{files.waiting:,} waiting + {files.in_doubt:,} in doubt + {files.done:,} done + {files.failed:,} failed"
    return f"seen {files.seen:,} {'≠' if files.missing else '='} {parts}"


def _missing(files: Census) -> str:
    names = ", ".join(shown(name) for name in files.missing[:_NAMED_MOST])
    return f"in none of these places: {names}. Taken out of drop/? canarysync finds out at its next scan"


def _ago(then: datetime | None, now: datetime) -> str:
    return told_s((now - then).total_seconds()) if then else "?"


def _until(then: datetime | None, now: datetime) -> str:
    left_s = (then - now).total_seconds() if then else 0.0
    return f"in {told_s(left_s)}" if left_s > 0.05 else "now"
