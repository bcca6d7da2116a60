"""The whole, put together from a config: secrets, API, ledger, pipelines, loop."""

from __future__ import annotations

import logging
import random
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from canarysync import __version__, pulse, state
from canarysync.auth import read_secret, tokens_for
from canarysync.calls import Calls
from canarysync.config import Api as ApiConfig
from canarysync.config import Config, load
from canarysync.daemon import Daemon, Work
from canarysync.errors import CanarysyncError, LedgerDamaged, SetupError
from canarysync.examine import elsewhere
from canarysync.ledger import Hold
from canarysync.ledger_sqlite import Access, SqliteLedger
from canarysync.lock import Lock
from canarysync.logs import event, set_up
from canarysync.model import Moment
from canarysync.notify import Notifier
from canarysync.outcomes import Tools
from canarysync.remote import Remote
from canarysync.report import Event
from canarysync.score_api import Api

if TYPE_CHECKING:
    from canarysync.metrics import Meter

_log = logging.getLogger(__name__)

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_THIS_PROCESS = str(uuid.uuid4())


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


def moment_now() -> Moment:
    """What the clocks say now."""
    return Moment(utc_now(), _boot_id(), time.clock_gettime(time.CLOCK_BOOTTIME))


def _boot_id() -> str:
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:  # a sandbox hides it: after a restart only the wall clock is believed
        return _THIS_PROCESS


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
    _check_secret(config.api, environment)
    from canarysync.upload import Http  # what sends for a daemon (remote.py) is another process

    http = Http(config.api.way, environment)
    try:
        api = Api(http)
        yield Calls(api, tokens_for(config.api, environment, api.post, utc_now), utc_now)
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
    """A daemon ready to run. Raises SetupError for a secret or state folder that cannot be used, HeldError. One that
    runs ``once`` raises it later, when there is something to send, if no request could ever be made."""
    _check_secret(config.api, environment)
    lock, level = state.take(config.state), logging.DEBUG if once else logging.INFO
    with ExitStack() as stack:
        stack.callback(event, _log, level, "stopped")
        stack.callback(lock.release)
        event(_log, level, "starting", version=__version__, config=config.path, api=config.api.url)
        ledger = stack.enter_context(open_ledger(config.state))
        ledger.bind(config.api.url)
        publish = partial(pulse.write, config.state)
        works = Works(config, environment, ledger, stack, lock)
        if once:
            yield Daemon(works.current, once=True, wait_s=wait_s, observer=observer, publish=publish)
            return
        works.current.check()
        observer = works.meter.visited if works.meter else observer
        notifier = Notifier(environment)
        daemon = Daemon(works.current, observer=observer, notifier=notifier, reread=works.reread, publish=publish)
        works.expose(daemon)
        yield daemon


class Works:
    """What a daemon is to do, as the config has it, and has it later."""

    def __init__(
        self, config: Config, environment: Mapping[str, str], ledger: SqliteLedger, stack: ExitStack, lock: Lock
    ) -> None:
        """``stack`` closes what is opened here. ``lock`` is kept for as long as a request may yet be made."""
        self._config = config
        self._environment = environment
        self._ledger = ledger
        self._stack = stack
        self._lock = lock
        self.meter = _meter() if config.metrics.listen else None
        self.current = self._work(config)

    def reread(self) -> Work:
        """The config, read again. Raises ConfigError and SetupError, and all stays as it was."""
        old, new = self._config, load(self._config.path)
        if fixed := _fixed_changes(old, new):
            cause = f"it needs a restart: {', '.join(fixed)}"
            raise SetupError("change this while running", str(new.path), cause, "systemctl restart canarysync")
        _check_secret(new.api, self._environment)
        work = replace(self.current, routes=new.routes) if new.api == old.api else self._checked(self._work(new))
        set_up(new.log.level, new.log.format)
        self._config, self.current = new, work
        return work

    def expose(self, daemon: Daemon) -> None:
        """Serve its metrics, if that is wanted. Raises SetupError or IoTrouble where they cannot be."""
        listen = self._config.metrics.listen
        if listen is not None and self.meter is not None:
            from canarysync.metrics import exposed

            url = self._stack.enter_context(exposed(self.meter, listen.host, listen.port, daemon.vitals))
            event(_log, logging.INFO, "metrics are served", url=f"{url}/metrics")

    def _work(self, config: Config) -> Work:
        remote = Remote(config.api.way, self._environment, (self._lock.fd,))
        self._stack.callback(remote.close)
        if self.meter is not None:
            remote.observer = self.meter.requested
        api, tools = config.api, self._tools(config.api, remote)
        return Work(config.routes, tools, remote.traffic, api.concurrency, api.rate_per_s, remote.check, remote.close)

    def _checked(self, work: Work) -> Work:
        try:
            work.check()
        except CanarysyncError:
            work.close()
            raise
        return work

    def _tools(self, config: ApiConfig, remote: Remote) -> Tools:
        api = Api(remote)
        return Tools(
            ledger=self._ledger,
            calls=Calls(api, tokens_for(config, self._environment, api.post, utc_now), utc_now),
            now=utc_now,
            moment=moment_now,
            chance=random.random,
            read_back_wait_s=config.read_back_wait_s,
            endpoint=config.url,
            examine=elsewhere(remote.ask),
        )


def _meter() -> Meter:
    from canarysync.metrics import Meter  # it costs a run without metrics a tenth of a second

    return Meter()


def _check_secret(api: ApiConfig, environment: Mapping[str, str]) -> None:
    """A missing secret is said at the start, not at the first file."""
    secret = api.token or api.api_key
    if secret is not None:
        read_secret(secret, environment)


def _fixed_changes(old: Config, new: Config) -> list[str]:
    """The keys that changed and cannot while it runs: all at the top level, but these; and which API it is."""
    names = [f.name for f in fields(Config) if f.name not in ("path", "api", "routes", "log")]
    changed = [name for name in names if getattr(old, name) != getattr(new, name)]
    return changed + (["api.url"] if old.api.url != new.api.url else [])
