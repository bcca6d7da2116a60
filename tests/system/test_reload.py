"""A reload that comes at an awkward moment."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from canarysync.sandbox import Sandbox
from canarysync.service import service
from tests.support import PATIENCE_S, make_routes, wait_for


def test_a_reload_that_comes_while_the_routes_are_being_opened(tmp_path: Path, sandbox: Sandbox) -> None:
    """Those that stay change their places in the list: none of them is opened twice, nor passed over."""
    site = make_routes(tmp_path, sandbox.url, "a", "b")
    with service(site.config, os.environ) as daemon:
        make_routes(tmp_path, sandbox.url, "b", "new", "a")
        daemon.reload()
        running = threading.Thread(target=daemon.run)
        running.start()
        try:
            wait_for(lambda: (v := daemon.vitals(5.0)) and all(r.scanned_s for r in v.routes), "scans of all routes")
            vitals = daemon.vitals(5.0)
        finally:
            daemon.stop()
            running.join(PATIENCE_S)
    assert vitals is not None
    assert [(route.name, route.gone) for route in vitals.routes] == [("b", ""), ("new", ""), ("a", "")]
