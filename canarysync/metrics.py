"""What a run counts and measures, for Prometheus; and whether it is alive. The sole user of ``prometheus_client``."""

from __future__ import annotations

import platform
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

from canarysync import __version__
from canarysync.answers import Answer, Reply
from canarysync.health import Vitals, ailments, remarks
from canarysync.listener import Page, serving
from canarysync.model import Code
from canarysync.report import Event
from canarysync.step import FINAL, Outcome
from canarysync.tracks import Waiting

_KIND = "text/plain; version=0.0.4; charset=utf-8"

PATIENCE_S = 5.0
"""So long the loop may take to answer."""

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86400
_DONE_S = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, _MINUTE_S, 5 * _MINUTE_S, 30 * _MINUTE_S, _HOUR_S, 6 * _HOUR_S, _DAY_S)
_REQUEST_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_FAILED = sorted(set(Code) - {Code.UNREADABLE})  # what may not be read waits

_CALLS = {"put-score": "put_score", "get-scores": "get_scores", "get": "token", "refresh": "token_refresh"}

Ask = Callable[[float], Vitals | None]
"""Asks the loop how it is; the seconds that it may take."""


class Meter:
    """Counts as things happen, from any thread. Labels are names of routes and words of ours, never names of files."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = registry = CollectorRegistry()
        self._lock = threading.Lock()
        ProcessCollector(registry=registry)
        Info("canarysync_build", "The version that runs", registry=registry).info(
            {"version": __version__, "python": platform.python_version()}
        )
        self._files = Counter(
            "canarysync_files", "Files that came to their end", ("route", "outcome", "code"), registry=registry
        )
        self._done_s = Histogram(
            "canarysync_drop_to_done_seconds", "From the first sight of a file to its filing in done/ or failed/",
            ("route",), buckets=_DONE_S, registry=registry,
        )  # fmt: skip
        self._requests = Counter(
            "canarysync_requests", "Requests to the API, by call and by what came back", ("call", "answer"),
            registry=registry,
        )  # fmt: skip
        self._request_s = Histogram(
            "canarysync_request_duration_seconds", "How long requests to the API took, from start to the last byte",
            ("call",), buckets=_REQUEST_S, registry=registry,
        )  # fmt: skip
        self._gauges = _Gauges(registry)

    def visited(self, event: Event) -> None:
        """A visit to a file ended (the daemon's observer)."""
        step = event.step
        if step.outcome not in FINAL:
            return
        code = step.reason if step.outcome is Outcome.FAILED else ""
        self._files.labels(event.route, step.outcome, code).inc()
        if step.outcome is not Outcome.WITHDRAWN:
            self._done_s.labels(event.route).observe(event.age_s)

    def requested(self, path_end: str, reply: Reply, seconds: float) -> None:
        """A request ended (upload.py's observer)."""
        call = _CALLS.get(path_end, "other")
        self._requests.labels(call, _kind(reply)).inc()
        self._request_s.labels(call).observe(seconds)

    def page(self, vitals: Vitals | None) -> Page:
        """All metrics in Prometheus' text format. What only the loop knows is left out if it gave no answer."""
        with self._lock:
            for route in vitals.routes if vitals else ():
                self._begin(route.name)
            self._gauges.set(vitals, time.time())
            return Page(200, _KIND, generate_latest(self._registry))

    def _begin(self, route: str) -> None:
        """Every counter of a route starts at 0, so that its first file is an increase too."""
        for outcome in FINAL:
            for code in _FAILED if outcome is Outcome.FAILED else [""]:
                self._files.labels(route, outcome, code)
        self._done_s.labels(route)


class _Gauges:
    """What is so now, set anew whenever somebody asks."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._healthy = Gauge("canarysync_healthy", "1 while /healthz says that all is well", registry=registry)
        self._waiting = Gauge(
            "canarysync_files_waiting", "Files that are known and not filed yet, by what they wait for",
            ("route", "state"), registry=registry,
        )  # fmt: skip
        self._oldest_s = Gauge(
            "canarysync_oldest_waiting_seconds", "Since when the oldest of them is known, those held left aside",
            ("route",), registry=registry,
        )  # fmt: skip
        self._scanned = Gauge(
            "canarysync_last_scan_timestamp_seconds", "When the last scan of the folder finished (Unix time); 0: never",
            ("route",), registry=registry,
        )  # fmt: skip
        self._present = Gauge(
            "canarysync_folder_present", "1 while the drop folder is there and ours", ("route",), registry=registry
        )
        self._hangs = Gauge(
            "canarysync_folder_hangs", "1 while a folder of the route does not answer, as on a dead share", ("route",),
            registry=registry,
        )  # fmt: skip
        self._on_hold = Gauge(
            "canarysync_on_hold", "1 while a person has stopped the route", ("route",), registry=registry
        )
        self._usable = Gauge("canarysync_api_usable", "1 while requests may go to the API", (), registry=registry)
        self._limit = Gauge(
            "canarysync_concurrency_limit", "How many uploads may be under way at once", (), registry=registry
        )
        self._in_flight = Gauge("canarysync_requests_in_flight", "Requests under way", (), registry=registry)
        self._workers = Gauge(
            "canarysync_workers", "Threads that see to files, and make requests", (), registry=registry
        )
        self._busy = Gauge("canarysync_workers_busy", "Those of them that are at work", (), registry=registry)

    def set(self, vitals: Vitals | None, now: float) -> None:
        """``now``: Unix time. Routes that are no longer there vanish."""
        self._healthy.set(not any(ailments(vitals)))
        for gauge in (self._waiting, self._oldest_s, self._scanned, self._present, self._hangs, self._on_hold):
            gauge.clear()
        if vitals is None:
            return
        self._usable.set(not vitals.api_trouble)
        self._limit.set(vitals.limit)
        self._in_flight.set(vitals.in_flight)
        self._workers.set(vitals.workers)
        self._busy.set(vitals.busy)
        for route in vitals.routes:
            for state in Waiting:
                self._waiting.labels(route.name, state).set(route.tally.waiting[state])
            oldest_s, scanned_s = route.tally.oldest_s, route.scanned_s
            self._oldest_s.labels(route.name).set(0 if oldest_s is None else vitals.now_s - oldest_s)
            self._scanned.labels(route.name).set(0 if scanned_s is None else now - (vitals.now_s - scanned_s))
            self._present.labels(route.name).set(not route.gone)
            self._hangs.labels(route.name).set(route.hangs)
            self._on_hold.labels(route.name).set(route.on_hold)


@contextmanager
def exposed(meter: Meter, host: str, port: int, ask: Ask) -> Iterator[str]:
    """Serve /metrics and /healthz; gives the url. Raises SetupError or IoTrouble."""
    pages = {"/metrics": lambda: meter.page(ask(PATIENCE_S)), "/healthz": lambda: health_page(ask(PATIENCE_S))}
    with serving(host, port, pages) as url:
        yield url


def health_page(vitals: Vitals | None) -> Page:
    """200 or 503, with the reasons, a line each."""
    ill = list(ailments(vitals))
    lines = ill or ["ok", *(remarks(vitals) if vitals else ())]
    return Page(503 if ill else 200, "text/plain; charset=utf-8", "".join(f"{line}\n" for line in lines).encode())


def _kind(reply: Reply) -> str:
    """The status; ``no_answer``: perhaps taken; ``not_sent``: certainly not."""
    if isinstance(reply, Answer):
        return str(reply.status) if 100 <= reply.status <= 599 else "other"
    return "no_answer" if reply.sent else "not_sent"
