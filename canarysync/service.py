"""The whole, put together from a config: secrets, API, ledger, pipelines, loop."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime

from canarysync import state
from canarysync.auth import read_secret, tokens_for
from canarysync.calls import Calls
from canarysync.config import Config
from canarysync.daemon import Daemon
from canarysync.ledger_sqlite import SqliteLedger
from canarysync.outcomes import Tools
from canarysync.report import Event
from canarysync.upload import Api, Http


def utc_now() -> datetime:
    """The wall clock, aware."""
    return datetime.now(UTC)


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
    http = Http(config.api, environment)
    try:
        with SqliteLedger(config.state / state.LEDGER_NAME) as ledger:
            tools = Tools(
                ledger=ledger,
                calls=Calls(Api(http), tokens_for(config.api, environment, http.post, utc_now), utc_now),
                now=utc_now,
                chance=random.random,
                read_back_wait_s=config.api.read_back_wait_s,
                endpoint=config.api.url,
            )
            yield Daemon(config.routes, tools, config.api.concurrency, once=once, wait_s=wait_s, observer=observer)
    finally:
        http.close()
        lock.release()
