"""What a process had recorded when it was killed is there when the ledger is opened again."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest

from canarysync.ledger import Ledger
from canarysync.model import Code, Proof, State
from tests.ledger.support import BACKENDS, ROUTE, at, claim, draft, entry_in, uuid_of


def _die() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def _work(backend: str, folder: Path) -> None:
    ledger = BACKENDS[backend](folder)
    ledger.register_route("clinic-a", ROUTE)
    entry_in(ledger, State.DEFERRED, "deferred.json")
    entry_in(ledger, State.IN_DOUBT, "in_doubt.json")
    ledger.upload(claim(ledger, draft("uploaded.json")), uuid_of(7), Proof.RESPONSE, "uploaded.json", at(1))
    ledger.fail(claim(ledger, draft("refused.json")), State.REFUSED, Code.REFUSED, 422, "refused.json", at(1))
    claim(ledger, draft("intended.json"))
    _die()


def _file_and_die(backend: str, folder: Path) -> None:
    ledger = BACKENDS[backend](folder)
    ledger.filed(entry_in(ledger, State.UPLOADED), at(5))
    _die()


@pytest.fixture(params=sorted(BACKENDS))
def killed_after(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Callable[[str, Path], None]], Ledger]:
    """Runs something in a process of its own that is killed; the ledger that it left, opened again."""

    def run(work: Callable[[str, Path], None]) -> Ledger:
        child = multiprocessing.get_context("spawn").Process(target=work, args=(request.param, tmp_path))
        child.start()
        child.join()
        assert child.exitcode == -signal.SIGKILL
        ledger = BACKENDS[request.param](tmp_path)
        request.addfinalizer(ledger.close)
        return ledger

    return run


def test_everything_is_there_after_a_kill(killed_after: Callable[..., Ledger]) -> None:
    ledger = killed_after(_work)

    assert ledger.route_id("clinic-a") == ROUTE
    entries = {entry.name: entry for entry in ledger.open_entries(ROUTE)}
    assert {name: entry.state.value + ".json" for name, entry in entries.items()} == {name: name for name in entries}
    assert len(entries) == 5
    assert entries["uploaded.json"].uuid == uuid_of(7)
    assert entries["intended.json"].attempts == 1


def test_filed_alone_is_not_durable_and_the_entry_is_filed_again(killed_after: Callable[..., Ledger]) -> None:
    entry = killed_after(_file_and_die).open_entry(ROUTE, "visit.json")

    assert entry is not None
    assert entry.state is State.UPLOADED
