"""One contract for every backend: the fixture ``ledger`` is each of them in turn."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from canarysync.ledger import Ledger
from tests.ledger.spy import Spy, Watched
from tests.ledger.support import BACKENDS


@pytest.fixture(params=sorted(BACKENDS))
def reopen(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], Ledger]]:
    """Opens the one ledger of this test; what was open before is closed first."""
    opened: list[Ledger] = []

    def again() -> Ledger:
        if opened:
            opened.pop().close()
        opened.append(BACKENDS[request.param](tmp_path))
        return opened[0]

    yield again
    for ledger in opened:
        ledger.close()


@pytest.fixture
def ledger(reopen: Callable[[], Ledger]) -> Ledger:
    return reopen()


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    """Every connection of this test is a watched one. For the tests of the SQLite backend alone."""
    spy = Spy()
    connect = sqlite3.connect

    def watched(*arguments: Any, **options: Any) -> Watched:
        connection = connect(*arguments, factory=Watched, **options)
        connection.statements = spy.statements
        spy.connections.append(connection)
        return connection

    monkeypatch.setattr(sqlite3, "connect", watched)
    return spy
