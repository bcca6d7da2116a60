"""Retry-After in every form that it may have (RFC 9110 §10.2.3), from the answer to the ledger."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from canarysync.errors import Exit
from canarysync.sandbox import Endpoint, Fault, Kind, Sandbox
from canarysync.step import Outcome
from tests.support import PATIENCE_S, Site, score, stored

PAST = "Sun, 06 Nov 1994 08:49:37 GMT"  # RFC 9110 §5.6.7


@pytest.mark.parametrize("header", ["0", PAST, "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"])
def test_a_pause_that_is_over_leaves_no_doubt(site: Site, sandbox: Sandbox, header: str) -> None:
    """RFC 9110 §5.6.7: the three forms of an HTTP-date."""
    sandbox.faults.add(Fault(Endpoint.PUT, Kind.STATUS, 503, header, times=1))
    site.put("visit.json", score(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    assert site.once().exit_code() == Exit.OK
    site.assert_all_done_once(["visit.json"], stored(sandbox))
    assert sandbox.requests["scores", 200] == 0


@pytest.mark.parametrize("header", ["-1", "Wed, 99 Oct 2026 07:28:00 GMT"])
def test_a_503_that_names_no_time_is_in_doubt(site: Site, sandbox: Sandbox, header: str) -> None:
    sandbox.faults.add(Fault(Endpoint.PUT, Kind.STATUS_AFTER, 503, header, times=1))
    site.put("visit.json", score(1))
    assert site.once(wait_s=PATIENCE_S).outcomes == {Outcome.RECOVERED: 1}
    site.assert_all_done_once(["visit.json"], stored(sandbox))


@pytest.mark.parametrize(
    ("status", "header"), [(408, "86400"), (429, "9" * 400), (503, "Fri, 31 Dec 9999 23:59:59 GMT")]
)
def test_nobody_is_made_to_wait_for_more_than_an_hour(site: Site, sandbox: Sandbox, status: int, header: str) -> None:
    sandbox.faults.add(Fault(Endpoint.PUT, Kind.STATUS, status, header))
    site.put("visit.json", score(1))
    assert site.once().exit_code() == Exit.TRY_AGAIN
    with closing(sqlite3.connect(site.home / "state" / "ledger.sqlite3")) as connection:
        ((text,),) = connection.execute("SELECT retry_at FROM scores").fetchall()
    left = datetime.fromisoformat(text) - datetime.now(UTC)
    assert timedelta(minutes=59) < left <= timedelta(hours=1)
