"""One contract for every backend: the fixture ``ledger`` is each of them in turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from canarysync.ledger import Ledger
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
