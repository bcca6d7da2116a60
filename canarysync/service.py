"""The whole, put together from a config: secrets, API, ledger, pipelines, loop."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from canarysync import __version__, state
from canarysync.auth import read_secret, tokens_for
from canarysync.calls import Calls
from canarysync.config import Config, Listen
from canarysync.daemon import Daemon
from canarysync.errors import CanarysyncError, LedgerDamaged
from canarysync.ledger import Hold
from canarysync.ledger_sqlite import Access, SqliteLedger
from canarysync.logs import event
from canarysync.model import Moment
from canarysync.outcomes import Tools
from canarysync.report import Event
from canarysync.upload import Api, Http

_log = logging.getLogger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


def moment_now() -> Moment:
    """What the clocks say now."""
    return Moment(utc_now(), _boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME))


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:  # then only the wall clock is believed
        return ""


def open_ledger(folder: Path) -> SqliteLedger:
    """The ledger in a state folder that is locked; a new one if that is damaged, which then is kept beside it. Every
    route finds out by its marker that the ledger has to be built again (lane.py)."""
    path = folder / state.LEDGER_NAME
    try:
        return SqliteLedger(path)
    except LedgerDamaged as error:
        aside = state.set_aside(folder, utc_now())
        message = "the ledger is damaged: it is set aside, and another is made from the receipts"
        event(_log, logging.ERROR, message, why=error.cause, set_aside=aside)
    ledger = SqliteLedger(path)
    # By these a drop folder that is only away (unmounted) is not taken for one that never was.
    for name, route_id in _routes_in(aside).items():
        ledger.register_route(name, route_id)
        if (hold := _hold_in(aside, route_id)) is not None:
            ledger.hold(route_id, hold)
    return ledger


def _routes_in(damaged: Path) -> Mapping[str, str]:
    """The routes that a damaged ledger still tells of; perhaps none."""
    try:
        with SqliteLedger(damaged, Access.READER) as ledger:
            return ledger.routes()
    except CanarysyncError:
        return {}


def _hold_in(damaged: Path, route_id: str) -> Hold | None:
    """The hold that a damaged ledger still tells of."""
    with suppress(CanarysyncError), SqliteLedger(damaged, Access.READER) as ledger:
        return ledger.hold_on(route_id)
    return None


@contextmanager
def api_calls(config: Config, environment: Mapping[str, str] | None) -> Iterator[Calls | None]:
    """The API as it is to be asked; None without an ``environment``. Raises SetupError where the secret is missing."""
    if environment is None:
        yield None
        return
    secret = config.api.token or config.api.api_key
    if secret is not None:
        read_secret(secret, environment)
    http = Http(config.api, environment)
    try:
        yield Calls(Api(http), tokens_for(config.api, environment, http.post, utc_now), utc_now)
    finally:
        http.close()


@contextmanager
def service(
    config: Config,
    environment: Mapping[str, str],
    *,
    once: bool = False,
    wait_s: float = 0.0,
    observer: Callable[[Event], None] = lambda event: None,
) -> Iterator[Daemon]:
    """A daemon ready to run. Raises SetupError for a secret or state folder that cannot be used, HeldError."""
    secret = config.api.token or config.api.api_key
    if secret is not None:
        read_secret(secret, environment)  # a missing secret is said at the start, not at the first file
    lock = state.take(config.state)
    level = logging.DEBUG if once else logging.INFO
    event(_log, level, "starting", version=__version__, config=config.path, api=config.api.url)
    try:
        with closing(Http(config.api, environment)) as http, open_ledger(config.state) as ledger:
            ledger.bind(config.api.url)
            tools = Tools(
                ledger=ledger,
                calls=Calls(Api(http), tokens_for(config.api, environment, http.post, utc_now), utc_now),
                now=utc_now,
                moment=moment_now,
                chance=random.random,
                read_back_wait_s=config.api.read_back_wait_s,
                endpoint=config.api.url,
            )
            make = partial(Daemon, config.routes, tools, config.api.concurrency, once=once, wait_s=wait_s)
            if config.metrics.listen is None or once:
                yield make(observer=observer)
            else:
                with _measured(make, http, config.metrics.listen) as daemon:
                    yield daemon
    finally:
        lock.release()
        event(_log, level, "stopped")


@contextmanager
def _measured(make: Callable[..., Daemon], http: Http, listen: Listen) -> Iterator[Daemon]:
    """A daemon whose metrics are served. Raises SetupError or IoTrouble where they cannot be."""
    from canarysync.metrics import Meter, exposed

    meter = Meter()
    http.observer = meter.requested
    daemon = make(observer=meter.visited)
    with exposed(meter, listen.host, listen.port, daemon.vitals) as url:
        event(_log, logging.INFO, "metrics are served", url=f"{url}/metrics")
        yield daemon
