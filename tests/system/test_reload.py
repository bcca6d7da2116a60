"""A reload that comes at an awkward moment."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path

from canarysync.sandbox import Sandbox
from canarysync.service import service
from tests.support import PATIENCE_S, make_routes, running, score, wait_for


def test_a_reload_that_comes_while_the_routes_are_being_opened(tmp_path: Path, sandbox: Sandbox) -> None:
    """Those that stay change their places in the list: none of them is opened twice, nor passed over."""
    site = make_routes(tmp_path, sandbox.url, "a", "b")
    with service(site.config, os.environ) as daemon:
        make_routes(tmp_path, sandbox.url, "b", "new", "a")
        daemon.reload()
        with running(daemon):
            wait_for(lambda: (v := daemon.vitals(5.0)) and all(r.scanned_s for r in v.routes), "scans of all routes")
            vitals = daemon.vitals(5.0)
    assert vitals is not None
    assert [(route.name, route.gone) for route in vitals.routes] == [("b", ""), ("new", ""), ("a", "")]


def test_a_probe_that_leaves_with_its_route_makes_room_for_another(tmp_path: Path) -> None:
    probing, reloaded = threading.Event(), threading.Event()

    def hold_up_the_probe(line: str) -> None:
        if "token 503" in line and sandbox.requests["token", 503] == 2:
            probing.set()
            reloaded.wait(PATIENCE_S)

    with Sandbox(log=hold_up_the_probe) as sandbox:
        sandbox.faults.add("token:status=503,times=2")
        site = make_routes(tmp_path, sandbox.url, "goes", "stays")
        (tmp_path / "goes" / "drop" / "visit.json").write_text(json.dumps(score(1)))
        with service(site.config, os.environ) as daemon, running(daemon):
            assert probing.wait(PATIENCE_S), "the first request, and then the probe"
            make_routes(tmp_path, sandbox.url, "stays")
            daemon.reload()
            wait_for(lambda: (v := daemon.vitals(5.0)) and len(v.routes) == 1, "the reload")
            reloaded.set()
            (tmp_path / "stays" / "drop" / "visit.json").write_text(json.dumps(score(2)))
            wait_for((tmp_path / "stays" / "done" / "visit.json").exists, "a file of the route that stays", 15.0)


def test_the_limit_that_was_found_stays(tmp_path: Path, sandbox: Sandbox) -> None:
    """It is the same API, though it is now asked by another client."""
    sandbox.faults.add("put:delay=0.2")
    site = make_routes(tmp_path, sandbox.url, "a", concurrency="auto")
    for number in range(60):
        (tmp_path / "a" / "drop" / f"{number}.json").write_text(json.dumps(score(number)))
    with service(site.config, os.environ) as daemon, running(daemon):
        wait_for(lambda: len(list((tmp_path / "a" / "done").glob("*[0-9].json"))) == 60, "all files", 30.0)
        assert (before := daemon.vitals(5.0)) is not None
        make_routes(tmp_path, sandbox.url, "a", "b", concurrency="auto", timeout={"read": "20s"})
        daemon.reload()
        wait_for(lambda: (v := daemon.vitals(5.0)) and len(v.routes) == 2, "the reload")
        assert (after := daemon.vitals(5.0)) is not None
        assert after.limit == before.limit > 4
        make_routes(tmp_path, sandbox.url, "a", concurrency=3)
        daemon.reload()
        wait_for(lambda: (v := daemon.vitals(5.0)) and v.limit == 3, "a fixed one")


def test_what_the_old_api_needed_is_let_go_of(tmp_path: Path, sandbox: Sandbox) -> None:
    def watching() -> int:
        return sum(thread.name == "replies" for thread in threading.enumerate())

    site = make_routes(tmp_path, sandbox.url, "a")
    before = watching()
    with service(site.config, os.environ) as daemon, running(daemon):
        for concurrency in (2, 3):
            make_routes(tmp_path, sandbox.url, "a", concurrency=concurrency)
            daemon.reload()
            (tmp_path / "a" / "drop" / f"{concurrency}.json").write_text(json.dumps(score(concurrency)))
            wait_for((tmp_path / "a" / "done" / f"{concurrency}.json").exists, "a file after the reload")
        wait_for(lambda: watching() == before + 1, "one thread to be left", 15.0)
    wait_for(lambda: watching() == before, "none to be left", 15.0)
