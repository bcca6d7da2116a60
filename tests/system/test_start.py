"""A route cannot be opened at the start."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from canarysync.candidates import MARKER
from canarysync.errors import SetupError
from canarysync.sandbox import Sandbox
from canarysync.service import service
from tests.support import make_routes, running, score, wait_for


def test_a_route_that_is_refused_stops_no_other_and_its_remedy_is_logged(
    tmp_path: Path, sandbox: Sandbox, caplog: pytest.LogCaptureFixture
) -> None:
    site = make_routes(tmp_path, sandbox.url, "ill", "well")
    (tmp_path / "ill" / "drop" / MARKER).mkdir()
    (tmp_path / "well" / "drop" / "visit.json").write_text(json.dumps(score()))
    with service(site.config, os.environ) as daemon, running(daemon):
        wait_for((tmp_path / "well" / "done" / "visit.json").exists, "a file of the other route", 15.0)
        vitals = daemon.vitals(5.0)
    trouble = f"cannot lock the drop folder {tmp_path / 'ill' / 'drop' / MARKER}: it is no file"
    assert vitals is not None
    assert [route.gone for route in vitals.routes] == [trouble, ""]
    (told,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert (told.message, vars(told)["canarysync_fields"]["what_to_do"]) == (trouble, "restore or remove it")


@pytest.mark.parametrize(("routes", "once"), [(["ill"], False), (["well", "ill"], True)])
def test_where_nothing_can_be_opened_or_nobody_would_hear_of_it_the_start_fails(
    tmp_path: Path, sandbox: Sandbox, routes: list[str], once: bool
) -> None:
    site = make_routes(tmp_path, sandbox.url, *routes)
    (tmp_path / "ill" / "drop" / MARKER).mkdir()
    with service(site.config, os.environ, once=once) as daemon, pytest.raises(SetupError, match="restore or remove"):
        daemon.run()
